//! The usual choices for the filters of a [`Proxy`](crate::Proxy): which frames, which of them, and what happens to them.
//!
//! ```no_run
//! # use ackbus_test_support::{Action, Proxy, choose};
//! # fn example(proxy: Proxy) {
//! proxy.filter(choose::acks(choose::percent(1.0, 42), |_| Action::Drop));
//! proxy.filter_up(choose::publishes(choose::from(3, 1), |frame| choose::zero_seq_duplicate(frame, "ORDERS")));
//! # }
//! ```

use memchr::memmem;

use super::Action;
use crate::chance::Chance;
use crate::frames::{Verb, words};

/// Whether a frame from the server answers a publish, well or badly. Answers of the JetStream API are none.
#[must_use]
pub fn is_ack(frame: &[u8]) -> bool {
    words(frame).next().is_some_and(|verb| matches!(verb, "MSG" | "HMSG")) && memmem::find(frame, b"\"type\":\"io.nats.jetstream.api.").is_none()
}

/// Whether a frame from the server says that nobody answers a request (status 503).
#[must_use]
pub fn is_no_responders(frame: &[u8]) -> bool {
    frame.starts_with(b"HMSG") && memmem::find(frame, b"\r\nNATS/1.0 503").is_some()
}

/// Whether a frame from the client is a publish that asks for an ack. Requests to the JetStream API are none.
#[must_use]
pub fn is_publish(frame: &[u8]) -> bool {
    reply_subject(frame).is_some() && subject(frame).is_some_and(|subject| !subject.starts_with("$JS."))
}

/// The subject of a `PUB` or `HPUB`.
#[must_use]
pub fn subject(publish: &[u8]) -> Option<&str> {
    let mut words = words(publish);
    words.next().filter(|verb| matches!(*verb, "PUB" | "HPUB")).and(words.next())
}

/// The reply subject of a `PUB` or `HPUB`.
#[must_use]
pub fn reply_subject(publish: &[u8]) -> Option<&str> {
    let words: Vec<&str> = words(publish).collect();
    match words.as_slice() {
        ["PUB", _, reply, _] | ["HPUB", _, reply, _, _] => Some(reply),
        _ => None,
    }
}

/// `count` of those that are asked about, from the `from`-th on, counted from 1.
pub fn from(from: u64, count: u64) -> impl FnMut() -> bool + Send + 'static {
    let mut seen = 0;
    move || {
        seen += 1;
        seen >= from && seen - from < count
    }
}

/// `percent` of those that are asked about, by chance; the same ones for the same seed.
///
/// # Panics
/// When it is none of 0 to 100.
pub fn percent(percent: f64, seed: u64) -> impl FnMut() -> bool + Send + 'static {
    assert!((0.0..=100.0).contains(&percent), "{percent} %; allowed: 0 to 100");
    let mut chance = Chance::new(seed);
    move || chance.fraction() * 100.0 < percent
}

/// A filter for [`Proxy::filter`](crate::Proxy::filter): does `what` to those acks that `pick` picks.
pub fn acks(
    pick: impl FnMut() -> bool + Send + 'static,
    what: impl FnMut(&[u8]) -> Action + Send + 'static,
) -> impl FnMut(Verb, &[u8]) -> Action + Send + 'static {
    those(|verb, frame| verb == Verb::Msg && is_ack(frame), pick, what)
}

/// A filter for [`Proxy::filter_up`](crate::Proxy::filter_up): does `what` to those publishes that `pick` picks.
pub fn publishes(
    pick: impl FnMut() -> bool + Send + 'static,
    what: impl FnMut(&[u8]) -> Action + Send + 'static,
) -> impl FnMut(Verb, &[u8]) -> Action + Send + 'static {
    those(|verb, frame| verb == Verb::Pub && is_publish(frame), pick, what)
}

fn those(
    kind: fn(Verb, &[u8]) -> bool,
    mut pick: impl FnMut() -> bool + Send + 'static,
    mut what: impl FnMut(&[u8]) -> Action + Send + 'static,
) -> impl FnMut(Verb, &[u8]) -> Action + Send + 'static {
    move |verb, frame| if kind(verb, frame) && pick() { what(frame) } else { Action::Pass }
}

