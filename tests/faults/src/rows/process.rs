//! What the system does to the client's process.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use ackbus_test_support::Proxy;
use nix::sys::signal::Signal;

use super::{Row, row};
use crate::case::{Case, server};
use crate::checker::{Evidence, Figures};
use crate::load::STREAM;

pub(super) const ROWS: &[Row] = &[
    row("T33", "client SIGSTOP 10 s", "all timers are due when it goes on, and the acks are waiting", stopped),
    row("T34", "client kill -9", "what it had accepted may be stored or not; nothing else may be", killed),
    row("T37", "no file descriptors", "the client may open none for 5 s, and its connection breaks", no_descriptors),
];

fn stopped(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let mut run = case.start(&server.url(), case.load().endless());
    run.acked(case.between(4_000, 12_000));
    run.breaks();
    run.driver.signal(Signal::SIGSTOP);
    sleep(Duration::from_secs(10));
    run.driver.signal(Signal::SIGCONT);
    run.heals();
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn killed(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let load = case.load();
    let middle = case.middle(load.count);
    let mut run = case.start(&server.url(), load);
    run.acked(middle);
    run.is_killed();
    case.conclude(run, || Evidence { stored: reader.read_all(STREAM), ..Evidence::default() })
}

fn no_descriptors(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let proxy = Proxy::start(server.address());
    let mut run = case.start(&proxy.url(), case.load().endless());
    run.acked(case.between(4_000, 12_000));
    let pid = run.driver.pid().to_string();
    let limit = |value: &str| {
        let done = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={value}:")]).status();
        assert!(done.is_ok_and(|status| status.success()), "prlimit of process {pid}");
    };
    run.breaks();
    limit("0");
    proxy.reset();
    sleep(Duration::from_secs(5));
    limit("1024");
    run.heals();
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}
