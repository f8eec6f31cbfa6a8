//! The README shows the examples as they are, and its links lead somewhere.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(project().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_quickstarts_are_the_examples() {
    let readme = read("README.md");
    for (language, path) in [("c", "examples/c/quickstart.c"), ("cpp", "examples/cpp/quickstart.cpp"), ("rust", "examples/quickstart.rs")] {
        let block = format!("```{language}\n{}```\n", read(path));
        assert!(readme.contains(&block), "README.md does not show {path} as it is now");
    }
}

#[test]
fn links_lead_to_files() {
    for page in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"] {
        // Without the code: a C++ lambda looks like a link.
        let text: String = read(page).split("```").step_by(2).collect();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap();
            assert!(target.contains("://") || project().join(path).exists(), "{page} links to {target}");
        }
    }
}
