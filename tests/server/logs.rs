//! What the process has logged. There is one sink for a process, so it sees all tests' publishers: look for words that no other test has.

use std::fmt::Write as _;
use std::sync::{Mutex, Once};

use ackbus::log;

use crate::common::PATIENCE;

/// Every line since the first call, which sets the sink.
pub(crate) fn logged() -> String {
    static LINES: Mutex<String> = Mutex::new(String::new());
    static SET: Once = Once::new();
    SET.call_once(|| {
        let sink = |level: log::Level, target: &str, text: &str| {
            let _ = writeln!(LINES.lock().unwrap(), "{level} {target} {text}");
        };
        log::set(log::Level::Trace, Some(Box::new(sink))).unwrap();
    });
    assert!(log::flush(PATIENCE), "the log stands still");
    LINES.lock().unwrap().clone()
}
