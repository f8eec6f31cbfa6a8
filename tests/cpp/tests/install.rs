//! `make install` and `make uninstall`, and a project outside of the tree that uses what was installed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../../../bindings/c/tests/native/mod.rs"]
mod native;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use ackbus_test_support::{Reader, Server};
use native::{Finished, have, library_dir, project, run, skipped};

/// A folder that ends with the test, outside of the project.
struct Outside(PathBuf);

impl Outside {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ackbus-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Outside(path)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `make install` or `uninstall` of the library under test.
fn make(goal: &str, variables: &[(&str, &str)]) -> Finished {
    let mut command = Command::new("make");
    // A make above this test must not hand its goals and variables down.
    command.current_dir(project()).env_remove("MAKEFLAGS").env_remove("MAKELEVEL").arg(goal).arg(format!("BUILT={}", library_dir().display()));
    run(command.args(variables.iter().map(|(name, value)| format!("{name}={value}"))))
}

/// All files below a folder, as paths relative to it.
fn files(below: &Path) -> BTreeSet<String> {
    let listing = run(Command::new("find").arg(below).args(["(", "-type", "f", "-o", "-type", "l", ")", "-printf", "%P\n"])).succeeded().stdout;
    listing.lines().map(str::to_owned).collect()
}

#[test]
fn install_puts_every_file_where_packagers_want_it_and_uninstall_takes_it_away() {
    let stage = Outside::new("stage");
    let stage = stage.0.as_path();
    let variables = [("DESTDIR", stage.to_str().unwrap()), ("PREFIX", "/usr"), ("LIBDIR", "/usr/lib/some-machine")];
    make("install", &variables).succeeded();
    let version = env!("CARGO_PKG_VERSION");
    let library = ["libackbus.a", "libackbus.so", "libackbus.so.0", &format!("libackbus.so.{version}"), "pkgconfig/ackbus.pc", "pkgconfig/ackbus-static.pc"];
    let mut expected: BTreeSet<String> = library.iter().map(|name| format!("usr/lib/some-machine/{name}")).collect();
    expected.extend(["ackbus-config", "ackbus-config-version"].map(|name| format!("usr/lib/some-machine/cmake/ackbus/{name}.cmake")));
    let headers = files(&project().join("include"));
    assert!(headers.contains("ackbus.hpp") && headers.contains("ackbus/publisher.hpp"));
    expected.insert("usr/share/doc/ackbus/LICENSE".to_owned());
    expected.extend(headers.iter().map(|name| format!("usr/include/{name}")));
    assert_eq!(files(stage), expected);

    let libdir = stage.join("usr/lib/some-machine");
    assert_eq!(std::fs::read_link(libdir.join("libackbus.so")).unwrap().to_str(), Some("libackbus.so.0"));
    assert_eq!(std::fs::read_link(libdir.join("libackbus.so.0")).unwrap().to_str(), Some(format!("libackbus.so.{version}").as_str()));
    for name in expected.iter().filter(|name| !name.ends_with("LICENSE")) {
        if let Ok(text) = std::fs::read_to_string(stage.join(name)) {
            // The stage and the templates' marks are nowhere in what is installed; an @ is in no header either.
            assert!(!text.contains(stage.to_str().unwrap()) && !text.contains('@'), "{name}");
        }
    }
    let pc = std::fs::read_to_string(libdir.join("pkgconfig/ackbus.pc")).unwrap();
    assert!(pc.contains("prefix=/usr\n") && pc.contains("libdir=/usr/lib/some-machine\n") && pc.contains(&format!("Version: {version}\n")), "{pc}");

    make("install", &variables).succeeded(); // again, over itself
    assert_eq!(files(stage), expected);
    std::fs::write(stage.join("usr/include/other.h"), "").unwrap();
    make("uninstall", &variables).succeeded();
    assert_eq!(files(stage), BTreeSet::from(["usr/include/other.h".to_owned()]));
    assert!(!stage.join("usr/include/ackbus").exists() && !libdir.join("cmake/ackbus").exists() && !stage.join("usr/share/doc/ackbus").exists());

    let relative = make("install", &[("PREFIX", "somewhere")]);
    assert!(!relative.status.success() && relative.stderr.contains("\"somewhere\" is no absolute path"), "{}", relative.stderr);
    let nothing = make("install", &[("DESTDIR", stage.to_str().unwrap()), ("BUILT", "/nonexistent")]);
    assert!(!nothing.status.success() && nothing.stderr.contains("/nonexistent/libackbus.so is not there: make build"), "{}", nothing.stderr);
}

/// Runs a program of the consumer's against a server; a shared one must use the library under `prefix`, a static one none.
fn check_program(program: &Path, prefix: &Path, server: &Server) {
    let said = run(Command::new(program).arg(server.url())).succeeded().stdout;
    let name = program.file_name().unwrap().to_str().unwrap();
    let language = match name.split('-').nth(1) {
        Some("cpp") => "C++",
        Some("go") => "Go",
        _ => "C",
    };
    assert_eq!(said, format!("{language}, ackbus {}: persisted\n", env!("CARGO_PKG_VERSION")), "{name}");
    let libraries = run(Command::new("ldd").arg(program)).succeeded().stdout;
    let uses = libraries.lines().find(|line| line.contains("libackbus"));
    if name.ends_with("-static") {
        assert_eq!(uses, None, "{name}");
    } else {
        assert!(uses.is_some_and(|line| line.contains("libackbus.so.0 => ") && line.contains(prefix.to_str().unwrap())), "{name}: {libraries}");
    }
}

/// Go answers `version`, not `--version`.
fn have_go() -> bool {
    Command::new("go").arg("version").output().is_ok_and(|done| done.status.success())
}

const PROGRAMS: [&str; 4] = ["app-c", "app-c-static", "app-cpp", "app-cpp-static"];

#[test]
fn a_project_outside_builds_and_runs_against_the_prefix() {
    let server = Server::start();
    let mut ran = 0;
    let outside = Outside::new("consumer");
    let prefix = outside.0.join("prefix");
    let source = outside.0.join("source");
    make("install", &[("PREFIX", prefix.to_str().unwrap())]).succeeded();
    run(Command::new("cp").arg("-r").arg(project().join("examples/consumer")).arg(&source)).succeeded();

    if have("pkg-config") {
        let mut make = Command::new("make");
        make.current_dir(&source).env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
        run(&mut make).succeeded();
        PROGRAMS.iter().for_each(|name| check_program(&source.join(name), &prefix, &server));
        ran += PROGRAMS.len();
        // Libs.private is for programs that link everything statically.
        let flags =
            |arguments: &[&str]| run(Command::new("pkg-config").env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(arguments)).succeeded().stdout;
        assert!(!flags(&["--libs", "ackbus"]).contains("-lgcc_s") && flags(&["--static", "--libs", "ackbus"]).contains("-lgcc_s"));
    } else {
        skipped("the consumer's Makefile", "there is no pkg-config");
    }

    if have("pkg-config") && have_go() {
        // The package's sources are the checkout's; the library and its header are those of the prefix.
        let folder = source.join("go");
        let go = |arguments: &[&str]| {
            let libdir = prefix.join("lib");
            let mut go = Command::new("go");
            go.current_dir(&folder).env("PKG_CONFIG_PATH", libdir.join("pkgconfig")).env("GOFLAGS", "-buildvcs=false");
            go.env("CGO_LDFLAGS", format!("-Wl,-rpath,{}", libdir.display()));
            run(go.args(arguments)).succeeded();
        };
        go(&["mod", "edit", "-replace", &format!("ackbus={}", project().join("bindings/go").display())]);
        go(&["build", "-tags", "ackbus_pkgconfig", "-o", "app-go", "."]);
        check_program(&folder.join("app-go"), &prefix, &server);
        ran += 1;
    } else {
        skipped("the consumer's Go program", "there is no go, or no pkg-config");
    }

    if have("cmake") {
        // The prefix may move: the CMake package knows where it stands.
        let moved = outside.0.join("moved");
        std::fs::rename(&prefix, &moved).unwrap();
        let build = outside.0.join("build");
        let configure = |version: &str| {
            let lists = std::fs::read_to_string(project().join("examples/consumer/CMakeLists.txt")).unwrap();
            std::fs::write(source.join("CMakeLists.txt"), lists.replace("find_package(ackbus 0.1 ", &format!("find_package(ackbus {version} "))).unwrap();
            run(Command::new("cmake").arg("-S").arg(&source).arg("-B").arg(&build).arg(format!("-DCMAKE_PREFIX_PATH={}", moved.display())))
        };
        for unfit in ["0.0.9", "0.2", "1", "0.1.99"] {
            let refused = configure(unfit);
            assert!(!refused.status.success() && refused.stderr.contains("file for package \"ackbus\" that is compatible"), "{unfit}: {}", refused.stderr);
        }
        configure("").succeeded();
        configure(env!("CARGO_PKG_VERSION")).succeeded();
        configure("0.1").succeeded();
        run(Command::new("cmake").arg("--build").arg(&build)).succeeded();
        PROGRAMS.iter().for_each(|name| check_program(&build.join(name), &moved, &server));
        ran += PROGRAMS.len();
        std::fs::rename(&moved, &prefix).unwrap();
    } else {
        skipped("the consumer's CMakeLists.txt", "there is no cmake");
    }

    if ran > 0 {
        assert_eq!(Reader::connect(&server.url()).message_count("CONSUMER"), ran as u64);
    }
    make("uninstall", &[("PREFIX", prefix.to_str().unwrap())]).succeeded();
    assert_eq!(files(&prefix), BTreeSet::new());
}
