//! One server that ends, hangs, or is left.

use std::thread::sleep;
use std::time::Duration;

use ackbus_test_support::Server;

use super::{Row, row};
use crate::case::{Case, PATIENCE, server};
use crate::checker::{Evidence, Figures};
use crate::load::{Load, STREAM};

pub(super) const ROWS: &[Row] = &[
    row("T1", "baseline", "no fault, as fast as publish lets", baseline),
    row("T2", "kill -9", "the server is killed and starts again after 3 s with its store; 20 times", killed).short(),
    row("T2c", "kill -9, 4 connections", "the same for a publisher with `connections=4`", killed_with_four_connections).ours(),
    row("T3", "graceful restart", "SIGTERM, start; 5 times", restarted),
    row("T10", "SIGSTOP 20 s", "the server stands still for 20 s; by design that is a disconnect", paused),
    row("T31", "close, server dead", "the server is killed with a full window; close has 5 s", closed_when_dead).short(),
    row("T31b", "close, server paused", "the same with a server that stands still", closed_when_paused),
];

fn baseline(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let mut load = case.load();
    load.rate = 0;
    load.count = case.client.baseline;
    let run = case.start(&server.url(), load);
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    let rate = figures.acked as f64 / figures.wall_s;
    figures.note(format!("{rate:.0} msg/s with the driver's own output"));
    figures
}

fn killed(case: &mut Case) -> Figures {
    let load = case.load();
    again_and_again(case, load, 20, kill)
}

fn killed_with_four_connections(case: &mut Case) -> Figures {
    let load = case.load().word("set:connections=4");
    again_and_again(case, load, 20, kill)
}

fn kill(server: &Server) {
    server.kill();
    sleep(Duration::from_secs(3)); // This long is the fault.
    server.restart();
}

fn restarted(case: &mut Case) -> Figures {
    let load = case.load();
    again_and_again(case, load, 5, Server::restart)
}

fn again_and_again(case: &mut Case, load: Load, rounds: u64, fault: fn(&Server)) -> Figures {
    let (server, reader) = server();
    let mut run = case.start(&server.url(), load.endless());
    for _ in 0..case.rounds(rounds) {
        run.acked_more(case.between(1_000, 4_000));
        run.breaks();
        fault(&server);
        run.heals();
    }
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn paused(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let mut run = case.start(&server.url(), case.load().endless());
    run.acked(case.between(4_000, 12_000));
    run.breaks();
    server.pause();
    sleep(Duration::from_secs(20));
    server.resume();
    run.heals();
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn closed_when_dead(case: &mut Case) -> Figures {
    close_with_a_full_window(case, Server::kill, Server::restart)
}

fn closed_when_paused(case: &mut Case) -> Figures {
    close_with_a_full_window(case, Server::pause, Server::resume)
}

fn close_with_a_full_window(case: &mut Case, breaks: fn(&Server), heals: fn(&Server)) -> Figures {
    let (server, reader) = server();
    let mut load = case.load().endless();
    load.rate = case.client.rate * 2;
    let window = load.max_pending;
    let mut run = case.start(&server.url(), load);
    run.acked(case.between(1_000, 4_000));
    run.breaks();
    breaks(&server);
    // Some clients fail a window at once and never fill it: then the wait ends by time.
    run.driver.books.wait(Duration::from_secs(15), |pages| pages.open() >= window);
    let pending = run.driver.books.read().open();
    run.close_within(5_000);
    run.driver.tell("close", 5_000);
    run.driver.books.wait(PATIENCE, |pages| pages.ended);
    let mut figures = case.conclude(run, || {
        heals(&server);
        Evidence { stored: reader.read_all(STREAM), ..Evidence::default() }
    });
    figures.note(format!("{pending} pending at close"));
    figures.must(pending >= window * 9 / 10, "the window was not full at close");
    figures
}
