//! The house has floors: an import goes down, or sideways within a folder, and no two files import each other, not even in a round about way.
//!
//! ARCHITECTURE.md draws them. What is for tests alone (`#[cfg(test)]`) is not looked at, but for the simulation, which is as large as a floor.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// From the top. Folders of one floor do not import each other.
const FLOORS: [&[&str]; 9] = [
    &["lib"],
    &["publisher", "simulation", "fuzzing", "rooms"],
    &["runtime"],
    &["handler"],
    &["bus"],
    &["desk"],
    &["wire", "window"],
    &["config", "ledger", "message", "trace", "stats"],
    &["base"],
];

/// The files of a crate, by the module that each one is; `lib.rs` is the empty one.
type Modules = BTreeMap<Vec<String>, PathBuf>;

/// Which file imports which, and by which path.
type Imports = BTreeMap<PathBuf, BTreeMap<PathBuf, String>>;

fn files(folder: &Path, module: &[String], into: &mut Modules) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let inside = || module.iter().cloned().chain([name.clone()]).collect::<Vec<_>>();
        if path.is_dir() {
            files(&path, &inside(), into);
        } else if name == "mod" || name == "lib" {
            into.insert(module.to_vec(), path);
        } else if path.extension().is_some_and(|e| e == "rs") && !name.ends_with("tests") && name != "replay" {
            into.insert(inside(), path);
        }
    }
}

/// The source without comments, texts and what is for tests alone.
fn code(source: &str) -> String {
    let mut kept = String::new();
    let mut skips: Option<usize> = None;
    for line in source.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if let Some(outside) = skips {
            // An item ends with a line of its own indentation, which is `}` or ends with `;`. Attributes and the item's head come before.
            if indent == outside && (line.starts_with('}') || line.ends_with(';') || line.ends_with('}')) {
                skips = None;
            }
        } else if line.starts_with("#[cfg(test)]") {
            skips = Some(indent);
        } else if !line.starts_with("//") {
            kept.push_str(line.split(" // ").next().unwrap_or(line));
            kept.push('\n');
        }
    }
    kept
}

/// All paths that begin with `crate`, `self` or `super`, with the braces of imports resolved.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            // A longer word, the middle of a path (`super::super::x` is found by its first), or a path of macros' (`$crate`).
            if !(before.is_alphanumeric() || matches!(before, '_' | ':' | '$')) {
                follow(&code[at..], &mut Vec::new(), &mut found);
            }
        }
    }
    found
}

/// Reads a path, or the tree of an import, and returns what follows it.
fn follow<'a>(text: &'a str, so_far: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    let depth = so_far.len();
    let mut rest = text;
    loop {
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.trim_start().starts_with('}') && !rest.trim_start().is_empty() {
                rest = follow(rest, so_far, found).trim_start().trim_start_matches(|c| c != ',' && c != '}').trim_start_matches(',');
            }
            rest = rest.trim_start().trim_start_matches('}');
            break;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        so_far.push(rest[..end].to_owned());
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(more) => rest = more,
            None => {
                found.push(so_far.clone());
                break;
            }
        }
    }
    so_far.truncate(depth);
    rest
}

/// The file that the path leads to from this module.
fn target<'m>(modules: &'m Modules, from: &[String], path: &[String]) -> Option<&'m PathBuf> {
    let mut at = match path.first()?.as_str() {
        "crate" => Vec::new(),
        _ => from.to_vec(),
    };
    for step in path.iter().skip(usize::from(path[0] == "crate")) {
        match step.as_str() {
            "self" => {}
            "super" => drop(at.pop()),
            name => {
                at.push(name.to_owned());
                if !modules.contains_key(&at) {
                    at.pop();
                    break;
                }
            }
        }
    }
    modules.get(&at)
}

fn imports(root: &Path) -> Imports {
    let mut modules = Modules::new();
    files(root, &[], &mut modules);
    let mut all = Imports::new();
    for (module, file) in &modules {
        let code = code(&std::fs::read_to_string(file).unwrap());
        let own = all.entry(file.clone()).or_default();
        for path in paths(&code) {
            if let Some(to) = target(&modules, module, &path).filter(|to| *to != file) {
                own.entry(to.clone()).or_insert_with(|| path.join("::"));
            }
        }
    }
    all
}

/// The folder of the floors that a file stands in.
fn folder(root: &Path, file: &Path) -> String {
    let first = file.strip_prefix(root).unwrap().components().next().unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned()
}

fn floor(folder: &str) -> usize {
    FLOORS.iter().position(|names| names.contains(&folder)).unwrap_or_else(|| panic!("src/{folder} stands on no floor; give it one in tests/floors.rs"))
}

/// A way from one file back to itself, if there is one.
fn circle(imports: &Imports) -> Option<Vec<&PathBuf>> {
    fn visit<'i>(file: &'i PathBuf, imports: &'i Imports, done: &mut BTreeSet<&'i PathBuf>, way: &mut Vec<&'i PathBuf>) -> bool {
        if let Some(at) = way.iter().position(|known| *known == file) {
            way.drain(..at);
            way.push(file);
            return true;
        }
        if !done.insert(file) {
            return false;
        }
        way.push(file);
        if imports[file].keys().any(|next| visit(next, imports, done, way)) {
            return true;
        }
        way.pop();
        false
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|file| {
        let mut way = Vec::new();
        visit(file, imports, &mut done, &mut way).then_some(way)
    })
}

fn named<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    files.into_iter().map(|file| file.strip_prefix(here).unwrap().display().to_string()).collect::<Vec<_>>().join(" → ")
}

#[test]
fn imports_go_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut upwards = Vec::new();
    for (file, to) in imports(&root) {
        for (other, path) in to {
            let (from, into) = (folder(&root, &file), folder(&root, &other));
            if from != into && floor(&from) >= floor(&into) {
                let where_to = if floor(&from) == floor(&into) { "the same floor" } else { "a floor above" };
                upwards.push(format!("{} ({path}): {into} is on {where_to}; an import goes down, or sideways within a folder", named([&file, &other])));
            }
        }
    }
    assert!(upwards.is_empty(), "{} imports break the rule of the floors:\n{}", upwards.len(), upwards.join("\n"));
}

#[test]
fn no_files_import_each_other() {
    for root in ["src", "bindings/c/src"] {
        let imports = imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join(root));
        assert!(imports.values().any(|to| !to.is_empty()), "{root} was read");
        if let Some(way) = circle(&imports) {
            panic!("a circle: {}; take out of one of these files what the one before it needs", named(way));
        }
    }
}

#[test]
fn the_test_sees_what_it_looks_for() {
    let seen = |code: &str| paths(code).into_iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(seen("use crate::a::{self, b::C, d::{E, F as G}};"), ["crate::a::self", "crate::a::b::C", "crate::a::d::E", "crate::a::d::F"]);
    assert_eq!(seen("super::super::a::b(1); $crate::c!(); my_crate::d::e();"), ["super::super::a::b"]);
    assert_eq!(code("a\n#[cfg(test)]\nmod tests {\n    b\n}\nc // d\n#[cfg(test)]\nuse e;\nf"), "a\nc\nf\n");
    let (a, b) = (PathBuf::from("a"), PathBuf::from("b"));
    let one = |to: &PathBuf| BTreeMap::from([(to.clone(), String::new())]);
    assert_eq!(circle(&Imports::from([(a.clone(), one(&b)), (b.clone(), one(&a))])), Some(vec![&a, &b, &a]));
    assert_eq!(circle(&Imports::from([(a.clone(), one(&b)), (b.clone(), BTreeMap::new())])), None);
}
