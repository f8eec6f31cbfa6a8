//! A publisher at a leaf node: its own JetStream, that of the hub, and which of them said what.

use std::time::Duration;

use ackbus::Persistence;
use ackbus_test_support::async_nats::jetstream::stream::DiscardPolicy;
use ackbus_test_support::{Reader, Server, StreamConfig};

use crate::common::{Bus, Options, Rules};

const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");
const HUB: (&str, &str) = ("jetstream_domain", "hub");

fn hub() -> Server {
    Server::options().name("hub").domain("hub").hub().start()
}

/// A leaf node with a JetStream of its own.
fn leaf(hub: &Server) -> Server {
    Server::options().name("leaf").domain("leaf").leaf_of(hub).start()
}

/// A stream that is full from the first message on, after `room`.
fn small(name: &str, room: i64) -> StreamConfig {
    StreamConfig { name: name.into(), subjects: vec!["f.>".into()], max_messages: room, discard: DiscardPolicy::New, ..Default::default() }
}

/// Hub and leaf take the same topic, and the leaf's stream is full. Its refusal is the first answer, and says nothing of the hub's stream.
#[test]
fn a_full_stream_at_the_leaf_says_nothing_of_the_hubs() {
    let hub = hub();
    let leaf = leaf(&hub);
    let (theirs, ours) = (Reader::connect(&hub.url()), Reader::connect(&leaf.url()));
    theirs.create_stream("HUB", &["f.>"]);
    ours.create_stream_with(small("LEAF", 1));
    leaf.wait_wanted("f.>");
    // With the domain, and without: then the leaf's own JetStream is asked about HUB, and does not know it.
    for (number, options) in [&[NEVER, HUB][..], &[NEVER]].into_iter().enumerate() {
        let bus = Bus::connect(&leaf.url(), options, &[("f.>", "stream", "HUB")]);
        bus.series(&format!("f.{number}"), 200);
        let books = bus.finish();
        for seen in books.reports.values() {
            assert!(seen.is_persisted() && seen.stream == "HUB", "with {options:?}: {seen:?}");
        }
        let of_hub: Vec<_> = theirs.read_all("HUB").into_iter().filter(|message| message.subject == format!("f.{number}")).collect();
        assert_eq!(of_hub.len(), 200);
        for seen in books.reports.values() {
            assert!(of_hub.iter().any(|message| (message.seq, &message.payload) == (seen.seq, &seen.payload)), "{seen:?}");
        }
    }
}

/// Both streams have the same name, and refusals carry no domain.
#[test]
fn equal_names_at_hub_and_leaf_are_told_apart_or_not_believed() {
    let hub = hub();
    let leaf = leaf(&hub);
    let (theirs, ours) = (Reader::connect(&hub.url()), Reader::connect(&leaf.url()));
    theirs.create_stream("ORD", &["f.>"]);
    // The sequences differ, so that the wrong one is seen.
    for n in 0..7 {
        theirs.publish("f.before", format!("before {n}").as_bytes());
    }
    leaf.wait_wanted("f.>");
    ours.create_stream_with(small("ORD", 50));
    for rules in [&[("f.>", "stream", "ORD")][..], &[]] {
        let bus = Bus::connect(&leaf.url(), &[NEVER, HUB, ("ack_wait_ms", "1000")], rules);
        let topic = format!("f.{}", rules.len());
        bus.series(&topic, 100);
        let books = bus.finish();
        let stored: Vec<_> = theirs.read_all("ORD").into_iter().filter(|message| message.subject == topic).collect();
        assert_eq!(stored.len(), 100, "the hub's stream is not full");
        for seen in books.reports.values() {
            match seen.persistence {
                Persistence::Persisted => {
                    let there = stored.iter().any(|message| (message.seq, &message.payload) == (seen.seq, &seen.payload));
                    assert!(there, "the domain is the hub's, and there it is not: {seen:?}");
                }
                Persistence::NotPersisted => panic!("the hub has it: {seen:?}"),
                _ => {}
            }
        }
    }
}

/// The link to the hub is down for seconds. Its stream had acknowledged: all that is published meanwhile waits.
#[test]
fn messages_wait_for_a_hub_that_is_away() {
    const RULE: Rules<'_> = &[("ho.>", "stream", "HO")];
    let hub = hub();
    let reader = Reader::connect(&hub.url());
    reader.create_stream("HO", &["ho.>"]);
    let rich = leaf(&hub);
    let plain = Server::options().name("plain").without_jetstream().leaf_of(&hub).start();
    for leaf in [&rich, &plain] {
        leaf.wait_wanted("ho.>");
    }
    let ways: Vec<(&Server, Options<'_>, Rules<'_>)> = vec![
        (&rich, &[NEVER], &[]),
        (&rich, &[NEVER], RULE),
        (&rich, &[NEVER, HUB], &[]),
        (&rich, &[NEVER, HUB], RULE),
        (&rich, &[NEVER, ("on_no_stream", "wait")], &[]),
        (&plain, &[NEVER], &[]),
        (&plain, &[NEVER], RULE),
        (&plain, &[NEVER, HUB], RULE),
    ];
    let buses: Vec<Bus> =
        ways.iter().map(|(leaf, options, rules)| Bus::connect(&leaf.url(), &[options, &[("ack_wait_ms", "1000")][..]].concat(), rules)).collect();
    for (number, bus) in buses.iter().enumerate() {
        let first = bus.series(&format!("ho.{number}"), 1);
        let seen = bus.report(first[0]);
        let (leaf, options, rules) = &ways[number];
        assert!(seen.is_persisted(), "{} {options:?} {rules:?}: {seen:?}", leaf.name());
    }
    hub.terminate();
    for leaf in [&rich, &plain] {
        leaf.wait_alone();
    }
    let go_on = |rounds: u32| {
        for _ in 0..rounds {
            for (number, bus) in buses.iter().enumerate() {
                bus.series(&format!("ho.{number}"), 1);
            }
            std::thread::sleep(Duration::from_millis(100)); // Three seconds are the fault.
        }
    };
    go_on(30);
    hub.restart();
    go_on(5);
    let mut lost = Vec::new();
    let mut sent = 0;
    for (bus, (leaf, options, rules)) in buses.into_iter().zip(&ways) {
        let books = bus.finish();
        sent += books.reports.len();
        if let Some(seen) = books.reports.values().find(|seen| !seen.is_persisted()) {
            lost.push(format!("{} {options:?} {rules:?}: {seen:?}", leaf.name()));
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
    assert_eq!(reader.message_count("HO"), sent as u64, "one copy of each");
}
