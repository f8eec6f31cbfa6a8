//! What a JetStream error says about the attempt that it answers.
//!
//! The `err_code` decides, never the HTTP-like `code`: a full stream (10077) and a missing one both say 503. P2 wants proof for "not stored", so there is one
//! table, [`DEFINITE`], of the codes that prove it, each with its reason. Everything else, known or not, counts as possibly stored.
//!
//! A reason holds for R1 streams, where the server checks and stores under one lock, and for replicated ones, where the leader checks before it proposes the
//! message to the others, or where every replica repeats the same check on the same state. What one replica alone may refuse after the others agreed to store
//! (10023; 10077 for other reasons than a limit; 10063) proves nothing.
//!
//! It also matters who says it. Each refusal of a publish names its stream (`JSPubAckResponse{PubAck: &PubAck{Stream: name}}`, so from 2.9 to 2.15), and whether
//! that is the stream which takes the message is judged by `settle`. One that names none may come from anybody who subscribes to the topic, while the stream
//! stores it: it proves nothing, unless its code is said before any stream is asked.

use crate::base::error::Status::{self, Overloaded, QuotaExceeded, Rejected, StreamFull, TooLarge, Unavailable, WrongExpectation};
use crate::ledger::refusal::Retry::{self, Backoff, Hold, IfStreamFull, No};
use crate::ledger::refusal::{Refusal, Trouble};

/// The class of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Class {
    /// The status of the report if this is the last word.
    status: Status,
    /// Whether it proves that this attempt was not stored. It says nothing about earlier attempts.
    definite: bool,
    retry: Retry,
}

impl Class {
    const fn definite(status: Status, retry: Retry) -> Self {
        Class { status, definite: true, retry }
    }

    const fn possible(status: Status, retry: Retry) -> Self {
        Class { status, definite: false, retry }
    }
}

const STORE_FAILED: u32 = 10077;

/// A code that proves "not stored".
struct Proof {
    err_code: u32,
    class: Class,
    /// It is said before any stream is asked, so it proves it without naming one.
    before_stream: bool,
    /// Why it proves it.
    #[allow(dead_code, reason = "read by people and by the test that every proof has one")]
    why: &'static str,
}

const fn proof(err_code: u32, status: Status, retry: Retry, why: &'static str) -> Proof {
    Proof { err_code, class: Class::definite(status, retry), before_stream: false, why }
}

/// The same, said before any stream is asked.
const fn before_stream(err_code: u32, status: Status, retry: Retry, why: &'static str) -> Proof {
    Proof { before_stream: true, ..proof(err_code, status, retry, why) }
}

