//! The seeds of `fuzz/seeds`, one after the other, on any compiler.

use std::panic::catch_unwind;
use std::path::Path;

/// Runs a target on every file of its folder.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 5, "{} has too few seeds", folder.display());
    let red: Vec<_> = files.iter().filter(|file| catch_unwind(|| run(&std::fs::read(file).unwrap())).is_err()).collect();
    assert!(red.is_empty(), "{target} fails on {red:?}");
}

macro_rules! targets {
    ($($target:ident)*) => {
        $(#[test] fn $target() { replay(stringify!($target), super::$target); })*

        /// A target that nobody replays, or whose driver for libFuzzer is missing, would rot.
        #[test]
        fn every_target_has_both_drivers() {
            let mut names = vec![$(stringify!($target)),*];
            // Its body is in `bindings/c`, and so is its replay.
            names.push("c_arguments");
            names.sort_unstable();
            for (folder, ending) in [("fuzz/fuzz_targets", ".rs"), ("fuzz/seeds", "")] {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
                let mut found: Vec<String> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
                found.sort_unstable();
                assert_eq!(found, names.iter().map(|name| format!("{name}{ending}")).collect::<Vec<_>>());
            }
        }
    };
}

targets! { ack answer config connection message refusal server topic }
