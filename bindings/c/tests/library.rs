//! The shared library as a file, and the header as a file: symbols, soname, pkg-config.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod native;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use native::Flavour::{C11, Cpp17, Static, Unlinked};
use native::{check, compile, have, library_dir, project, run, scratch, skipped};

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(project().join("include/ackbus.h")).unwrap();
    // A declaration starts a line with its type; comments, macros and fields do not.
    let others = ["static", "typedef", "template"];
    let starts =
        header.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()) && !others.iter().any(|other| line.starts_with(other)));
    let names = starts.filter_map(|line| line.split_once('(')).filter_map(|(head, _)| head.rsplit([' ', '*']).next());
    names.filter(|name| name.starts_with("ackbus_")).map(str::to_owned).collect()
}

/// T21: every symbol of every linked crate could leak out.
#[test]
fn exports_what_the_header_declares_and_nothing_else() {
    let listing = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library_dir().join("libackbus.so"))).succeeded().stdout;
    let exported: BTreeSet<String> = listing.lines().filter_map(|line| line.rsplit(' ').next()).map(str::to_owned).collect();
    assert!(exported.len() > 40, "{listing}");
    assert_eq!(exported, declared());
}

/// T22 and T9.
#[test]
fn has_its_soname_and_stays_loaded() {
    let dynamic = run(Command::new("readelf").arg("-dW").arg(library_dir().join("libackbus.so"))).succeeded().stdout;
    assert!(dynamic.lines().any(|line| line.contains("SONAME") && line.contains("[libackbus.so.0]")), "{dynamic}");
    assert!(dynamic.lines().any(|line| line.contains("FLAGS_1") && line.contains("NODELETE")), "{dynamic}");
}

#[test]
fn the_header_is_c11_and_cpp17_on_its_own() {
    check("header_alone", C11, &[]);
    check("header_alone", Cpp17, &[]);
}

#[test]
fn the_library_survives_dlclose() {
    let library = library_dir().join("libackbus.so.0");
    check("unload", Unlinked, &[library.to_str().unwrap()]);
}

#[test]
fn the_static_library_links() {
    check("exit_open", Static, &[]);
}

/// What a packager does with `ackbus.pc.in`.
#[test]
fn pkg_config_finds_it() {
    if !have("pkg-config") {
        return skipped("ackbus.pc", "there is no pkg-config");
    }
    let template = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ackbus.pc.in")).unwrap();
    let include = project().join("include");
    let filled = [
        ("@PREFIX@", project().to_str().unwrap()),
        ("@LIBDIR@", library_dir().to_str().unwrap()),
        ("@INCLUDEDIR@", include.to_str().unwrap()),
        ("@VERSION@", env!("CARGO_PKG_VERSION")),
    ]
    .into_iter()
    .fold(template, |text, (name, value)| text.replace(name, value));
    assert!(!filled.contains('@'), "{filled}");
    let dir = scratch("pkg-config");
    std::fs::write(dir.join("ackbus.pc"), filled).unwrap();
    let ask = |what: &[&str]| run(Command::new("pkg-config").env("PKG_CONFIG_PATH", &dir).args(what).arg("ackbus")).succeeded().stdout;
    assert_eq!(ask(&["--modversion"]).trim(), env!("CARGO_PKG_VERSION"));
    let flags = ask(&["--cflags", "--libs"]);
    let program = dir.join("header_alone");
    let mut cc = Command::new("cc");
    cc.arg(project().join("tests/c/header_alone.c"))
        .args(flags.split_whitespace())
        .arg(format!("-Wl,-rpath,{}", library_dir().display()))
        .arg("-o")
        .arg(&program);
    run(&mut cc).succeeded();
    run(&mut Command::new(program)).succeeded();
}

/// A function that misuse.c forgets is not tested with NULL.
#[test]
fn misuse_calls_every_function() {
    let source = std::fs::read_to_string(project().join("tests/c/misuse.c")).unwrap();
    let missing: Vec<_> = declared().into_iter().filter(|name| !source.contains(&format!("{name}("))).collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// The driver's own instrument: a program that is not compiled with the library does not run by accident.
#[test]
fn programs_use_this_library() {
    let program = compile("tests/c/exit_open.c", C11);
    let libraries = run(Command::new("ldd").arg(program)).succeeded().stdout;
    let line = libraries.lines().find(|line| line.contains("libackbus.so.0")).expect("libackbus.so.0");
    assert!(line.contains(library_dir().to_str().unwrap()), "{line}");
}
