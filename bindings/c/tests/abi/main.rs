//! T18: the ABI of this build against the stored one, `bindings/c/abi/ackbus-N.abi` with N for `ACKBUS_ABI_VERSION`: a program that was compiled before must go on as it is.
//!
//! An addition makes the baseline out of date: `make abi` writes it anew, and the change is there to be reviewed. What breaks programs is never written over a
//! baseline; it needs a new ABI version, and so a new soname and a file of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod header;
#[path = "../native/mod.rs"]
mod native;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use header::Header;
use native::Flavour::Unlinked;
use native::{compile, library_dir, project, run, scratch, skipped};
use rules::{Changes, GROWS, compare, lines};

/// They are another with each version.
const VERSIONS: [&str; 4] = ["ACKBUS_VERSION", "ACKBUS_VERSION_MAJOR", "ACKBUS_VERSION_MINOR", "ACKBUS_VERSION_PATCH"];

/// Debian's list of the functions, each with the version that brought it.
const SYMBOLS: &str = "packaging/debian/libackbus0.symbols";

const HEAD: &str = "\
# What programs that were compiled with this ABI rely on: functions, layouts, numbers. Compared by bindings/c/tests/abi; an addition is written by `make abi`.
# Sizes and places are in bytes. `source` is what matters to those alone who compile.
";

fn baselines() -> PathBuf {
    project().join("bindings/c/abi")
}

/// Sizes, places and values, as a C compiler has them: what the program says is `NAME NUMBER NUMBER`.
fn measured(header: &Header) -> BTreeMap<String, Vec<i64>> {
    let mut body = String::new();
    // Without casts: what is no number does not compile.
    let mut tell = |name: &str, first: &str, second: &str| {
        writeln!(body, "    {{ const long long first = {first}, second = {second}; printf(\"{name} %lld %lld\\n\", first, second); }}").unwrap();
    };
    tell("machine", "sizeof(void *)", "*(const unsigned char *)&(const int){1}");
    for (name, fields) in &header.structs {
        tell(name, &format!("sizeof({name})"), &format!("_Alignof({name})"));
        for (_, field) in fields {
            tell(&format!("{name}.{field}"), &format!("offsetof({name}, {field})"), &format!("sizeof((({name} *)0)->{field})"));
        }
    }
    for name in header.types.keys() {
        tell(name, &format!("sizeof({name})"), &format!("({name})-1 < 0"));
    }
    for name in &header.constants {
        tell(name, name, "0");
    }
    let source = scratch("probe").join("probe.c");
    std::fs::write(&source, format!("#include <ackbus.h>\n#include <stdio.h>\n\nint main(void)\n{{\n{body}}}\n")).unwrap();
    let said = run(&mut Command::new(compile(source.to_str().unwrap(), Unlinked))).succeeded().stdout;
    let rows = said.lines().map(|line| line.split_once(' ').unwrap());
    rows.map(|(name, numbers)| (name.to_owned(), numbers.split(' ').map(|number| number.parse().unwrap()).collect())).collect()
}

/// The functions of the shared library, and its soname.
fn exported() -> (BTreeSet<String>, String) {
    let library = library_dir().join("libackbus.so");
    let symbols = run(Command::new("nm").args(["-D", "--defined-only", "--with-symbol-versions"]).arg(&library)).succeeded().stdout;
    let functions = symbols.lines().map(|line| line.rsplit_once(" T ").unwrap_or_else(|| panic!("this is no function: {line}")).1.to_owned()).collect();
    let dynamic = run(Command::new("readelf").arg("-dW").arg(&library)).succeeded().stdout;
    let soname = dynamic.lines().find(|line| line.contains("(SONAME)")).expect("a soname");
    (functions, soname.split(['[', ']']).nth(1).unwrap().to_owned())
}

