//! Acknowledgements that are lost, late, repeated, or wrong.

use std::thread::sleep;
use std::time::Duration;

use ackbus_test_support::choose::{corrupt, is_ack, zero_seq_duplicate};
use ackbus_test_support::{Action, Proxy, Verb};

use super::{Row, row};
use crate::case::{Case, server, server_with, stream};
use crate::checker::Figures;

pub(super) const ROWS: &[Row] = &[
    row("T5", "1 % of acks lost", "the proxy drops them", dropped).short(),
    row("T6", "late acks", "1 % come a second after the client's time-out", late),
    row("T7", "double and mixed acks", "20 % come twice, 20 % are up to 50 ms late and so out of order", repeated),
    row("T8", "corrupt acks", "1 % hold another text of the same length", corrupted),
    row(
        "T8z",
        "seq 0 duplicates",
        "1 % of the messages are swallowed and answered with `\"seq\":0,\"duplicate\": true`, as servers up to 2.10 do before they store",
        zero_duplicates,
    ),
    row("T16", "acks lost beyond the window", "duplicate window 2 s: the acks of 5 s are held and then lost with their connection", beyond_the_window),
    row("T43", "window made smaller", "the same, but the window was 120 s when the client connected, and is made 2 s while it publishes", smaller_window)
        .short(),
    row(
        "T17",
        "zombie bytes",
        "duplicate window 5 s: bytes of a lost connection reach the server 6 s after the client sent them again; P4 excludes this",
        zombies,
    ),
];

/// Does to a share of the acks what `action` says.
fn some_acks(case: &mut Case, proxy: &Proxy, share: f64, mut action: impl FnMut(&mut fastrand::Rng, &[u8]) -> Action + Send + 'static) {
    let mut rng = case.rng.fork();
    proxy.filter(move |verb, frame| if verb == Verb::Msg && is_ack(frame) && rng.f64() < share { action(&mut rng, frame) } else { Action::Pass });
}

fn with_acks(case: &mut Case, share: f64, action: impl FnMut(&mut fastrand::Rng, &[u8]) -> Action + Send + 'static) -> Figures {
    let (server, reader) = server();
    let proxy = Proxy::start(server.address());
    some_acks(case, &proxy, share, action);
    let run = case.start(&proxy.url(), case.load());
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn dropped(case: &mut Case) -> Figures {
    with_acks(case, 0.01, |_, _| Action::Drop)
}

fn late(case: &mut Case) -> Figures {
    let time = Duration::from_millis(case.client.ack_timeout_ms + 1_000);
    with_acks(case, 0.01, move |_, _| Action::Delay(time))
}

fn repeated(case: &mut Case) -> Figures {
    with_acks(case, 0.4, |rng, _| if rng.bool() { Action::Duplicate } else { Action::Delay(Duration::from_millis(rng.u64(1..50))) })
}

fn corrupted(case: &mut Case) -> Figures {
    with_acks(case, 0.01, |_, frame| Action::Replace(corrupt(frame)))
}

fn zero_duplicates(case: &mut Case) -> Figures {
    let (server, reader) = server();
    let proxy = Proxy::start(server.address());
    let mut rng = case.rng.fork();
    proxy.filter_up(move |verb, frame| {
        let meets = verb == Verb::Pub && rng.f64() < 0.01;
        if meets { zero_seq_duplicate(frame, crate::load::STREAM) } else { Action::Pass }
    });
    let run = case.start(&proxy.url(), case.load());
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn beyond_the_window(case: &mut Case) -> Figures {
    acks_held(case, 2)
}

fn smaller_window(case: &mut Case) -> Figures {
    acks_held(case, 120)
}

/// The window has 2 s when the acks are held, and so many when the client connects.
fn acks_held(case: &mut Case, window_before: u64) -> Figures {
    let (server, reader) = server_with(ackbus_test_support::Server::options(), short_window(window_before));
    let proxy = Proxy::start(server.address());
    let load = case.load().word("set:ack_wait_ms=500").word("topic:f.>:stream=F");
    let middle = case.middle(load.count);
    let mut run = case.start(&proxy.url(), load);
    run.acked(middle);
    run.breaks();
    reader.update_stream(short_window(2));
    proxy.hold_replies();
    sleep(Duration::from_secs(5));
    proxy.reset();
    proxy.resume();
    run.heals();
    case.finish(run, &reader)
}

fn zombies(case: &mut Case) -> Figures {
    let (server, reader) = server_with(ackbus_test_support::Server::options(), short_window(5));
    let proxies = [Proxy::start(server.address()), Proxy::start(server.address())];
    let load = case.load().word("set:ack_wait_ms=500").word("set:ping_interval_ms=1000").word("topic:f.>:stream=F");
    let middle = case.middle(load.count);
    let urls: Vec<String> = proxies.iter().map(Proxy::url).collect();
    let mut run = case.start(&urls.join(","), load);
    run.allow_dups();
    run.acked(middle);
    run.breaks();
    let silent = proxies.iter().find(|proxy| proxy.connections() > 0).expect("a connection");
    silent.keep_bytes(true);
    silent.hold();
    run.told("reconnected", Duration::from_secs(30));
    run.acked_more(1);
    sleep(Duration::from_secs(6)); // The server forgets the ids.
    silent.resume();
    run.heals();
    case.finish(run, &reader)
}

fn short_window(seconds: u64) -> ackbus_test_support::StreamConfig {
    ackbus_test_support::StreamConfig { duplicate_window: Duration::from_secs(seconds), ..stream() }
}
