//! Several answer one message: whose word counts.

use std::time::Duration;

use ackbus::{Persistence, Status};
use ackbus_test_support::{Action, Proxy, Reader, Server, StreamConfig, Verb};

use crate::common::{Bus, Options, Rules};

const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");
const NAMED: Rules<'_> = &[("orders.>", "stream", "ORDERS")];

/// The rule names one stream, and another takes the topic: a typing error, or the name of a mirror.
#[test]
fn a_rule_that_names_another_stream_is_told_with_both_names() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("AA", &["aa.>"]);
    reader.create_stream("BB", &["bb.>"]);
    let mirror = serde_json::json!({ "name": "MIR", "mirror": { "name": "BB" } });
    reader.api("STREAM.CREATE.MIR", &mirror).unwrap();
    for named in ["AA", "MIR"] {
        let bus = Bus::connect(&server.url(), &[("ack_wait_ms", "500"), ("delivery_timeout_ms", "2000")], &[("bb.>", "stream", named)]);
        let ids = bus.series("bb.x", 10);
        for id in ids {
            let seen = bus.report(id);
            assert_eq!(seen.persistence, Persistence::PossiblyPersisted, "{seen:?}");
            assert!(seen.text.contains("BB") && seen.text.contains(named) && !seen.text.contains("slow"), "{seen:?}");
        }
        assert!(bus.publisher().stats().alien_replies >= 10, "{:?}", bus.publisher().stats());
        bus.close(Duration::ZERO);
    }
}

/// A server with a stream, and a proxy that lets the stream's own acks arrive after all other answers.
fn late_acks() -> (Server, Reader, Proxy) {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    proxy.filter(|verb, frame| {
        let of_stream = verb == Verb::Msg && memchr::memmem::find(frame, br#""stream":"ORDERS""#).is_some();
        if of_stream { Action::Delay(Duration::from_millis(50)) } else { Action::Pass }
    });
    (server, reader, proxy)
}

/// What is no answer of JetStream's is no answer: the stream's ack settles the message.
#[test]
fn a_subscriber_that_answers_with_junk_changes_nothing() {
    let (server, reader, proxy) = late_acks();
    let junk: [&[u8]; 9] = [
        b"",
        b"ok",
        b"{}",
        b"[]",
        b"null",
        b"{\"ok\":true}",
        b"{\"stream\":7,\"seq\":1}",
        b"{\"stream\":\"ORDERS\"}",
        b"\xff\xfe{\"stream\":\"ORDERS\",\"seq\":1}",
    ];
    for rules in [NAMED, &[]] {
        let bus = Bus::connect(&proxy.url(), &[NEVER], rules);
        for (number, answer) in junk.iter().enumerate() {
            let topic = format!("orders.{}.{number}", rules.len());
            let _service = reader.answer(&topic, answer);
            for id in bus.series(&topic, 10) {
                let seen = bus.report(id);
                assert!(seen.is_persisted() && seen.stream == "ORDERS", "{:?}: {seen:?}", String::from_utf8_lossy(answer));
            }
        }
        let books = bus.finish();
        for seen in books.reports.values() {
            assert!(seen.attempts == 1, "{seen:?}");
        }
    }
    drop(server);
}

/// A subscriber that speaks like a stream that refuses, with a name and without.
#[test]
fn a_subscriber_that_answers_with_an_error_proves_nothing() {
    let (server, reader, proxy) = late_acks();
    let errors = [
        r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#,
        r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"FAKE","seq":0}"#,
        r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#,
        r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"},"stream":"FAKE","seq":0}"#,
        r#"{"stream":"FAKE","seq":0,"error":{"code":400,"err_code":10060,"description":"expected stream does not match"}}"#,
        r#"{"error":{"code":500,"description":"out of order"}}"#,
        r#"{"error":"no"}"#,
        r#"{"error":{"code":400,"err_code":99999,"description":"new"},"stream":"FAKE"}"#,
    ];
    for rules in [NAMED, &[]] {
        let bus = Bus::connect(&proxy.url(), &[NEVER, ("ack_wait_ms", "500")], rules);
        // The bus knows whose acks this rule gets.
        let first = bus.series("orders.first", 1);
        assert!(bus.report(first[0]).is_persisted());
        for (number, error) in errors.iter().enumerate() {
            let topic = format!("orders.{}.{number}", rules.len());
            let _service = reader.answer(&topic, error.as_bytes());
            for id in bus.series(&topic, 10) {
                let seen = bus.report(id);
                assert_ne!(seen.persistence, Persistence::NotPersisted, "{error} is no word of the stream's, which has it: {seen:?}");
                if error.contains("FAKE") && !rules.is_empty() {
                    assert!(seen.is_persisted(), "the rule names ORDERS: {error}: {seen:?}");
                }
            }
        }
        bus.finish();
    }
    drop(server);
}

/// With a rule an ack of another stream is none.
#[test]
fn a_subscriber_that_acknowledges_in_anothers_name_is_not_believed() {
    let (server, reader, proxy) = late_acks();
    let _service = reader.answer("orders.x", br#"{"stream":"FAKE","seq":4711}"#);
    let bus = Bus::connect(&proxy.url(), &[NEVER], NAMED);
    bus.series("orders.x", 100);
    let books = bus.finish();
    books.all_persisted();
    books.compare(&reader, &["ORDERS"]);
    assert_eq!(books.stats.alien_replies, 100, "{:?}", books.stats);
    drop(server);
}

/// Whatever a server lets a stream be called.
#[test]
fn streams_with_unusual_names_are_understood() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    for (number, name) in [r#"OR"DERS"#, "BÜCHER", "📦", "A\u{a0}B", "tab\u{2028}", "<&>", "O'R"].iter().enumerate() {
        let subject = format!("odd.{number}.>");
        let config = StreamConfig { name: (*name).into(), subjects: vec![subject.clone()], ..Default::default() };
        // Servers differ in what they allow.
        if reader.api(&format!("STREAM.CREATE.{name}"), &serde_json::to_value(&config).unwrap()).is_err() {
            continue;
        }
        let bus = Bus::connect(&server.url(), &[NEVER], &[]);
        let ids = bus.series(&format!("odd.{number}.x"), 3);
        for id in ids {
            let seen = bus.report(id);
            assert!(seen.is_persisted() && seen.stream == *name, "{name:?}: {seen:?}");
        }
        bus.finish();
    }
}

/// The stream's own word, beside one that is none: it is believed as if the other one did not exist.
#[test]
fn a_full_stream_beside_a_subscriber_is_still_told_as_full() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let discard = ackbus_test_support::async_nats::jetstream::stream::DiscardPolicy::New;
    reader.create_stream_with(StreamConfig { name: "ORDERS".into(), subjects: vec!["orders.>".into()], max_messages: 10, discard, ..Default::default() });
    let _service = reader.answer("orders.x", b"thank you");
    let options: Options<'_> = &[NEVER];
    for rules in [NAMED, &[]] {
        let bus = Bus::connect(&server.url(), options, rules);
        let ids = bus.series("orders.x", 20);
        let books = bus.finish();
        if !rules.is_empty() {
            books.persisted(&ids[..10]);
        }
        books.ended(&ids[10..], (Status::StreamFull, Persistence::NotPersisted, 10077));
    }
    assert_eq!(reader.message_count("ORDERS"), 10);
}
