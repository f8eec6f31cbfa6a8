//! Which subjects one connection has subscribed to: who delivers to it must name its subscription.

use crate::frames::words;

/// The subscriptions of one client.
#[derive(Debug, Default)]
pub(crate) struct Interest(Vec<(String, String)>);

impl Interest {
    /// Takes note of a `SUB` or `UNSUB`; other frames change nothing.
    pub(crate) fn learn(&mut self, frame: &[u8]) {
        let words: Vec<&str> = words(frame).collect();
        match words.as_slice() {
            [verb, subject, .., sid] if verb.eq_ignore_ascii_case("SUB") => self.0.push(((*subject).to_owned(), (*sid).to_owned())),
            // With a number of messages it ends later: then it is still good.
            [verb, sid] if verb.eq_ignore_ascii_case("UNSUB") => self.0.retain(|(_, known)| known != sid),
            _ => {}
        }
    }

    /// The number that the client gave to its subscription to this subject.
    pub(crate) fn sid(&self, subject: &str) -> Option<&str> {
        self.0.iter().find(|(pattern, _)| matches(pattern, subject)).map(|(_, sid)| sid.as_str())
    }
}

fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for expected in pattern.split('.') {
        match (expected, tokens.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            (expected, Some(token)) if expected != "*" && expected != token => return false,
            _ => {}
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_sub_is_its_number() {
        let mut interest = Interest::default();
        for frame in ["SUB inbox.* 1\r\n", "sub work group 2\r\n", "SUB all.> 3\r\n", "PUB inbox.9 9\r\n"] {
            interest.learn(frame.as_bytes());
        }
        let found: Vec<_> = ["inbox.a", "inbox.a.b", "inbox", "work", "all.a.b", "all", "inbox.9"].map(|subject| interest.sid(subject)).into();
        assert_eq!(found, [Some("1"), None, None, Some("2"), Some("3"), None, Some("1")]);
        interest.learn(b"UNSUB 1\r\n");
        interest.learn(b"UNSUB 2 5\r\n");
        assert_eq!((interest.sid("inbox.a"), interest.sid("work")), (None, Some("2")));
    }
}
