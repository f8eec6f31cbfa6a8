//! What servers send, one piece at a time: acks, answers, errors, and the bytes of a connection.

use std::io::IoSlice;

use super::input::Input;
use super::presentable::is_presentable;
use crate::base::error::Status;
use crate::base::names::check_stream_name;
use crate::config::topic::Rules;
use crate::wire::nats::ack::Acks;
use crate::wire::nats::auth::ConnectAuth;
use crate::wire::nats::connection::{Connect, Connection, Info, Told};
use crate::wire::nats::outbox::PIECES;
use crate::wire::nats::{api, fences, json};
use crate::wire::{Loss, Question, StreamAnswer, Verdict};

pub(super) const INBOX: &[u8] = b"_INBOX.abc.";

pub(super) fn connect() -> Connect<'static> {
    Connect::new("", ConnectAuth::default(), false)
}

/// Acks: a message counts as stored only if a plain reading of the JSON says so too (P2).
pub fn ack(data: &[u8]) {
    let mut input = Input::new(data);
    let headers = input.flag().then(|| input.bytes());
    let body = input.rest();
    let mut acks = Acks::default();
    let verdict = match headers {
        Some(headers) => acks.parse_with_headers(headers, body),
        None => acks.parse(body),
    };
    match verdict {
        Verdict::Alien => {}
        Verdict::Refused(refusal) => {
            is_presentable(&refusal.text);
            assert_ne!(refusal.status, Status::Ok);
        }
        Verdict::Stored { stream, domain, seq, duplicate } => {
            assert!(check_stream_name("", stream, Status::ProtocolError).is_ok(), "{stream:?} cannot be a stream");
            assert!(seq > 0);
            is_presentable(domain);
            let text = std::str::from_utf8(body).expect("an ack is text");
            let text = json::from_go(text).unwrap_or_else(|| text.to_owned());
            serde_json::from_str::<serde::de::IgnoredAny>(&text).expect("an ack is JSON");
            // It may be deeper, or have other numbers, than this takes.
            let Ok(plain) = serde_json::from_str::<serde_json::Value>(&text) else { return };
            assert!(domain.is_empty() || plain["domain"].as_str() == Some(domain));
            assert_eq!((plain["stream"].as_str(), plain["seq"].as_u64()), (Some(stream), Some(seq)));
            assert_eq!(plain["duplicate"].as_bool().unwrap_or(false), duplicate);
            assert!(plain["error"].is_null(), "an error is no ack");
        }
    }
}

/// Answers to questions about streams.
pub fn answer(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rules = Rules::new();
    for (key, value) in [("stream", "S"), ("create", "if_missing"), ("max_msgs", "5"), ("duplicate_window_ms", "1000")] {
        rules.set("a.>", key, value).expect("a rule");
    }
    let rule = || Box::new(rules.get(1).clone());
    let question = match input.byte() % 5 {
        0 => Question::WhoTakes { topic: "a.b".into() },
        1 => Question::Describe { stream: "S".into(), rule: Some(rule()) },
        2 => Question::Describe { stream: "S".into(), rule: None },
        3 => Question::Create { rule: rule() },
        _ => Question::Condition { stream: "S".into() },
    };
    match api::answer(&question, input.rest()) {
        StreamAnswer::None | StreamAnswer::Denied => {}
        StreamAnswer::Unavailable { text } | StreamAnswer::Disabled { text, .. } | StreamAnswer::Refused { text, .. } | StreamAnswer::Condition { text } => {
            is_presentable(&text);
        }
        StreamAnswer::Exists { name, differences, risks, .. } => {
            assert!(check_stream_name("", &name, Status::ProtocolError).is_ok(), "{name:?} cannot be a stream");
            is_presentable(&differences.join("; "));
            is_presentable(&risks.join("; "));
        }
    }
}

/// A connection whose INFO was read.
fn connection_in(handshake: bool) -> Connection {
    let info = Info { max_payload: 1000, version: "2.12.0".into(), ..Info::default() };
    let mut connection = Connection::new(1, "nats://test:4222".into(), info, &connect(), INBOX, 5_000_000_000, 0).expect("CONNECT");
    if !handshake {
        feed(&mut connection, b"PONG\r\n", &mut std::iter::repeat(64)).1.expect("a handshake");
    }
    connection
}

