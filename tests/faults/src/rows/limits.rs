//! A stream, an account or a server that has room for no more.

use ackbus_test_support::{Reader, Server, StreamConfig};

use super::{Row, row};
use crate::case::{Case, server_with, stream};
use crate::checker::Figures;

pub(super) const ROWS: &[Row] = &[
    row("T21", "stream full", "`discard: new`, room for half of the messages", stream_full).short(),
    row("T22", "account quota", "the account has 2 MB of storage", quota),
    row("T26", "max_payload lowered", "every 20th message has 8,000 bytes; in the middle the server allows 4,096", smaller_payloads),
    row("T45", "out of resources (10023)", "the server has no memory left for streams for 5 s; 2 times", out_of_memory),
];

fn stream_full(case: &mut Case) -> Figures {
    let load = case.load();
    let room = load.count / 2;
    let full = StreamConfig { max_messages: i64::try_from(room).unwrap_or(0), discard: async_nats::jetstream::stream::DiscardPolicy::New, ..stream() };
    let (server, reader) = server_with(Server::options(), full);
    let run = case.start(&server.url(), load);
    let mut figures = case.finish(run, &reader);
    let exact = figures.acked == room && figures.true_fail == room;
    figures.must(exact, "half is stored and half is refused");
    figures
}

fn quota(case: &mut Case) -> Figures {
    let account = r#"accounts { APP { jetstream: { max_file: 2MB, max_mem: 1MB }, users: [ { user: app, password: pw } ] } }"#;
    let server = Server::options().config(account).start();
    let url = server.url().replace("nats://", "nats://app:pw@");
    let reader = Reader::connect(&url);
    reader.create_stream_with(stream());
    let run = case.start(&url, case.load());
    let mut figures = case.finish(run, &reader);
    let told = figures.acked > 0 && figures.acked + figures.true_fail == figures.accepted;
    figures.must(told, "what the quota refuses is told as not stored");
    figures
}

fn smaller_payloads(case: &mut Case) -> Figures {
    let (server, reader) = server_with(Server::options(), stream());
    let mut load = case.load();
    load.sizes = vec![256; 20];
    load.sizes[19] = 8_000;
    let large = load.count / 20;
    let middle = case.middle(load.count);
    let mut run = case.start(&server.url(), load);
    run.acked(middle);
    run.breaks();
    server.reload(Server::options().config("max_payload: 4096"));
    run.heals();
    let mut figures = case.finish(run, &reader);
    let small_ones_kept = figures.rejected + figures.true_fail + figures.in_doubt <= large;
    // A large one that was under way when the limit fell may be stored.
    figures.must(small_ones_kept, "only large ones fail");
    figures
}

fn out_of_memory(case: &mut Case) -> Figures {
    let memory = |name: &str, subject: &str| StreamConfig {
        name: name.into(),
        subjects: vec![subject.into()],
        storage: async_nats::jetstream::stream::StorageType::Memory,
        ..Default::default()
    };
    let (server, reader) = server_with(Server::options().jetstream("max_memory_store: 64MB"), memory(crate::load::STREAM, crate::load::SUBJECTS));
    reader.create_stream_with(memory("FILL", "fill"));
    let mut run = case.start(&server.url(), case.load().endless());
    for _ in 0..case.rounds(2) {
        run.acked_more(case.between(1_000, 4_000));
        run.breaks();
        while !String::from_utf8_lossy(&reader.request("fill", &vec![b'x'; 1_000_000])).contains("10023") {}
        std::thread::sleep(std::time::Duration::from_secs(5)); // This long is the fault.
        reader.api("STREAM.PURGE.FILL", &serde_json::Value::Null).unwrap();
        run.heals();
    }
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    let frames = server.monitor("/varz").unwrap_or_default()["in_msgs"].as_u64().unwrap_or(0);
    let each = frames as f64 / figures.accepted.max(1) as f64;
    figures.note(format!("{each:.2} messages into the server for each, of all kinds"));
    // What is in flight when the fault begins goes twice; all others wait.
    figures.must(each < 2.0, &format!("{each:.2} frames for each message"));
    figures
}
