//! The house has floors: an import goes down, or sideways within a folder, and no two files import each other, not even in a round about way.
//!
//! ARCHITECTURE.md draws them. What is for tests alone (`#[cfg(test)]`) is not looked at, but for the simulation, which is as large as a floor.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

/// The names that a path of some module can begin with, and the modules that they mean.
type Roots = BTreeMap<String, Vec<String>>;

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

/// The source without comments, texts and what is for tests alone. It goes by rustfmt's lines and indentation.
fn code(source: &str) -> String {
    let mut kept = String::new();
    let mut skips: Option<usize> = None;
    for line in source.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        // What ends without a line of its own, such as a last field.
        skips = skips.filter(|outside| indent >= *outside);
        if let Some(outside) = skips {
            // An item ends with a line of its own indentation, which begins with `}` or ends like this. Attributes and the item's head come before.
            if indent == outside && (line.starts_with('}') || line.ends_with([';', '}', ','])) {
                skips = None;
            }
        } else if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test,") {
            skips = Some(indent);
        } else {
            kept.push_str(without_texts(line).split(" // ").next().unwrap_or_default());
            kept.push('\n');
        }
    }
    kept
}

/// A text of several lines stays: better to see too much than to miss an import.
fn without_texts(line: &str) -> String {
    let line = line.replace(r"\\", "").replace(r#"\""#, "").replace("'\"'", "");
    let parts: Vec<&str> = line.split('"').collect();
    if parts.len() % 2 == 1 { parts.into_iter().step_by(2).collect::<Vec<_>>().join("\"\"") } else { line }
}

/// All paths that begin with one of these names, with the braces of imports resolved.
fn paths(code: &str, roots: &Roots) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut read = 0;
    while let Some(at) = code[read..].find("::").map(|at| read + at) {
        let head = code[..at].trim_end_matches(is_word).len();
        // The middle of a path, a path of macros' (`$crate`), or a visibility (`pub(in crate::x)`) is none of these.
        let is_other = code[..head].ends_with([':', '$']) || code[..head].ends_with("pub(in ");
        read = if roots.contains_key(&code[head..at]) && !is_other { code.len() - follow(&code[head..], &mut Vec::new(), &mut found).len() } else { at + 2 };
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
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
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
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

/// The module that the path leads to, and whether it ends there.
fn target(modules: &Modules, roots: &Roots, path: &[String]) -> (Vec<String>, bool) {
    let mut at = roots[&path[0]].clone();
    for step in &path[1..] {
        match step.as_str() {
            "self" => {}
            "super" => drop(at.pop()),
            name => {
                at.push(name.to_owned());
                if !modules.contains_key(&at) {
                    at.pop();
                    return (at, false);
                }
            }
        }
    }
    (at, true)
}

/// What paths of this module can begin with, but for what it imports.
fn roots(modules: &Modules, module: &[String]) -> Roots {
    let above = &module[..module.len().saturating_sub(1)];
    let own = [("crate", &[][..]), ("self", module), ("super", above)].map(|(name, leads)| (name.to_owned(), leads.to_vec()));
    let inside = modules.keys().filter(|inner| inner.len() == module.len() + 1 && inner.starts_with(module));
    own.into_iter().chain(inside.map(|inner| (inner[module.len()].clone(), inner.clone()))).collect()
}

fn imports(root: &Path) -> Imports {
    let mut modules = Modules::new();
    files(root, &[], &mut modules);
    let mut all = Imports::new();
    for (module, file) in &modules {
        let code = code(&std::fs::read_to_string(file).unwrap());
        let inline = code.lines().any(|line| line.ends_with('{') && line.split(' ').any(|word| word == "mod"));
        assert!(!inline || !code.contains("super::"), "{}: this test would misread the `super` of a module inside a file", named(file));
        let mut roots = roots(&modules, module);
        for path in paths(&code, &roots) {
            // `use crate::a;` makes `a::b::c()` a path.
            if let (known, true) = target(&modules, &roots, &path)
                && let Some(name) = known.last().cloned()
            {
                roots.entry(name).or_insert(known);
            }
        }
        let own = all.entry(file.clone()).or_default();
        for path in paths(&code, &roots) {
            if let Some(to) = modules.get(&target(&modules, &roots, &path).0).filter(|to| *to != file) {
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

/// For each file that has one, the shortest way back to itself; each circle once.
fn circles(imports: &Imports) -> Vec<Vec<&PathBuf>> {
    let back_to = |start| {
        let mut seen = BTreeSet::new();
        let mut ways = VecDeque::from([vec![start]]);
        while let Some(way) = ways.pop_front() {
            for next in imports[way[way.len() - 1]].keys() {
                let longer = || way.iter().copied().chain([next]).collect();
                if next == start {
                    return Some(longer());
                }
                if seen.insert(next) {
                    ways.push_back(longer());
                }
            }
        }
        None
    };
    let mut known = BTreeSet::new();
    imports.keys().filter_map(back_to).filter(|way| known.insert(way.iter().copied().collect::<BTreeSet<_>>())).collect()
}

fn named(file: &Path) -> std::path::Display<'_> {
    file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display()
}

#[test]
fn imports_go_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut upwards = Vec::new();
    for (file, to) in imports(&root) {
        for (other, path) in to {
            let (from, into) = (folder(&root, &file), folder(&root, &other));
            if from != into && floor(&from) >= floor(&into) {
                let stands = if floor(&from) == floor(&into) { "beside" } else { "above" };
                upwards.push(format!("{} imports {} ({path}), but {into} stands {stands} {from}", named(&file), named(&other)));
            }
        }
    }
    assert!(upwards.is_empty(), "an import goes down, or sideways within a folder; {} do not:\n{}", upwards.len(), upwards.join("\n"));
}

#[test]
fn no_files_import_each_other() {
    let mut found = Vec::new();
    for root in ["src", "bindings/c/src"] {
        let imports = imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join(root));
        assert!(imports.values().any(|to| !to.is_empty()), "{root} was read");
        for way in circles(&imports) {
            let steps = way.windows(2).map(|step| format!("{} imports {} ({})", named(step[0]), named(step[1]), imports[step[0]][step[1]]));
            found.push(steps.collect::<Vec<_>>().join("\n"));
        }
    }
    assert!(found.is_empty(), "{} circles of imports; take what one of the files needs out into one that knows neither:\n{}", found.len(), found.join("\n\n"));
}

#[test]
fn the_test_sees_what_it_looks_for() {
    let modules: Modules = ["", "a", "ab", "c"].map(|path| (path.chars().map(String::from).collect(), path.into())).into();
    let seen = |code: &str| paths(code, &roots(&modules, &["a".to_owned()])).into_iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(
        seen("pub use crate::c::{self, b::C,\n    d::{E, F as G}, *};\nb::x();"),
        ["crate::c::self", "crate::c::b::C", "crate::c::d::E", "crate::c::d::F", "crate::c::", "b::x"]
    );
    assert_eq!(seen("super::super::a::b(1); $crate::c!(); my_crate::d::e(); std::b::c(); Vec::<crate::c::D>::new()"), ["super::super::a::b", "crate::c::D"]);

    assert_eq!(code("a\n#[cfg(test)]\nmod tests {\n    b\n}\nc // d\n/// crate::d\n#[cfg(test)]\nuse e;\nf"), "a\nc\nf\n");
    assert_eq!(
        code("a {\n    #[cfg(test)]\n    b: C,\n    d\n    #[cfg(test)]\n    e\n}\n#[cfg(any(test, fuzzing))]\nf"),
        "a {\nd\n}\n#[cfg(any(test, fuzzing))]\nf\n"
    );

    assert_eq!(code(r#"a("crate::b // c", '"'); // d"#), "a(\"\", );\n");
    assert_eq!(code(r#"a("\\\"b", c)"#), "a(\"\", c)\n");

    let files = |pairs: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (from, to) in pairs {
            imports.entry(to.into()).or_default();
            imports.entry(from.into()).or_default().insert(to.into(), String::new());
        }
        circles(&imports).into_iter().map(|way| way.into_iter().map(|file| file.display().to_string()).collect()).collect::<Vec<String>>()
    };
    assert_eq!(files(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("d", "c")]), ["bcdb", "cdc"]);
    assert!(files(&[("a", "b"), ("a", "c"), ("b", "c")]).is_empty());
}