/// Feeds bytes in pieces of these sizes, and writes down what is told, and how it ended.
fn feed(connection: &mut Connection, bytes: &[u8], sizes: &mut dyn Iterator<Item = usize>) -> (Vec<String>, Result<(), Loss>) {
    let mut told = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = connection.read_space();
        let (part, after) = rest.split_at(sizes.next().unwrap_or(usize::MAX).clamp(1, space.len()).min(rest.len()));
        space[..part.len()].copy_from_slice(part);
        rest = after;
        let result = connection.read(part.len(), 1, |news| told.push(note(&news)));
        if let Err(loss) = result {
            return (told, Err(loss));
        }
    }
    (told, Ok(()))
}

fn note(told: &Told<'_>) -> String {
    match told {
        Told::Ready { version, domain, limits } => {
            is_presentable(version);
            assert!(limits.max_payload > 0);
            format!("ready {version} {domain:?} {}", limits.max_payload)
        }
        Told::Limits(limits) => format!("limits {}", limits.max_payload),
        Told::Servers(servers) => format!("servers {servers:?}"),
        Told::LameDuck => "lame duck".into(),
        Told::Verdict(token, verdict) => format!("{token:?} {verdict:?}"),
        Told::Answer { ask, body } => format!("answer {ask} {body:?}"),
        Told::AlienReply => "alien".into(),
        Told::Fenced { mark } => format!("fenced {mark}"),
        Told::Denied { mark, denials } => {
            // In the order of a hash table.
            let mut names: Vec<String> = denials.names.iter().map(|(name, named)| format!("{name:?} {named:?}")).collect();
            names.sort();
            format!("denied {mark} {} {} {names:?}", denials.total, denials.silent)
        }
        Told::PermissionError { subject, text } => {
            is_presentable(subject);
            is_presentable(text);
            format!("permission {subject:?} {text:?}")
        }
    }
}

/// The splitter of a connection's bytes: however they are cut, the same is told; and a server can end the connection, and nothing else.
pub fn connection(data: &[u8]) {
    let mut input = Input::new(data);
    let handshake = input.flag();
    let sizes: Vec<usize> = (0..4).map(|_| 1 + usize::from(input.byte()) % 64).collect();
    let bytes = input.rest();
    let (mut whole, mut cut) = (connection_in(handshake), connection_in(handshake));
    let (told, end) = feed(&mut whole, bytes, &mut std::iter::repeat(usize::MAX));
    let (told_in_pieces, end_in_pieces) = feed(&mut cut, bytes, &mut sizes.into_iter().cycle());
    assert_eq!(told, told_in_pieces);
    assert_eq!(whole.unsent(), cut.unsent(), "the same is answered");
    match (end, end_in_pieces) {
        (Ok(()), Ok(())) => assert!(!whole.has_ended()),
        (Err(loss), Err(other)) => {
            is_presentable(loss.error.message());
            assert_eq!((loss.error.message(), loss.violation), (other.error.message(), other.violation));
            assert!(whole.has_ended());
        }
        (whole, cut) => panic!("whole: {whole:?}, in pieces: {cut:?}"),
    }
}

/// What a `-ERR` means, and whose permissions it is about.
pub fn refusal(data: &[u8]) {
    let mut input = Input::new(data);
    let handshake = input.flag();
    let line = input.rest();
    let text = String::from_utf8_lossy(line);
    assert_eq!(fences::quoted(&go_quote(&text)).as_deref(), Some(&*text), "quoting as Go does is undone");
    let mut connection = connection_in(handshake);
    let sent: Vec<u8> = b"-ERR ".iter().chain(line.iter().filter(|&&byte| byte != b'\n')).chain(b"\r\nPONG\r\n").copied().collect();
    let (told, end) = feed(&mut connection, &sent, &mut std::iter::repeat(7));
    let loss = match end {
        // Permissions to publish have nothing to do with it.
        Ok(()) if handshake && !text.to_ascii_lowercase().contains("permissions") => panic!("an error ends the handshake: {told:?}"),
        Ok(()) => connection.cut("closed"),
        Err(loss) => loss,
    };
    is_presentable(loss.error.message());
    assert!(loss.error.message().contains("nats://test:4222"), "{}", loss.error);
    assert_ne!(loss.error.status(), Status::Ok);
    assert!(told.len() <= 3, "{told:?}");
    let mut pieces = [IoSlice::new(&[]); PIECES];
    assert!(connection.pieces(&mut pieces) <= PIECES);
}

/// Go's `%q`, as far as it matters.
fn go_quote(text: &str) -> String {
    let mut quoted = String::from("Permissions Violation for Publish to \"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\t' => quoted.push_str("\\t"),
            c if u32::from(c) < 0x20 => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) > 0xffff => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
            c if !c.is_ascii() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
