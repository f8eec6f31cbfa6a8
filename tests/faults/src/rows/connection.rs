//! One connection that breaks, stalls, or goes silent.

use std::thread::sleep;
use std::time::{Duration, Instant};

use ackbus_test_support::{Action, Link, Proxy, Verb};

use super::{Row, row};
use crate::case::{Case, PATIENCE, server};
use crate::checker::Figures;

pub(super) const ROWS: &[Row] = &[
    row("T4", "reset in mid-frame", "the connection ends within a message's payload; 5 times", cut_in_mid_frame),
    row("T9", "network gone 60 s", "no byte passes and no connection opens for 60 s, and nobody says so", network_gone),
    row("T9h", "half-open", "the connection goes silent for good; another server address works", half_open).short(),
    row("T11", "slow link", "64 KiB/s both ways; a window of 1,000", slow_link),
    row("T30", "no server 30 s", "connections are refused for 10 s, then accepted for 20 s without a byte", refused),
    row("T36", "reset loop", "a reset every 50 ms for 5 s while it publishes as fast as it can", reset_loop),
    row("T40", "strange lines", "an unknown -ERR, +OK and a new INFO between the acks", strange_lines),
];

fn cut_in_mid_frame(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let proxy = Proxy::start(server.address());
    let load = case.load();
    let size = load.sizes[0] as u64;
    let every = load.count / 6;
    let mut rng = case.rng.fork();
    let mut run = case.start(&proxy.url(), load);
    let mut seen = 0;
    run.breaks();
    proxy.filter_up(move |verb, frame| {
        seen += u64::from(verb == Verb::Pub);
        if verb == Verb::Pub && seen % every == 0 && seen <= every * 5 {
            let in_payload = usize::try_from(rng.u64(1..size)).unwrap_or(1);
            return Action::Cut(frame.len().saturating_sub(in_payload));
        }
        Action::Pass
    });
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn network_gone(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let proxy = Proxy::start(server.address());
    let mut run = case.start(&proxy.url(), case.load().endless());
    run.acked(case.between(4_000, 12_000));
    run.breaks();
    proxy.hold();
    sleep(Duration::from_secs(60));
    proxy.resume();
    run.heals();
    run.recovers();
    case.finish(run, &reader)
}

fn half_open(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let proxies = [Proxy::start(server.address()), Proxy::start(server.address())];
    let load = case.load();
    let middle = case.middle(load.count);
    let urls: Vec<String> = proxies.iter().map(Proxy::url).collect();
    let mut run = case.start(&urls.join(","), load);
    run.acked(middle);
    run.breaks();
    proxies.iter().find(|proxy| proxy.connections() > 0).expect("a connection").hold();
    run.told("reconnected", PATIENCE);
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    let noticed = figures.noticed_ms;
    figures.must(noticed.is_some_and(|took| took <= 15_000.0), &format!("noticed after {noticed:?} ms"));
    figures
}

fn slow_link(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let proxy = Proxy::start(server.address());
    proxy.link(Link { bytes_per_second: Some(64 * 1024), ..Link::default() });
    let mut load = case.load();
    load.max_pending = 1_000;
    load.count = 4_000;
    let run = case.start(&proxy.url(), load);
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn refused(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let proxy = Proxy::start(server.address());
    let mut run = case.start(&proxy.url(), case.load().endless());
    run.acked(case.between(4_000, 12_000));
    run.breaks();
    proxy.refuse();
    proxy.reset();
    sleep(Duration::from_secs(10));
    proxy.accept_silently(true);
    proxy.accept();
    sleep(Duration::from_secs(20));
    proxy.accept_silently(false);
    proxy.reset();
    run.heals();
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn reset_loop(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let proxy = Proxy::start(server.address());
    let mut load = case.load().endless();
    load.rate = 0;
    let mut run = case.start(&proxy.url(), load);
    run.acked(1_000);
    run.breaks();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        proxy.reset();
        sleep(Duration::from_millis(50));
    }
    run.heals();
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn strange_lines(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let proxy = Proxy::start(server.address());
    let load = case.load();
    let every = load.count / 8;
    let mut run = case.start(&proxy.url(), load);
    run.breaks();
    for (round, line) in [
        "-ERR 'Something New'\r\n",
        "+OK\r\n",
        "-ERR\r\n",
        "PING\r\n",
        "INFO {\"server_id\":\"X\",\"max_payload\":1048576,\"connect_urls\":[\"nonsense\"]}\r\n",
    ]
    .iter()
    .enumerate()
    {
        // Some clients never come back from the first; the others are there in a second.
        run.driver.books.wait(Duration::from_secs(10), |pages| pages.acked > every * round as u64);
        proxy.inject(line.as_bytes());
    }
    run.heals();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}
