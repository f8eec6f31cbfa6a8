#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn refused(message: &Message<'_>, status: Status) -> String {
    let error = message.check().expect_err(&format!("{message:?}"));
    assert_eq!(error.status(), status, "{message:?}");
    error.message().to_owned()
}

#[test]
fn topics_are_tokens_with_dots_between_them() {
    for topic in ["a", "orders.created", "a.b.c", "é.ü", "a*b.c>d", ">>", "**.x", "_INBOX.x", "a-b_c/d", "a$", &"x".repeat(MAX_TOPIC)] {
        check_topic(topic).unwrap();
    }
    for (topic, part) in [
        ("", "is empty"),
        (".", "empty token"),
        (".a", "empty token"),
        ("a.", "empty token"),
        ("a..b", "empty token"),
        ("*", "wildcard"),
        (">", "wildcard"),
        ("a.*", "wildcard"),
        ("*.a", "wildcard"),
        ("a.>", "wildcard"),
        (">.a", "wildcard"),
        ("a b", "blank or control"),
        ("a\tb", "blank or control"),
        ("a\r\nPUB x 0", "blank or control"),
        ("a\0", "blank or control"),
        ("a\u{7f}", "blank or control"),
        ("$JS.API.STREAM.DELETE.X", "reserved for the server"),
        ("$", "reserved for the server"),
        (&"x".repeat(MAX_TOPIC + 1), "is too long"),
    ] {
        let text = refused(&Message::new(topic, b""), Status::InvalidTopic);
        assert!(text.contains(part) && text.contains("allowed: "), "{text}");
        assert!(text.len() < 500 && !text.contains('\n'), "{text}");
    }
}

/// The one pass over the bytes agrees with splitting into tokens.
#[test]
fn subjects_are_judged_as_if_they_were_split() {
    let pieces = ["a", "b", ".", ".", "*", ">", " ", "\n", "é", "\u{7f}", "$"];
    let mut state = 11_u64;
    for _ in 0..200_000 {
        let mut subject = String::new();
        for _ in 0..6 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            subject.push_str(pieces.get((state >> 33) as usize % (pieces.len() + 3)).unwrap_or(&""));
        }
        let tokens: Vec<&str> = subject.split('.').collect();
        let plain = tokens.iter().all(|token| !token.is_empty() && !token.contains([' ', '\n', '\u{7f}']));
        let literal = plain && !tokens.iter().any(|token| matches!(*token, "*" | ">"));
        let pattern = plain && !tokens[..tokens.len() - 1].contains(&">");
        assert_eq!(subject_fault(&subject, false).is_none(), literal, "{subject:?}");
        assert_eq!(subject_fault(&subject, true).is_none(), pattern, "{subject:?} as a pattern");
    }
}

#[test]
fn headers_cannot_break_the_protocol() {
    let check = |name: &str, value: &str| check_headers(&[("Good", "value"), (name, value)]);
    for (name, value) in [("a", ""), ("Trace-Id", "0af7 651"), ("X!#$%&'*+-.^_`|~", "é: ü"), ("Nats-Rollup", "sub"), ("Nats-Msg-Identity", "x"), ("nats", "x")]
    {
        check(name, value).unwrap_or_else(|error| panic!("{error}"));
    }
    for name in ["", " ", "a b", "a:", ":", "a\r\nb", "é", "a\0", "\u{7f}"] {
        let error = check(name, "x").unwrap_err();
        assert_eq!(error.status(), Status::InvalidHeader, "{name:?}");
        assert!(error.message().contains(&quoted(name)), "{error}");
    }
    for value in ["a\r\nNats-Msg-Id: b", "\n", "a\0b", "\t", "\u{7f}", " a", "a "] {
        let error = check("Name", value).unwrap_err();
        assert_eq!(error.status(), Status::InvalidHeader, "{value:?}");
        assert!(error.message().contains("\"Name\""), "{error}");
    }
}

#[test]
fn headers_with_a_field_of_their_own_are_refused_in_any_spelling() {
    for (name, field) in [
        ("Nats-Msg-Id", "msg_id"),
        ("nats-msg-id", "msg_id"),
        ("NATS-EXPECTED-STREAM", "expected_stream"),
        ("Nats-Expected-Last-Msg-Id", "expected_last_msg_id"),
        ("Nats-Expected-Last-Sequence", "expected_last_seq"),
        ("Nats-Expected-Last-Subject-Sequence", "expected_last_subject_seq"),
        ("nats-ttl", "ttl"),
        ("Nats-Expected-Last-Subject-Sequence-Subject", "own topic"),
        ("Nats-Expected-Anything", "expected_ fields"),
        ("Nats-Batch-Id", "batches"),
    ] {
        let headers = [(name, "x")];
        let text = refused(&Message { headers: &headers, ..Message::new("a", b"") }, Status::InvalidHeader);
        assert!(text.contains(name) && text.contains(field), "{text}");
    }
}

#[test]
fn the_header_block_is_bounded() {
    let value = "v".repeat(MAX_HEADER_BYTES - 8);
    check_headers(&[("name", &value)]).unwrap();
    let error = check_headers(&[("names", &value)]).unwrap_err();
    assert_eq!((error.status(), error.message()), (Status::InvalidHeader, "the headers take 62001 bytes; allowed: 62000"));
}

#[test]
fn fields_are_checked() {
    let plain = Message::new("a", b"payload");
    let long = "i".repeat(MAX_MSG_ID + 1);
    for id in ["", " a", "a ", "a\r\nb", "a\0", &long] {
        assert!(refused(&Message { msg_id: Some(id), ..plain.clone() }, Status::InvalidArgument).starts_with("msg_id "));
        assert!(refused(&Message { expected_last_msg_id: Some(id), ..plain.clone() }, Status::InvalidArgument).starts_with("expected_last_msg_id "));
    }
    for stream in ["", "a.b", "a b"] {
        assert!(refused(&Message { expected_stream: Some(stream), ..plain.clone() }, Status::InvalidArgument).starts_with("expected_stream "));
    }
    for ttl in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
        assert!(refused(&Message { ttl: Some(ttl), ..plain.clone() }, Status::InvalidArgument).contains("1 second"));
    }
    for timeout in [Duration::ZERO, FOREVER + Duration::from_nanos(1), Duration::MAX] {
        assert!(refused(&Message { delivery_timeout: Some(timeout), ..plain.clone() }, Status::InvalidArgument).contains("30 days"));
    }
    let all = Message {
        headers: &[("Trace-Id", "7")],
        msg_id: Some("order 17/é"),
        expected_stream: Some("ORDERS"),
        expected_last_msg_id: Some(&long[1..]),
        expected_last_seq: Some(0),
        expected_last_subject_seq: Some(u64::MAX),
        ttl: Some(Duration::from_millis(1_500)),
        stall_wait: StallWait::AtMost(Duration::MAX),
        delivery_timeout: Some(FOREVER),
        ..plain
    };
    all.check().unwrap();
}

#[test]
fn quoted_text_is_escaped_and_cut() {
    assert_eq!(quoted("a\n\"é"), "\"a\\n\\\"é\"");
    assert_eq!(quoted(&"é".repeat(80)), format!("\"{}\"", "é".repeat(80)));
    assert_eq!(quoted(&"é".repeat(81)), format!("\"{}\"…", "é".repeat(80)));
}