/// For a publish: the server never sees it, and the client is told that its copy is a duplicate with the sequence 0. Clustered servers up to 2.10 say so
/// of copies that they may still drop. Frames without a reply subject pass.
#[must_use]
pub fn zero_seq_duplicate(publish: &[u8], stream: &str) -> Action {
    match reply_subject(publish) {
        Some(_) => Action::Reply(format!("{{\"stream\":\"{stream}\",\"seq\":0,\"duplicate\": true}}").into_bytes()),
        None => Action::Pass,
    }
}

/// A message frame of the same length whose payload is neither JSON nor text. Its lines and headers stay, and so do frames without payload.
#[must_use]
pub fn corrupt(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let Some(line) = memchr::memchr(b'\n', &frame) else { return frame };
    let words: Vec<&str> = words(&frame).collect();
    let headers = match words.as_slice() {
        ["MSG" | "PUB", ..] => Some(0),
        ["HMSG" | "HPUB", .., headers, _] => headers.parse().ok(),
        _ => None,
    };
    let end = frame.len().saturating_sub(2);
    if let Some(payload) = headers.and_then(|headers: usize| frame.get_mut(line + 1 + headers..end)) {
        payload.iter_mut().step_by(2).for_each(|byte| *byte = 0xff);
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_and_publishes_are_told_from_the_rest() {
        let ack = b"MSG inbox.1 1 24\r\n{\"stream\":\"S\",\"seq\":1}\r\n";
        let api = b"MSG inbox.1 1 59\r\n{\"type\":\"io.nats.jetstream.api.v1.stream_info_response\"}\r\n";
        let no_responders = b"HMSG inbox.1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
        assert_eq!([&ack[..], api, no_responders, b"PING\r\n"].map(is_ack), [true, false, true, false]);
        assert_eq!([&ack[..], no_responders].map(is_no_responders), [false, true]);

        let frames = [
            &b"PUB a inbox.1 1\r\nx\r\n"[..],
            b"HPUB a inbox.2 12 13\r\nNATS/1.0\r\n\r\nx\r\n",
            b"PUB a 1\r\nx\r\n",
            b"HPUB a 12 13\r\n",
            b"PUB $JS.API.INFO inbox.3 0\r\n\r\n",
        ];
        assert_eq!(frames.map(is_publish), [true, true, false, false, false]);
        assert_eq!(frames.map(reply_subject), [Some("inbox.1"), Some("inbox.2"), None, None, Some("inbox.3")]);
        assert_eq!(frames.map(subject), [Some("a"), Some("a"), Some("a"), Some("a"), Some("$JS.API.INFO")]);
    }

    #[test]
    fn a_choice_is_exact_and_the_same_for_the_same_seed() {
        let mut pick = from(2, 3);
        assert_eq!(std::array::from_fn(|_| pick()), [false, true, true, true, false, false]);
        let chosen = |seed| {
            let mut pick = percent(1.0, seed);
            (0..10_000).filter(|_| pick()).collect::<Vec<u32>>()
        };
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        for seed in 0..20 {
            let count = chosen(seed).len();
            assert!((50..=150).contains(&count), "seed {seed}: {count} of 10,000");
        }
        assert_eq!([0.0, 100.0].map(|share| percent(share, 7)()), [false, true]);
    }

    #[test]
    fn what_is_corrupt_keeps_its_length_and_its_lines() {
        assert_eq!(corrupt(b"MSG a 1 5\r\n{\"a\"}\r\n"), b"MSG a 1 5\r\n\xff\"\xff\"\xff\r\n");
        assert_eq!(corrupt(b"HMSG a 1 12 15\r\nNATS/1.0\r\n\r\nack\r\n"), b"HMSG a 1 12 15\r\nNATS/1.0\r\n\r\n\xffc\xff\r\n");
        for frame in [&b"MSG a 1 0\r\n\r\n"[..], b"PING\r\n", b"HMSG a 1 99 15\r\n"] {
            assert_eq!(corrupt(frame), frame);
        }
    }
}
