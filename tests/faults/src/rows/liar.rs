//! A server that sends what no server should.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ackbus_test_support::Liar;

use super::{Row, row};
use crate::case::Case;
use crate::checker::{Evidence, Figures};

pub(super) const ROWS: &[Row] =
    &[row("T38", "malicious server", "each script of the test support's liar: bad INFO, endless lines, sizes near 2^64, bad UTF-8, …; deadline 2 s", scripts)];

/// Most scripts are waiting: many at a time.
const AT_A_TIME: usize = 8;
/// A client that was not let in by then tries on for ever.
const LET_IN: Duration = Duration::from_secs(5);
/// What no driver needs, whatever it is sent.
const MOST_MEMORY_MB: f64 = 64.0;

/// One figure for all scripts: counts are sums.
fn scripts(case: &mut Case) -> Figures {
    let (case, scripts) = (&*case, Mutex::new(VecDeque::from(Liar::scripts())));
    let sum = Mutex::new(Figures { peer: case.client.peer, ..Figures::default() });
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some((name, script)) = scripts.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { return };
                    let figures = one(case, Liar::start(script));
                    add(&mut sum.lock().unwrap_or_else(PoisonError::into_inner), name, figures);
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let most = sum.rss_mb;
    sum.must(case.client.driver == "ackbus-python" || most < MOST_MEMORY_MB, &format!("{most:.0} MB of memory"));
    sum
}

fn one(case: &Case, liar: Liar) -> Figures {
    let mut load = case.load().word("set:delivery_timeout_ms=2000").word("set:connect_timeout_ms=1000").word("set:ack_wait_ms=500");
    (load.count, load.rate, load.deadline_ms, load.ack_timeout_ms) = (100, 1_000, 2_000, 2_000);
    let mut run = case.start_within(&liar.url(), load, LET_IN);
    run.close_within(2_000);
    case.finish_with(run, || Evidence { nothing: true, ..Evidence::default() })
}

fn add(sum: &mut Figures, name: &str, one: Figures) {
    sum.problems.extend(one.problems.iter().map(|problem| format!("{name}: {problem}")));
    if let Some(crash) = one.crash {
        sum.note(format!("{name}: {crash}"));
        sum.crash.get_or_insert(format!("{name}: {crash}"));
    }
    for (total, more) in [
        (&mut sum.accepted, one.accepted),
        (&mut sum.rejected, one.rejected),
        (&mut sum.acked, one.acked),
        (&mut sum.true_fail, one.true_fail),
        (&mut sum.in_doubt, one.in_doubt),
        (&mut sum.hung, one.hung),
        (&mut sum.multi, one.multi),
        (&mut sum.late_cb, one.late_cb),
        (&mut sum.over, one.over),
    ] {
        *total += more;
    }
    sum.rss_mb = sum.rss_mb.max(one.rss_mb);
    sum.close_ms = [sum.close_ms, one.close_ms].into_iter().flatten().reduce(f64::max);
    sum.wall_s = sum.wall_s.max(one.wall_s);
    if sum.version.is_empty() {
        sum.version = one.version;
    }
}
