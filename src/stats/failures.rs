//! What messages fail with: how often each status, and a text to it now and then.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::base::counter::Counter;
use crate::base::error::Status::{
    self, AckTimeout, AuthFailed, Closed, ConnectFailed, CreateFailed, Denied, Disconnected, Failed, Internal, NoStream, Overloaded, ProtocolError, Purged,
    QuotaExceeded, Rejected, StreamFull, TlsFailed, TooLarge, Unavailable, WrongExpectation,
};
use crate::base::sync::Mutex;
use crate::base::time::Nanos;

/// What a message's last word can be, but for OK. Each has its series from the start, so that the first failure is a step from 0 for whoever computes rates.
pub(crate) const FAILURES: [Status; 20] = [
    TooLarge,
    Purged,
    Closed,
    Disconnected,
    ConnectFailed,
    AuthFailed,
    TlsFailed,
    AckTimeout,
    Denied,
    ProtocolError,
    Failed,
    NoStream,
    StreamFull,
    Overloaded,
    WrongExpectation,
    QuotaExceeded,
    Rejected,
    Unavailable,
    CreateFailed,
    Internal,
];

/// A status' text is kept at most this often: a million failures a second must not become a million copies.
const EVERY: Nanos = 100_000_000;
/// Characters of a text that are kept. An exemplar has 128 for all its labels; the label's name, `text`, is one of them.
pub(crate) const TEXT_CHARS: usize = 128 - "text".len();

/// Failures by status. One thread notes at a time, any may read.
#[derive(Debug, Default)]
pub(crate) struct Failures([Failure; FAILURES.len()]);

#[derive(Debug, Default)]
struct Failure {
    count: Counter,
    /// When the text was kept, by the publisher's clock; 0: never.
    kept_at: AtomicU64,
    last: Mutex<Option<Exemplar>>,
}

/// One failure, as an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exemplar {
    /// At most [`TEXT_CHARS`] characters.
    pub(crate) text: Box<str>,
    pub(crate) time_unix_ns: i64,
}

impl Failures {
    /// Counts a failure.
    pub(crate) fn note(&self, status: Status, text: Option<&str>, now: Nanos, unix_nanos: impl FnOnce() -> i64) {
        debug_assert!(FAILURES.contains(&status), "{status} is not in the list");
        // The last is INTERNAL: whatever comes, the sum is `publish_errors`.
        let place = FAILURES.iter().position(|&known| known == status).unwrap_or(FAILURES.len() - 1);
        let failure = &self.0[place];
        failure.count.bump(1);
        let kept_at = failure.kept_at.load(Relaxed);
        if kept_at != 0 && now.saturating_sub(kept_at) < EVERY {
            return;
        }
        // Never waits: who reads it copies it, and there will be another text.
        if let Ok(mut last) = failure.last.try_lock() {
            failure.kept_at.store(now.max(1), Relaxed);
            *last = Some(Exemplar { text: cut(text.unwrap_or_else(|| status.text())), time_unix_ns: unix_nanos() });
        }
    }

    /// What these noted together, in the order of [`FAILURES`]: how many, and the newest example.
    pub(crate) fn read<'a>(of: impl Iterator<Item = &'a Failures> + Clone) -> Vec<(Status, u64, Option<Exemplar>)> {
        let one = |(place, &status): (usize, &Status)| {
            let lanes: Vec<&Failure> = of.clone().map(|failures| &failures.0[place]).collect();
            let examples = lanes.iter().filter_map(|failure| failure.last.lock().ok()?.clone());
            (status, lanes.iter().map(|failure| failure.count.get()).sum(), examples.max_by_key(|example| example.time_unix_ns))
        };
        FAILURES.iter().enumerate().map(one).collect()
    }
}

/// As much as there is room for, in whole characters; a cut is shown.
fn cut(text: &str) -> Box<str> {
    match text.char_indices().nth(TEXT_CHARS) {
        None => text.into(),
        Some(_) => text.chars().take(TEXT_CHARS - 1).chain(['…']).collect::<String>().into_boxed_str(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn of(failures: &Failures, status: Status) -> (u64, Option<Exemplar>) {
        let read = Failures::read([failures].into_iter());
        read.into_iter().find(|(known, ..)| *known == status).map(|(_, count, example)| (count, example)).unwrap()
    }

    #[test]
    fn each_is_counted_and_a_text_kept_ten_times_a_second() {
        let (failures, second) = (Failures::default(), 1_000_000_000);
        for step in 1..=1_000_u64 {
            failures.note(NoStream, Some(&format!("number {step}")), step * second / 1_000, || i64::try_from(step).unwrap());
        }
        // At 1, 101, 201 … 901 ms.
        assert_eq!(of(&failures, NoStream), (1_000, Some(Exemplar { text: "number 901".into(), time_unix_ns: 901 })));
        assert_eq!(of(&failures, Denied), (0, None));
        failures.note(Denied, None, 950_000_000, || 7);
        assert_eq!(of(&failures, Denied), (1, Some(Exemplar { text: Denied.text().into(), time_unix_ns: 7 })), "each status has its own time");
    }

    #[test]
    fn whoever_reads_never_makes_the_counting_wait() {
        let failures = Failures::default();
        let place = FAILURES.iter().position(|&status| status == Closed).unwrap();
        let reading = failures.0[place].last.lock().unwrap();
        failures.note(Closed, Some("while somebody reads"), 5, || 5);
        drop(reading);
        assert_eq!(of(&failures, Closed), (1, None));
        failures.note(Closed, Some("the next"), 6, || 6);
        assert_eq!(of(&failures, Closed).1.unwrap().text, "the next".into(), "at once: none was kept");
    }

    #[test]
    fn texts_are_cut_in_whole_characters() {
        for (length, expected) in [(0, 0), (TEXT_CHARS, TEXT_CHARS), (TEXT_CHARS + 1, TEXT_CHARS), (1_000, TEXT_CHARS)] {
            let text = cut(&"ü".repeat(length));
            assert_eq!(text.chars().count(), expected);
            assert_eq!(text.ends_with('…'), length > TEXT_CHARS);
        }
    }

    #[test]
    fn lanes_add_up_and_the_newest_text_is_told() {
        let lanes = [Failures::default(), Failures::default()];
        lanes[0].note(Purged, Some("newer"), 1, || 20);
        lanes[1].note(Purged, Some("older"), 1, || 10);
        let read = Failures::read(lanes.iter());
        assert_eq!(read[1], (Purged, 2, Some(Exemplar { text: "newer".into(), time_unix_ns: 20 })));
        assert_eq!(read.iter().map(|(status, ..)| *status).collect::<Vec<_>>(), FAILURES);
        assert!(FAILURES.is_sorted() && FAILURES.last() == Some(&Internal));
    }
}
