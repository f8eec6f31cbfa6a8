//! Streams that are reached through an import, a mapping or a leaf node, and what others say of their messages.

use std::thread::sleep;
use std::time::Duration;

use ackbus_test_support::{Cluster, Options, Reader, Server, StreamConfig};

use super::{Row, row};
use crate::case::{Case, stream};
use crate::checker::Figures;
use crate::load::{Load, STREAM};

pub(super) const ROWS: &[Row] = &[
    row(
        "T39",
        "import: leader kill -9",
        "the stream belongs to another account, whose subjects are imported; its leader is killed and starts again after 5 s; 3 times",
        import,
    ),
    row("T39r", "import, rule: leader kill -9", "the same with a topic rule that names the stream", import_with_a_rule).ours(),
    row("T47", "mapping: leader kill -9", "the account maps the topics to the stream's subjects; the same", mapping),
    row(
        "T41",
        "leaf node: hub away 5 s",
        "the client is at a leaf node with a JetStream of its own, the stream at the hub, which ends and starts again; 3 times",
        hub_away,
    )
    .short(),
    row("T41d", "leaf node, domain: hub away 5 s", "the same with `jetstream_domain` and a topic rule that names the stream", hub_away_by_its_domain).ours(),
    row(
        "T42",
        "refused by another stream",
        "hub and leaf node take the same topics, and the leaf node's stream is full: it refuses what the hub's stores",
        foreign_refusals,
    )
    .short(),
];

const RULE: &str = "topic:f.>:stream=F";

/// OWN has the stream and exports its subjects; it maps `m.*` to them; PUB imports them.
fn accounts() -> Options {
    Server::options()
        .account("OWN", r#"jetstream: enabled, exports: [{ service: "f.>" }], mappings: { "m.*": "f.{{wildcard(1)}}" }"#)
        .account("PUB", r#"imports: [{ service: { account: OWN, subject: "f.>" } }]"#)
}

fn import(case: &mut Case) -> Figures {
    let load = case.load();
    leader_killed(case, "pub", load)
}

fn import_with_a_rule(case: &mut Case) -> Figures {
    let load = case.load().word(RULE);
    leader_killed(case, "pub", load)
}

fn mapping(case: &mut Case) -> Figures {
    let mut load = case.load();
    load.subjects = ["m.a", "m.b", "m.c", "m.d"].map(str::to_owned).to_vec();
    load.mapped = Some(("m.", "f."));
    leader_killed(case, "own", load)
}

fn leader_killed(case: &mut Case, user: &str, load: Load) -> Figures {
    let cluster = Cluster::start_with(3, accounts());
    let reader = Reader::connect(&cluster.url_of("own"));
    reader.create_stream_with(StreamConfig { num_replicas: 3, ..stream() });
    let _ = cluster.leader(&reader, STREAM);
    let mut run = case.start(&cluster.url_of(user), load.endless());
    for _ in 0..case.rounds(3) {
        run.acked_more(case.between(1_000, 4_000));
        let leader = &cluster.servers()[cluster.leader(&reader, STREAM)];
        run.breaks();
        leader.kill();
        run.heals();
        sleep(Duration::from_secs(5));
        leader.restart();
    }
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

/// A hub with the stream, and a leaf node with a JetStream of its own that knows of it.
fn hub_and_leaf() -> (Server, Server, Reader) {
    let hub = Server::options().name("hub").domain("hub").hub().start();
    let reader = Reader::connect(&hub.url());
    reader.create_stream_with(stream());
    let leaf = Server::options().name("leaf").domain("leaf").leaf_of(&hub).start();
    leaf.wait_wanted("f.>");
    (hub, leaf, reader)
}

fn hub_away(case: &mut Case) -> Figures {
    let load = case.load();
    away(case, load)
}

fn hub_away_by_its_domain(case: &mut Case) -> Figures {
    let load = case.load().word("set:jetstream_domain=hub").word(RULE);
    away(case, load)
}

fn away(case: &mut Case, load: Load) -> Figures {
    let (hub, leaf, reader) = hub_and_leaf();
    let mut run = case.start(&leaf.url(), load.endless());
    for _ in 0..case.rounds(3) {
        run.acked_more(case.between(1_000, 4_000));
        run.breaks();
        hub.terminate();
        sleep(Duration::from_secs(5)); // This long is the fault.
        hub.restart();
        run.heals();
    }
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

/// The truth is what the hub's stream holds: that of the leaf node has another name, and is not the rule's.
fn foreign_refusals(case: &mut Case) -> Figures {
    let (hub, leaf, reader) = hub_and_leaf();
    let ours = Reader::connect(&leaf.url());
    let discard = async_nats::jetstream::stream::DiscardPolicy::New;
    ours.create_stream_with(StreamConfig { name: "OTHER".into(), max_messages: 1, discard, ..stream() });
    let _ = ours.request("f.first", b"the only one that fits");
    let run = case.start(&leaf.url(), case.load().word("set:jetstream_domain=hub").word(RULE));
    let figures = {
        // The one that made the other stream full is in both.
        let mut figures = case.finish_with(run, || crate::checker::Evidence {
            stored: reader.read_all(STREAM).into_iter().filter(|message| message.subject != "f.first").collect(),
            ..Default::default()
        });
        figures.all_persisted();
        figures
    };
    drop(hub);
    figures
}