/// The codes that prove "not stored", by number.
const DEFINITE: &[Proof] = &[
    proof(10002, QuotaExceeded, No, "account limits are checked before the message is stored or proposed"),
    // No stream says it (server/jetstream_api.go alone does, to requests, from 2.9 to 2.15).
    before_stream(10008, Unavailable, Hold(Trouble::NobodyThere), "said by a server without a leader to ask, which therefore gave the message to no stream"),
    proof(10028, QuotaExceeded, No, "the memory limit is checked before the message is stored or proposed"),
    proof(10047, QuotaExceeded, No, "the storage limit is checked before the message is stored or proposed"),
    proof(10054, TooLarge, No, "max_msg_size is compared before the message is stored or proposed"),
    proof(10060, WrongExpectation, No, "the expected stream's name is compared before the message is stored or proposed"),
    proof(10070, WrongExpectation, No, "compared with the last id, which is the same on every replica at this place in the log"),
    proof(10071, WrongExpectation, No, "compared with the last sequence, under the lock that orders the stream"),
    proof(STORE_FAILED, StreamFull, IfStreamFull, "with the text of a limit alone: the limits are part of the state that replicas share"),
    proof(10097, TooLarge, No, "the size of the headers is checked before the message is stored or proposed"),
    proof(10109, Rejected, No, "a sealed stream takes nothing, and sealing cannot be undone"),
    proof(10111, Rejected, No, "whether a rollup is allowed is checked before the message is stored"),
    proof(10120, QuotaExceeded, No, "the account has no limits for this kind of stream; checked before the message is stored or proposed"),
    proof(10164, WrongExpectation, No, "another message to the subject is in flight; found before this one is proposed"),
    proof(10165, Rejected, No, "the TTL is parsed before the message is stored, from the message alone"),
    proof(10166, Rejected, No, "whether TTLs are allowed is checked before the message is stored or proposed"),
    proof(10167, Overloaded, Hold(Trouble::Overloaded), "the message was dropped in front of the stream's queue"),
    proof(10168, Rejected, No, "counter headers are checked before the message is stored or proposed"),
    proof(10169, Rejected, No, "counter headers are checked before the message is stored or proposed"),
    proof(10170, Rejected, No, "counter headers are checked before the message is stored or proposed"),
    proof(10171, Rejected, No, "counter headers are checked before the message is stored or proposed"),
    proof(10172, Rejected, No, "the counter's last value cannot be read, so no new one is made"),
    proof(10174, Rejected, No, "whether batches are allowed is checked before anything is staged"),
    proof(10175, Rejected, No, "a batch message without a sequence is not staged"),
    proof(10179, Rejected, No, "a batch message with a bad id is not staged"),
    proof(10188, Rejected, No, "schedule headers are checked before the message is stored or proposed"),
    proof(10189, Rejected, No, "schedule headers are checked before the message is stored or proposed"),
    proof(10190, Rejected, No, "schedule headers are checked before the message is stored or proposed"),
    proof(10191, Rejected, No, "schedule headers are checked before the message is stored or proposed"),
    proof(10192, Rejected, No, "schedule headers are checked before the message is stored or proposed"),
    proof(10193, Rejected, No, "an expected subject without its sequence is found before the message is stored or proposed"),
    proof(10203, Rejected, No, "schedule headers are checked before the message is stored or proposed"),
    proof(10205, Rejected, No, "whether fast batches are allowed is checked before anything is stored"),
    proof(10206, Rejected, No, "a fast batch message with a bad reply subject is not stored"),
    proof(10207, Rejected, No, "a fast batch message with a bad id is not stored"),
    proof(10210, Overloaded, Backoff, "too many batches are open; no new one is begun"),
    proof(10211, Overloaded, Backoff, "too many fast batches are open; no new one is begun"),
    proof(10212, Rejected, No, "schedule headers are checked before the message is stored or proposed"),
    proof(10223, Rejected, No, "schedule headers are checked before the message is stored or proposed"),
    proof(10227, Rejected, No, "the forbidden header is found before the message is stored or proposed"),
];

/// Codes that prove nothing and need other words or another course than their `code` would give them.
const POSSIBLE: &[(u32, Class)] = &[
    // The first copy is on its way through the cluster: the next attempt gets `duplicate`, if it was not lost with its leader.
    (10158, Class::possible(Unavailable, Backoff)),
    // The server is out of memory or disk, for all messages to the stream; one replica may say it of a message that the others store.
    (10023, Class::possible(Unavailable, Hold(Trouble::Overloaded))),
    (10059, Class::possible(Status::NoStream, No)),
    // The id is stored or staged already, perhaps by an earlier attempt.
    (10201, Class::possible(Rejected, No)),
];

/// An error reply: its `err_code`, its HTTP-like `code`, its text, which counts for 10077 alone, and the stream that it names.
pub(crate) fn refusal(err_code: u32, code: u32, description: &str, stream: Option<&str>) -> Refusal {
    let Class { status, definite, retry } = classify(err_code, code, description);
    let definite = definite && (stream.is_some() || proof_of(err_code).is_some_and(|proof| proof.before_stream));
    let text = if description.is_empty() { format!("the stream refused the message (code {code}, error {err_code})") } else { printable(description) };
    let server_code = if err_code == 0 { code } else { err_code };
    Refusal { status, definite, retry, server_code, stream: stream.map(Into::into), text }
}

/// A server's text, fit for a report or a line of a log: cut when long, and without control characters.
pub(crate) fn printable(text: &str) -> String {
    const SHOWN: usize = 400;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(SHOWN).map(clean).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn proof_of(err_code: u32) -> Option<&'static Proof> {
    DEFINITE.binary_search_by_key(&err_code, |proof| proof.err_code).ok().and_then(|index| DEFINITE.get(index))
}

fn classify(err_code: u32, code: u32, description: &str) -> Class {
    if err_code == STORE_FAILED {
        return store_failed(description);
    }
    if let Some(proof) = proof_of(err_code) {
        return proof.class;
    }
    if let Some((_, class)) = POSSIBLE.iter().find(|(known, _)| *known == err_code) {
        return *class;
    }
    match code {
        // 10063, 10163 and all that newer servers may invent.
        500..=599 => Class::possible(Unavailable, Backoff),
        429 => Class::possible(Overloaded, Backoff),
        _ => Class::possible(Rejected, No),
    }
}

