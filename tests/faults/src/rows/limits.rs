//! A stream, an account or a server that has room for no more.

use ackbus_test_support::{Reader, Server, StreamConfig};

use super::{Row, row};
use crate::case::{Case, server_with, stream};
use crate::checker::Figures;

pub(super) const ROWS: &[Row] = &[
    row("T21", "stream full", "`discard: new`, room for half of the messages", stream_full).short(),
    row("T22", "account quota", "the account has 2 MB of storage", quota),
    row("T26", "max_payload lowered", "every 20th message has 8,000 bytes; in the middle the server allows 4,096", smaller_payloads),
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
