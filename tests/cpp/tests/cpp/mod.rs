//! Compilers and standards, on top of what the C tests use to build and run programs.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::native::{Finished, have, library_dir, project, run, scratch};

/// A compiler and a standard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub(crate) compiler: &'static str,
    pub(crate) standard: &'static str,
}

pub(crate) const GCC_17: Dialect = Dialect { compiler: "g++", standard: "c++17" };
pub(crate) const GCC_20: Dialect = Dialect { compiler: "g++", standard: "c++20" };

const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g1"];

/// The dialects of this machine.
pub(crate) fn dialects() -> Vec<Dialect> {
    if clang("c++17").is_none() {
        crate::native::skipped("clang", "it is not installed");
    }
    [Some(GCC_17), Some(GCC_20), clang("c++17"), clang("c++20")].into_iter().flatten().collect()
}

/// clang, also where it has a version in its name only, as in Debian's clang-14.
pub(crate) fn clang(standard: &'static str) -> Option<Dialect> {
    static NAME: OnceLock<Option<&str>> = OnceLock::new();
    let names = ["clang++", "clang++-19", "clang++-18", "clang++-17", "clang++-16", "clang++-15", "clang++-14"];
    NAME.get_or_init(|| names.into_iter().find(|name| have(name))).map(|compiler| Dialect { compiler, standard })
}

fn base(dialect: Dialect) -> Command {
    let mut command = Command::new(dialect.compiler);
    command.arg(format!("-std={}", dialect.standard)).args(WARNINGS).arg("-I").arg(project().join("include"));
    command
}

/// Compiles a source without linking it. What the compiler says is in `stderr`.
pub(crate) fn check_syntax(dialect: Dialect, source: &Path, flags: &[&str]) -> Finished {
    run(base(dialect).args(flags).arg("-fsyntax-only").arg(source))
}

/// Builds sources, given by their paths in the project, into one program. `purpose` keeps programs apart that are built at the same time.
pub(crate) fn build(dialect: Dialect, sources: &[&str], flags: &[&str], purpose: &str) -> PathBuf {
    let name = Path::new(sources[0]).file_stem().unwrap().to_str().unwrap();
    let program = scratch(name).join(format!("{name}-{}-{}-{purpose}", dialect.compiler, dialect.standard));
    let dir = library_dir();
    let mut command = base(dialect);
    command.args(flags).args(sources.iter().map(|source| project().join(source))).arg("-o").arg(&program);
    command.arg("-L").arg(dir).arg("-lackbus").arg("-pthread").arg(format!("-Wl,-rpath,{}", dir.display()));
    run(&mut command).succeeded();
    program
}
