//! Rules for the sources that no lint can check.

#![allow(clippy::unwrap_used, reason = "tests")]

/// Clippy forbids the functions that convert pointers outside `handle.rs`, but knows nothing of `*pointer`. So outside of it `unsafe` may do two things: make a
/// `Call`, and call a function of C's.
#[test]
fn only_handle_converts_pointers() {
    const ALLOWED: [&str; 4] = ["Call::from_c()", "(self.0.function)(", "(callback.function)(", "finalizer(self.user_data)"];
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let blocks: Vec<&str> = code.split("unsafe {").skip(1).map(str::trim_start).collect();
        if path.ends_with("handle.rs") {
            assert!(blocks.len() > 5, "this test looks for the wrong thing");
        } else if path.ends_with("fuzzing.rs") {
            // It plays C: it calls the exported functions, and converts nothing itself.
            let calls = |block: &&str| block.trim_start_matches("assert_eq!(done(|error| ").trim_start_matches("let copy = ").starts_with("ackbus_");
            for block in blocks.iter().filter(|block| !block.starts_with("Call::from_c()")) {
                assert!(calls(block) || block.starts_with("(ackbus_"), "{}: unsafe {{ {}", path.display(), block.lines().next().unwrap());
            }
        } else {
            for block in blocks {
                assert!(ALLOWED.iter().any(|allowed| block.starts_with(allowed)), "{}: unsafe {{ {}", path.display(), block.lines().next().unwrap());
            }
        }
    }
}