/// The ABI of this build as its baseline would have it, and its number.
fn this_build() -> (String, i64) {
    let header = Header::parse(&std::fs::read_to_string(project().join("include/ackbus.h")).unwrap());
    let (functions, soname) = exported();
    assert_eq!(functions, header.functions.keys().cloned().collect(), "exported, and declared");
    let numbers = measured(&header);
    let pair = |name: &str| (numbers[name][0], numbers[name][1]);

    let mut text = HEAD.to_owned();
    let (pointer, little) = pair("machine");
    writeln!(text, "\nlibrary soname: {soname}").unwrap();
    writeln!(text, "library machine: {} bits, {} endian\n", pointer * 8, if little == 1 { "little" } else { "big" }).unwrap();
    for (name, signature) in &header.functions {
        writeln!(text, "function {name}: {signature}").unwrap();
    }
    text.push('\n');
    for name in &header.handles {
        writeln!(text, "handle {name}: struct {name}").unwrap();
    }
    for (name, of) in &header.types {
        let (size, signed) = pair(name);
        writeln!(text, "type {name}: {of}, {size} bytes, {}", if signed == 1 { "signed" } else { "unsigned" }).unwrap();
    }
    for (name, signature) in &header.callbacks {
        writeln!(text, "callback {name}: {signature}").unwrap();
    }
    for (name, fields) in &header.structs {
        let (size, aligned) = pair(name);
        writeln!(text, "\nstruct {name}: {size} bytes, aligned to {aligned}{}", if header.grows(name) { format!(", {GROWS}") } else { String::new() }).unwrap();
        for (of, field) in fields {
            let (at, size) = pair(&format!("{name}.{field}"));
            writeln!(text, "field {name}.{field}: at {at}, {size} bytes, {of}").unwrap();
        }
    }
    text.push('\n');
    for name in header.constants.iter().filter(|name| !VERSIONS.contains(&name.as_str())) {
        writeln!(text, "constant {name}: {}", pair(name).0).unwrap();
    }
    for (name, words) in &header.texts {
        writeln!(text, "constant {name}: {words}").unwrap();
    }
    text.push('\n');
    for name in VERSIONS {
        assert!(numbers.contains_key(name), "{name}");
        writeln!(text, "source {name}: another number with each version").unwrap();
    }
    for (name, signature) in &header.source {
        writeln!(text, "source {name}: {signature}").unwrap();
    }
    (text, pair("ACKBUS_ABI_VERSION").0)
}

/// Whether this run writes what is new instead of failing.
fn bless() -> bool {
    std::env::var_os("ACKBUS_BLESS").is_some()
}

/// The numbers of the ABIs that have a baseline.
fn stored() -> BTreeSet<i64> {
    let names = std::fs::read_dir(baselines()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .map(|name| {
            name.strip_prefix("ackbus-").and_then(|name| name.strip_suffix(".abi")).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name}"))
        })
        .collect()
}

#[test]
fn programs_that_were_compiled_before_go_on() {
    let (fresh, abi) = this_build();
    let newest = stored().last().copied().unwrap_or(-1);
    assert!(abi >= newest, "ACKBUS_ABI_VERSION is {abi}, and there was {newest} already: it only grows");
    let path = baselines().join(format!("ackbus-{abi}.abi"));
    let Ok(baseline) = std::fs::read_to_string(&path) else {
        assert!(bless(), "ABI {abi} has no baseline: `make abi` writes {}", path.display());
        std::fs::write(&path, fresh).unwrap();
        return;
    };
    let (old, new) = (lines(&baseline), lines(&fresh));
    if old["library machine"] != new["library machine"] {
        return skipped("the ABI", &format!("the baseline is that of {}, and this machine has {}", old["library machine"], new["library machine"]));
    }
    let Changes { breaks, additions } = compare(&old, &new);
    assert!(
        breaks.is_empty(),
        "this breaks programs that were built with ABI {abi}:\n  {}\nUndo it. If it must be, raise ACKBUS_ABI_VERSION in bindings/c/src/version.rs and the soname in bindings/c/build.rs.",
        breaks.join("\n  ")
    );
    if bless() {
        return std::fs::write(&path, fresh).unwrap();
    }
    assert!(additions.is_empty(), "the ABI has grown:\n  {}\nThe baseline is out of date: `make abi` (ACKBUS_BLESS=1) writes it anew.", additions.join("\n  "));
    assert!(fresh == baseline, "{} says the same in other words: `make abi` writes it anew", path.display());
}

/// A program's package depends on the version that brought the youngest function it calls.
#[test]
fn debian_knows_every_function() {
    let (functions, soname) = exported();
    let path = project().join(SYMBOLS);
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rows) = text.split_once('\n').unwrap();
    let package = soname.replace(".so.", "");
    assert_eq!(head, format!("{soname} {package} #MINVER#"), "{SYMBOLS}");
    let listed: BTreeMap<&str, &str> = rows.lines().map(|row| row.trim_start().split_once("@Base ").unwrap_or_else(|| panic!("{SYMBOLS}: {row}"))).collect();
    let gone: Vec<_> = listed.keys().filter(|name| !functions.contains(**name)).collect();
    assert!(gone.is_empty(), "{SYMBOLS} has functions that the library has not: {gone:?}");
    let fresh: Vec<_> = functions.iter().filter(|name| !listed.contains_key(name.as_str())).collect();
    if bless() {
        let version = |name: &String| listed.get(name.as_str()).copied().unwrap_or(env!("CARGO_PKG_VERSION"));
        let rows: String = functions.iter().map(|name| format!(" {name}@Base {}\n", version(name))).collect();
        return std::fs::write(&path, format!("{head}\n{rows}")).unwrap();
    }
    assert!(fresh.is_empty(), "{SYMBOLS} is out of date: `make abi` adds {fresh:?}");
}