/// 10077 wraps whatever the store said. The texts of the limits are the server's for its own constants; any other may be the trouble of one replica's disk.
fn store_failed(description: &str) -> Class {
    match description {
        "maximum messages exceeded" | "maximum bytes exceeded" | "maximum messages per subject exceeded" => Class::definite(StreamFull, IfStreamFull),
        "message too large" => Class::definite(TooLarge, No),
        _ => Class::possible(Unavailable, Backoff),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]

    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::codes::{NO_STREAM, WRONG_LAST_ID, WRONG_LAST_SEQ, WRONG_STREAM};

    /// The 226 error codes of nats-server 2.15 are 10002 to 10227 without a gap. These come with another `code` than 400. A newer server's codes belong here
    /// and in `expected`, after a look at where the server says them.
    const CODES: &[(u32, &[u32])] = &[
        (404, &[10014, 10037, 10059, 10068]),
        (409, &[10158]),
        (412, &[10180, 10185]),
        (429, &[10167, 10210, 10211]),
        (
            500,
            &[
                10006, 10007, 10009, 10012, 10028, 10029, 10041, 10042, 10045, 10047, 10048, 10049, 10050, 10051, 10052, 10053, 10057, 10062, 10064, 10066,
                10067, 10069, 10072, 10074, 10096, 10104, 10110, 10111, 10117, 10118, 10119, 10194, 10195,
            ],
        ),
        (503, &[10004, 10008, 10010, 10023, 10035, 10036, 10039, 10063, 10075, 10076, 10077, 10163]),
    ];
    const FIRST: u32 = 10002;
    const LAST: u32 = 10227;

    fn code_of(err_code: u32) -> u32 {
        CODES.iter().find(|(_, list)| list.contains(&err_code)).map_or(400, |(code, _)| *code)
    }

    /// The class that every code must have, by number. What is not listed is a 400 that proves nothing and ends the message.
    fn expected(err_code: u32) -> Class {
        match err_code {
            10002 | 10028 | 10047 | 10120 => Class::definite(QuotaExceeded, No),
            10054 | 10097 => Class::definite(TooLarge, No),
            10060 | 10070 | 10071 | 10164 => Class::definite(WrongExpectation, No),
            10008 => Class::definite(Unavailable, Hold(Trouble::NobodyThere)),
            10167 => Class::definite(Overloaded, Hold(Trouble::Overloaded)),
            10210 | 10211 => Class::definite(Overloaded, Backoff),
            10109 | 10111 | 10165 | 10166 | 10168..=10172 | 10174 | 10175 | 10179 | 10188..=10193 | 10203 | 10205..=10207 | 10212 | 10223 | 10227 => {
                Class::definite(Rejected, No)
            }
            10059 => Class::possible(Status::NoStream, No),
            10023 => Class::possible(Unavailable, Hold(Trouble::Overloaded)),
            10004
            | 10006
            | 10007
            | 10009
            | 10010
            | 10012
            | 10029
            | 10035
            | 10036
            | 10039
            | 10041
            | 10042
            | 10045
            | 10048..=10053
            | 10057
            | 10062
            | 10063
            | 10064
            | 10066
            | 10067
            | 10069
            | 10072
            | 10074..=10077
            | 10096
            | 10104
            | 10110
            | 10117..=10119
            | 10158
            | 10163
            | 10194
            | 10195 => Class::possible(Unavailable, Backoff),
            10003
            | 10005
            | 10011
            | 10013..=10022
            | 10024..=10027
            | 10030..=10034
            | 10037
            | 10038
            | 10040
            | 10043
            | 10044
            | 10046
            | 10055
            | 10056
            | 10058
            | 10061
            | 10065
            | 10068
            | 10073
            | 10078..=10095
            | 10098..=10103
            | 10105..=10108
            | 10112..=10116
            | 10121..=10157
            | 10159..=10162
            | 10173
            | 10176..=10178
            | 10180..=10187
            | 10196..=10202
            | 10204
            | 10208
            | 10209
            | 10213..=10222
            | 10224..=10226 => Class::possible(Rejected, No),
            other => panic!("{other} has no class yet"),
        }
    }

    #[test]
    fn every_code_of_the_server_has_its_class() {
        for err_code in FIRST..=LAST {
            assert_eq!(classify(err_code, code_of(err_code), ""), expected(err_code), "{err_code}");
        }
    }

    #[test]
    fn every_proof_is_a_code_of_the_server_and_has_a_reason() {
        assert!(DEFINITE.is_sorted_by(|a, b| a.err_code < b.err_code), "the search needs them by number");
        for proof in DEFINITE {
            assert!((FIRST..=LAST).contains(&proof.err_code), "{}", proof.err_code);
            assert!(proof.class.definite && proof.why.len() > 20, "{}", proof.err_code);
        }
        let named: BTreeSet<u32> = CODES.iter().flat_map(|(_, list)| *list).copied().collect();
        assert_eq!(named.len(), CODES.iter().map(|(_, list)| list.len()).sum::<usize>(), "a code is listed twice");
    }

    #[test]
    fn the_codes_that_all_wires_say_mean_the_same_here() {
        for code in [WRONG_STREAM, WRONG_LAST_ID, WRONG_LAST_SEQ] {
            assert_eq!(classify(code, 400, ""), Class::definite(WrongExpectation, No));
        }
        assert_eq!(classify(NO_STREAM, 404, "").status, Status::NoStream);
    }

    #[test]
    fn the_code_beside_it_does_not_matter_for_a_known_one() {
        for proof in DEFINITE.iter().filter(|proof| proof.err_code != STORE_FAILED) {
            for code in [0, 400, 409, 429, 500, 503, u32::MAX] {
                assert_eq!(classify(proof.err_code, code, "any text"), proof.class);
            }
        }
    }

    #[test]
    fn a_failed_store_is_proof_with_a_limit_text_alone() {
        for text in ["maximum messages exceeded", "maximum bytes exceeded", "maximum messages per subject exceeded"] {
            assert_eq!(classify(STORE_FAILED, 503, text), Class::definite(StreamFull, IfStreamFull));
        }
        assert_eq!(classify(STORE_FAILED, 503, "message too large"), Class::definite(TooLarge, No));
        for text in ["", "store is closed", "no space left on device", "maximum messages exceeded on a replica", "Maximum messages exceeded"] {
            assert_eq!(classify(STORE_FAILED, 503, text), Class::possible(Unavailable, Backoff), "{text}");
        }
    }

    #[test]
    fn what_nobody_knows_is_possibly_stored() {
        for err_code in [0, 1, 9_999, 10_001, LAST + 1, 65_535, u32::MAX] {
            for (code, retry) in
                [(0, No), (200, No), (400, No), (404, No), (409, No), (499, No), (429, Backoff), (500, Backoff), (503, Backoff), (599, Backoff), (600, No)]
            {
                let class = classify(err_code, code, "");
                assert!(!class.definite && class.retry == retry, "{err_code}/{code}: {class:?}");
            }
        }
    }

    #[test]
    fn a_refusal_carries_the_servers_words() {
        let refusal = super::refusal(10077, 503, "maximum bytes exceeded", Some("ORDERS"));
        assert_eq!(refusal.stream.as_deref(), Some("ORDERS"));
        assert_eq!((refusal.status, refusal.definite, refusal.retry, refusal.server_code), (StreamFull, true, IfStreamFull, 10077));
        assert_eq!(refusal.text, "maximum bytes exceeded");
        let refusal = super::refusal(0, 503, "", None);
        assert_eq!((refusal.definite, refusal.retry, refusal.server_code), (false, Backoff, 503));
        assert!(refusal.text.contains("code 503, error 0"), "{}", refusal.text);
    }

    #[test]
    fn a_refusal_that_names_no_stream_proves_nothing() {
        for err_code in FIRST..=LAST {
            let description = if err_code == STORE_FAILED { "maximum bytes exceeded" } else { "any text" };
            let of = |stream| super::refusal(err_code, code_of(err_code), description, stream);
            let (named, unnamed) = (of(Some("S")), of(None));
            assert_eq!(named.definite, classify(err_code, code_of(err_code), description).definite, "{err_code}");
            // Said without a leader to ask, so by no stream.
            assert_eq!(unnamed.definite, err_code == 10008, "{err_code}");
            assert_eq!((unnamed.status, unnamed.retry, &unnamed.text), (named.status, named.retry, &named.text), "{err_code}");
        }
    }

    #[test]
    fn a_servers_text_cannot_break_a_line_or_fill_a_log() {
        assert_eq!(printable("a\r\nERROR forged\u{1b}[31m é"), "a  ERROR forged [31m é");
        assert_eq!(printable(&"é".repeat(1_000)).chars().count(), 401);
        assert_eq!(printable(&"é".repeat(400)).chars().count(), 400);
    }
}
