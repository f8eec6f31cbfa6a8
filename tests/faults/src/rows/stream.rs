//! A stream that refuses, is deleted, or already knows the id.

use std::thread::sleep;
use std::time::Duration;

use ackbus_test_support::{Reader, Server};

use super::{Row, row};
use crate::books::now;
use crate::case::{Case, server, stream};
use crate::checker::{Evidence, Figures};
use crate::load::STREAM;

pub(super) const ROWS: &[Row] = &[
    row("T18", "Msg-Id collision", "every two messages share an id: the second is stored by nobody, and the flag `duplicate` must say so", collisions),
    row("T19", "stream deleted", "and created again 3 s later", deleted),
    row(
        "T20",
        "stream deleted, subscriber there",
        "the same while a core subscriber takes the subject: the server answers nothing at all",
        deleted_with_a_subscriber,
    ),
    row("T44", "JetStream off 5 s", "the account's JetStream is disabled by a reload, and enabled again; 3 times", disabled).short(),
];

fn collisions(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let mut load = case.load();
    load.pairs = true;
    let run = case.start(&server.url(), load);
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    let half = figures.accepted / 2;
    let flagged = figures.flagged;
    figures.must(flagged == half, &format!("{flagged} of {half} are flagged as duplicates"));
    figures
}

fn deleted(case: &mut Case) -> Figures {
    lose_the_stream(case, false)
}

fn deleted_with_a_subscriber(case: &mut Case) -> Figures {
    lose_the_stream(case, true)
}

fn lose_the_stream(case: &mut Case, with_a_subscriber: bool) -> Figures {
    let (server, reader) = server();
    let mut run = case.start(&server.url(), case.load().endless());
    let subscription = with_a_subscriber.then(|| reader.subscribe(crate::load::SUBJECTS));
    run.acked(case.between(4_000, 12_000));
    run.breaks();
    let before = reader.read_all(STREAM);
    reader.delete_stream(STREAM);
    sleep(Duration::from_secs(3));
    reader.create_stream_with(stream());
    let until = now();
    run.heals();
    run.recovers();
    let figures = case.finish_with(run, || Evidence { stored: reader.read_all(STREAM), before: Some((before, until)), ..Evidence::default() });
    drop(subscription);
    figures
}

fn disabled(case: &mut Case) -> Figures {
    let options = |jetstream: &str| Server::options().account("APP", jetstream).account("OTHER", "jetstream: enabled");
    let server = options("jetstream: enabled").start();
    let reader = Reader::connect(&server.url_of("app"));
    reader.create_stream_with(stream());
    let mut run = case.start(&server.url_of("app"), case.load().endless());
    for _ in 0..case.rounds(3) {
        run.acked_more(case.between(1_000, 4_000));
        run.breaks();
        server.reload(options(""));
        sleep(Duration::from_secs(5)); // This long is the fault.
        server.reload(options("jetstream: enabled"));
        run.heals();
    }
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}
