//! One stream, and all the ways to reach it: its own subject, a mapped one, an import, a leaf node.

use std::time::{Duration, Instant};

use ackbus_test_support::{Cluster, Options, Reader, Server, StreamConfig};

use crate::common::{Bus, Rules, Seen};

/// An election takes seconds; nothing else may end a message.
const OPTIONS: &[(&str, &str)] = &[("ack_wait_ms", "1000"), ("delivery_timeout_ms", "3600000"), ("discover_servers", "false")];
const NAMED: Rules<'_> = &[("ord.>", "stream", "ORD"), ("in.>", "stream", "ORD")];

fn accounts() -> Options {
    Server::options()
        .domain("hub")
        .hub()
        .account("OWN", r#"jetstream: enabled, exports: [{ service: "ord.>" }], mappings: { "in.*": "ord.mapped.{{wildcard(1)}}" }"#)
        .account("PUB", r#"imports: [{ service: { account: OWN, subject: "ord.>" } }]"#)
        .account("PJS", r#"jetstream: enabled, imports: [{ service: { account: OWN, subject: "ord.>" } }]"#)
}

/// The bus of each way has seen one message acknowledged. Then the stream loses its leader: every message waits for the next one.
#[test]
fn an_election_is_waited_for_by_whatever_way_the_stream_is_reached() {
    let cluster = Cluster::start_with(3, accounts());
    let owner = Reader::connect(&cluster.url_of("own"));
    owner.create_stream_with(StreamConfig { name: "ORD".into(), subjects: vec!["ord.>".into()], num_replicas: 3, ..Default::default() });
    let leader = cluster.leader(&owner, "ORD");
    let home = &cluster.servers()[(leader + 1) % 3];
    let plain = Server::options().name("plain").without_jetstream().leaf_of_user(home, "own").start();
    let rich = Server::options().name("rich").domain("rich").leaf_of_user(home, "own").start();
    for leaf in [&plain, &rich] {
        leaf.wait_wanted("ord.>");
    }
    let mut ways: Vec<(String, String, Bus)> = Vec::new();
    for (named, rules) in [("", &[][..]), (" with a rule", NAMED)] {
        for (way, url, topic) in [
            ("its own subject", home.url_of("own"), "ord"),
            ("a mapped topic", home.url_of("own"), "in"),
            ("an import", home.url_of("pub"), "ord"),
            ("an import beside JetStream", home.url_of("pjs"), "ord"),
            ("a leaf node", plain.url(), "ord"),
            ("a leaf node with JetStream", rich.url(), "ord"),
        ] {
            let topic = format!("{topic}.{}", ways.len());
            ways.push((format!("{way}{named}"), topic, Bus::connect(&url, OPTIONS, rules)));
        }
    }
    for (domain, rules) in [("hub", &[][..]), ("hub", NAMED)] {
        let topic = format!("ord.{}", ways.len());
        let options = [OPTIONS, &[("jetstream_domain", domain)]].concat();
        ways.push((format!("a leaf node with JetStream, by the domain, {rules:?}"), topic, Bus::connect(&rich.url(), &options, rules)));
    }
    let mut lost = Vec::new();
    for (way, topic, bus) in &ways {
        let first = bus.series(topic, 1);
        let seen = bus.report_within(first[0], Duration::from_secs(20));
        if !seen.as_ref().is_some_and(Seen::is_persisted) {
            lost.push(format!("{way}, before anything happened: {seen:?}"));
        }
    }
    cluster.servers()[leader].kill();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        for (_, topic, bus) in &ways {
            bus.series(topic, 1);
        }
        std::thread::sleep(Duration::from_millis(100)); // Whenever the election is, messages are published during it.
    }
    let _ = cluster.leader(&owner, "ORD");
    let mut sent = 0;
    for (way, topic, bus) in ways {
        bus.series(&topic, 1);
        // What hangs is told with its way, and ends here.
        let hangs = bus.publisher().flush(Some(Duration::from_secs(30))).is_err();
        let books = bus.close(Duration::ZERO);
        if hangs {
            lost.push(format!("{way}: it hangs"));
        }
        sent += books.reports.len();
        let failed: Vec<_> = books.reports.values().filter(|seen| !seen.is_persisted()).collect();
        if let Some(first) = failed.first() {
            lost.push(format!("{way}: {} of {}, such as {first:?}", failed.len(), books.reports.len()));
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
    assert_eq!(owner.message_count("ORD"), sent as u64, "one copy of each");
}
