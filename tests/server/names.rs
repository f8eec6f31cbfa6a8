//! Names of streams and domains, as servers allow and print them.

use ackbus::{EventKind, Persistence, Status};
use ackbus_test_support::{Reader, Server};
use serde_json::json;

use crate::common::Bus;

/// With what a server escapes when it prints them: a quote, blanks of Unicode, joiners, emoji of today and of its library's future, private use, tags.
const NAMES: &[&str] = &["A\"B", "A\u{a0}B", "日本語-ü", "🚀", "👩\u{200d}🚀", "\u{1fae9}", "\u{e000}", "x\u{e0001}\"\u{feff}", "'`{}[],:;#$%&()=+~@!?|^<"];

/// Ample: what is settled by patience alone fails the test.
const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");

fn longest() -> String {
    "ü".repeat(127) + "x"
}

/// The acks of a stream whose name its server prints with escapes count like any others, with a rule and without, and so do its refusals.
#[test]
fn streams_of_any_name_acknowledge_and_refuse() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let longest = longest();
    let names: Vec<&str> = NAMES.iter().copied().chain([&*longest]).collect();
    for (n, name) in names.iter().enumerate() {
        let config = json!({ "name": name, "subjects": [format!("known.{n}"), format!("other.{n}")], "max_msgs_per_subject": 5, "discard": "new", "discard_new_per_subject": true });
        reader.api(&format!("STREAM.CREATE.{name}"), &config).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let patterns: Vec<String> = (0..names.len()).map(|n| format!("known.{n}")).collect();
    let rules: Vec<(&str, &str, &str)> = patterns.iter().zip(&names).map(|(pattern, name)| (pattern.as_str(), "stream", *name)).collect();
    let bus = Bus::connect(&server.url(), &[NEVER], &rules);
    let mut sent = Vec::new();
    for (n, name) in names.iter().enumerate() {
        for topic in [format!("known.{n}"), format!("other.{n}")] {
            sent.push((*name, bus.series(&topic, 5), bus.series(&topic, 1)));
        }
    }
    let books = bus.finish();
    for (name, stored, refused) in sent {
        books.persisted(&stored);
        assert!(books.of(&stored).all(|seen| seen.stream == name && seen.attempts == 1), "{:?}", books.reports[&stored[0]]);
        for seen in books.of(&refused) {
            assert_eq!((seen.status, seen.server_code), (Status::StreamFull, 10077), "{seen:?}");
            // Without a stream in the rule a refusal is no proof once several streams acknowledged.
            assert!(seen.persistence == Persistence::NotPersisted || !seen.topic.starts_with("known."), "{seen:?}");
        }
    }
    assert_eq!((books.stats.alien_replies, books.stats.ack_timeouts, books.stats.resent), (0, 0, 0), "{:?}", books.stats);
    // What is described is described by its name.
    assert!(!books.has_event(EventKind::WindowUnknown) && !books.has_event(EventKind::StreamDiffers), "{:?}", books.events);
    books.compare(&reader, &names);
}

/// They are created by that name, too.
#[test]
fn streams_of_any_name_are_created() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let patterns: Vec<String> = (0..NAMES.len()).map(|n| format!("made.{n}")).collect();
    let keys = |(pattern, name)| [(pattern, "stream", name), (pattern, "create", "if_missing")];
    let rules: Vec<(&str, &str, &str)> = patterns.iter().map(String::as_str).zip(NAMES.iter().copied()).flat_map(keys).collect();
    let bus = Bus::connect(&server.url(), &[NEVER], &rules);
    let sent: Vec<Vec<u64>> = patterns.iter().map(|topic| bus.series(topic, 5)).collect();
    let books = bus.finish();
    for (name, ids) in NAMES.iter().zip(&sent) {
        books.persisted(ids);
        assert!(books.of(ids).all(|seen| seen.stream == *name), "{:?}", books.reports[&ids[0]]);
    }
    books.compare(&reader, NAMES);
}

/// Acks name their domain, whatever its name; a stream without a rule is described all the same, and so is one behind the domain's API.
#[test]
fn acks_name_their_domain() {
    for domain in ["hub", "h\u{a0}\"ü🚀\""] {
        let server = Server::options().jetstream(format!("domain: {}", json!(domain))).start();
        let reader = Reader::connect(&server.url());
        reader.create_stream("ORDERS", &["orders.>", "other.>"]);
        for options in [&[NEVER][..], &[NEVER, ("jetstream_domain", domain)]] {
            let bus = Bus::connect(&server.url(), options, &[("orders.>", "stream", "ORDERS")]);
            let connected = bus.event(EventKind::Connected);
            assert!(connected.text.contains(&format!("domain {domain}")), "{connected:?}");
            let ids = [bus.series("orders.created", 50), bus.series("other.created", 50)].concat();
            let books = bus.finish();
            books.persisted(&ids);
            assert!(books.of(&ids).all(|seen| (&*seen.stream, &*seen.domain) == ("ORDERS", domain)), "{:?}", books.reports[&ids[0]]);
            assert_eq!((books.stats.alien_replies, books.stats.resent), (0, 0), "{:?}", books.stats);
        }
    }
}
