//! Compiles the C programs of `tests/c` and `examples/c` against the library of this very build, and runs them.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A program that runs longer hangs.
const HANGS_AFTER: Duration = Duration::from_secs(120);
const C11: &[&str] = &["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g"];
const CPP17: &[&str] = &["-x", "c++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g"];

/// The root of the project.
pub(crate) fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The folder with `libackbus.so`, `libackbus.so.0` and `libackbus.a`: `ACKBUS_LIB_DIR`, or that of this build.
pub(crate) fn library_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let built = std::env::var_os("ACKBUS_LIB_DIR").map_or_else(build_library, PathBuf::from);
        let dir = scratch("lib");
        link(&built.join("libackbus.so"), &dir.join("libackbus.so"));
        link(&built.join("libackbus.so"), &dir.join("libackbus.so.0"));
        link(&built.join("libackbus.a"), &dir.join("libackbus.a"));
        dir
    })
}

/// `cargo test` does not build a library that no Rust test can link. Building the test support along keeps cargo's choice of features, and so the build, the same.
fn build_library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile_dir = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let profile = match profile_dir.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(project()).args(["build", "--quiet", "--lib", "-p", "ackbus-capi", "-p", "ackbus-test-support", "--profile", profile]);
    cargo.arg("--target-dir").arg(profile_dir.parent().expect("target"));
    // What cargo tells this test about its package: build scripts look at it (ring's at OUT_DIR), and would have half of the dependencies built again.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name == "OUT_DIR" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    assert!(cargo.status().unwrap().success(), "{cargo:?}");
    profile_dir.to_owned()
}

fn link(target: &Path, link: &Path) {
    if std::fs::read_link(link).ok().as_deref() != Some(target) {
        let _ = std::fs::remove_file(link);
        std::os::unix::fs::symlink(target, link).unwrap();
    }
}

/// A folder of this name for what is built here.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME")).join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// How a program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    C11,
    Cpp17,
    /// C11 with AddressSanitizer, which also watches what the library does with memory.
    Asan,
    /// C11 with the static library.
    Static,
    /// C11, not linked with the library at all.
    Unlinked,
}

/// Compiles a program, given by its path in the project. Two tests that run at the same time must not build the same one in the same flavour.
pub(crate) fn compile(source: &str, flavour: Flavour) -> PathBuf {
    let name = Path::new(source).file_stem().unwrap().to_str().unwrap();
    let program = scratch(name).join(format!("{name}-{flavour:?}").to_lowercase());
    let (compiler, flags) = if flavour == Flavour::Cpp17 { (tool("CXX", "c++"), CPP17) } else { (tool("CC", "cc"), C11) };
    let mut command = Command::new(compiler);
    command.args(flags).arg("-I").arg(project().join("include")).arg(project().join(source)).arg("-o").arg(&program);
    if flavour == Flavour::Asan {
        command.args(["-fsanitize=address", "-fno-omit-frame-pointer"]);
    }
    let dir = library_dir();
    match flavour {
        Flavour::Unlinked => {}
        Flavour::Static => {
            // `-x c` would apply to the archive too; the rest is what the archive needs of the system, as ackbus.pc says.
            command.arg(dir.join("libackbus.a")).args(["-lpthread", "-ldl", "-lm", "-lgcc_s"]);
        }
        _ => {
            command.args(["-x", "none"]).arg("-L").arg(dir).arg("-lackbus").arg(format!("-Wl,-rpath,{}", dir.display()));
        }
    }
    command.args(["-lpthread", "-ldl"]);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn tool(variable: &str, otherwise: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| otherwise.into())
}

/// Whether this program can be run.
pub(crate) fn have(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Says that something was not tested. Not through `eprintln!`, which a passing test swallows.
pub(crate) fn skipped(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}: {why}");
}

/// What a program left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Panics unless the program exited with 0.
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}, signal {:?}\n{}\n{}", self.status, self.status.signal(), self.stdout, self.stderr);
        self
    }
}

/// A program that runs. It is killed when this is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    started: Instant,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts it. Its standard output is collected unless the caller takes it from `child` first, in `take`.
    pub(crate) fn start(command: &mut Command, take: impl FnOnce(&mut Child)) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        take(&mut child);
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Running { child, started: Instant::now(), stdout, stderr }
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.started.elapsed() > HANGS_AFTER {
                let _ = self.child.kill();
                panic!("it hangs\n{}\n{}", text(self.stdout.take()), text(self.stderr.take()));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Finished { status, stdout: text(self.stdout.take()), stderr: text(self.stderr.take()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn text(collector: Option<JoinHandle<String>>) -> String {
    collector.map(|thread| thread.join().unwrap()).unwrap_or_default()
}

/// Runs a program to its end, without input.
pub(crate) fn run(command: &mut Command) -> Finished {
    Running::start(command.stdin(Stdio::null()), |_| {}).finish()
}

/// Compiles a program of `tests/c` and runs it; it must exit with 0.
pub(crate) fn check(name: &str, flavour: Flavour, arguments: &[&str]) {
    run(Command::new(compile(&format!("tests/c/{name}.c"), flavour)).args(arguments)).succeeded();
}
