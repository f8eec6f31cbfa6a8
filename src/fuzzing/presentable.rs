//! What is told must be readable wherever it is shown.

/// The longest text that is ever told of what a server sent, in bytes (P9), and so the longest of errors, events and reports.
pub(super) const LONGEST: usize = 4096;

/// What is told must be readable wherever it is shown: no line ends, no escape sequences of terminals, not too long (P9).
#[track_caller]
pub(super) fn is_presentable(text: &str) {
    assert!(text.len() <= LONGEST, "{} bytes are told: {:.200}…", text.len(), text);
    assert!(!text.chars().any(char::is_control), "control characters are told: {text:?}");
}
