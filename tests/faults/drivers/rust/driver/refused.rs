//! Mode `bad`: what publish must refuse.

use std::time::Duration;

use super::{Client, Driver, Message, Refused};

/// Numbers of these messages: no message of the load has them.
const NUMBERS: u64 = 1 << 63;
const WAIT: Duration = Duration::from_secs(2);

pub(super) fn is_one(k: u64) -> bool {
    k >= NUMBERS
}

impl Driver {
    pub(super) fn try_what_must_be_refused(&self, client: &dyn Client) {
        let long_subject = "a".repeat(5_000);
        let subject = |subject| Message { subject, ..Message::default() };
        let header = |name, value| Message { header: Some((name, value)), ..subject(self.args.first_subject()) };
        let all = [
            ("empty subject", subject("")),
            ("space", subject("a b")),
            ("line end", subject("a\r\nPUB x 0\r\n\r\n")),
            ("star", subject("a.*")),
            ("gt", subject("a.>")),
            ("empty token", subject("a..b")),
            ("leading dot", subject(".a")),
            ("trailing dot", subject("a.")),
            ("nul", subject("a\0b")),
            ("long subject", subject(&long_subject)),
            ("header line end", header("A", "x\r\nB: y")),
            ("header name", header("A B", "x")),
            ("msg id line end", Message { msg_id: Some("x\r\nNats-Rollup: all"), ..subject(self.args.first_subject()) }),
        ];
        for (k, (name, message)) in (NUMBERS..).zip(all) {
            let (ok, answer) = match client.publish(&Message { k, payload: b"x", ..message }) {
                Err(Refused::Message(why)) => (true, why),
                Err(Refused::Closed(why)) => (false, why), // a client that is closed has refused nothing
                Ok(()) => (false, format!("publish took it; outcome: {}", self.outcome_of(k))),
            };
            self.check(&format!("bad: {name}"), ok, &answer);
        }
    }

    fn outcome_of(&self, k: u64) -> String {
        let is_other = |told: &mut Option<(u64, String)>| told.as_ref().is_none_or(|(of, _)| *of != k);
        let waited = self.changed.wait_timeout_while(self.refused(), WAIT, is_other);
        let (mut told, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        if is_other(&mut told) { "none in 2 s".to_owned() } else { told.take().map_or_else(String::new, |(_, outcome)| outcome) }
    }
}
