//! A user who may not, or may no longer.

use std::thread::sleep;
use std::time::Duration;

use ackbus_test_support::{Options, Reader, Server};

use super::{Row, row};
use crate::case::{Case, stream};
use crate::checker::Figures;

pub(super) const ROWS: &[Row] = &[
    row("T24", "publish denied", "on one of ten subjects", one_denied).short(),
    row("T24r", "permission removed", "on one of ten subjects, in the middle, by a reload", removed),
    row("T25", "replies denied", "the user may not subscribe to its inbox: no ack can ever come", inbox_denied),
    row("T28", "user removed", "in the middle, and back after 3 s", revoked),
];

/// A server with an all-powerful `admin` and the user of the driver; its reader, and the driver's URL.
fn with_user(permissions: &str) -> (Server, Reader, String) {
    let server = options(Some(permissions)).start();
    let reader = Reader::connect(&server.url().replace("nats://", "nats://admin:pw@"));
    reader.create_stream_with(stream());
    let url = server.url().replace("nats://", "nats://app:pw@");
    (server, reader, url)
}

fn options(permissions: Option<&str>) -> Options {
    let options = Server::options().user("admin", "pw", "");
    match permissions {
        Some(permissions) => options.user("app", "pw", permissions),
        None => options,
    }
}

const DENIED: &str = r#"publish: { deny: "f.j" }"#;

fn one_denied(case: &mut Case) -> Figures {
    let (server, reader, url) = with_user(DENIED);
    let mut load = case.load();
    load.subjects = ('a'..='j').map(|letter| format!("f.{letter}")).collect();
    let run = case.start(&url, load);
    let mut figures = case.finish(run, &reader);
    drop(server);
    let share = figures.accepted.div_ceil(10);
    let others_unharmed = figures.acked + share == figures.accepted + figures.rejected.min(share);
    figures.must(others_unharmed, "nine of ten are stored");
    figures
}

fn removed(case: &mut Case) -> Figures {
    let (server, reader, url) = with_user("");
    let mut load = case.load();
    load.subjects = ('a'..='j').map(|letter| format!("f.{letter}")).collect();
    let middle = case.middle(load.count);
    let mut run = case.start(&url, load);
    run.acked(middle);
    run.breaks();
    server.reload(options(Some(DENIED)));
    run.heals();
    let mut figures = case.finish(run, &reader);
    let share = figures.accepted.div_ceil(10);
    figures.must(figures.acked + share >= figures.accepted, "the nine others are stored");
    figures
}

fn inbox_denied(case: &mut Case) -> Figures {
    let (server, reader, url) = with_user(r#"subscribe: { deny: "_INBOX.>" }"#);
    let mut load = case.load();
    load.count = load.rate;
    let run = case.start(&url, load);
    let opened = run.is_open();
    let mut figures = case.finish(run, &reader);
    drop(server);
    figures.must(!opened || figures.acked == 0, "no ack can have come");
    figures.note(if opened { "it connects, and no ack comes" } else { "connect fails and says why" });
    figures.must(!opened, "connect takes a user who can never get an ack");
    figures
}

fn revoked(case: &mut Case) -> Figures {
    let (server, reader, url) = with_user("");
    let load = case.load();
    let middle = case.middle(load.count);
    let mut run = case.start(&url, load);
    run.acked(middle);
    run.breaks();
    server.reload(options(None));
    sleep(Duration::from_secs(3));
    server.reload(options(Some("")));
    run.heals();
    let seen = run.told("disconnected", Duration::from_secs(20));
    let mut figures = case.finish(run, &reader);
    figures.must(seen, "the loss is told");
    figures
}
