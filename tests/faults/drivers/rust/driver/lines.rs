//! The lines that a driver writes on standard output: one JSON object each. They are gathered under a lock, and written by whoever flushes, so that a publishing
//! thread never waits for the pipe.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Default)]
pub(crate) struct Lines {
    gathered: Mutex<Gathered>,
    /// Held while writing, so that lines stay in order.
    leaving: Mutex<String>,
}

#[derive(Debug, Default)]
struct Gathered {
    lines: String,
    ended: bool,
}

impl Lines {
    /// Adds a line, without its newline.
    pub(crate) fn add(&self, line: fmt::Arguments<'_>) {
        self.put(line, false);
    }

    /// The same for the last line: writes everything, and what is added later is dropped.
    pub(crate) fn add_last(&self, line: fmt::Arguments<'_>) {
        self.put(line, true);
        self.flush();
    }

    fn put(&self, line: fmt::Arguments<'_>, last: bool) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if !gathered.ended {
            gathered.ended = last;
            let _ = writeln!(gathered.lines, "{line}"); // a String takes everything
        }
    }

    /// Writes what was added.
    pub(crate) fn flush(&self) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *leaving, &mut self.gathered.lock().unwrap_or_else(PoisonError::into_inner).lines);
        let mut out = std::io::stdout().lock();
        if out.write_all(leaving.as_bytes()).and_then(|()| out.flush()).is_err() {
            std::process::exit(1) // nobody reads any more
        }
        leaving.clear();
    }
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros())
}

/// A text as a JSON string.
pub(crate) fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
