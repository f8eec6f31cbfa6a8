//! A server that sends what no server should.

use ackbus_test_support::Liar;

use super::{Row, row};
use crate::case::Case;
use crate::checker::{Evidence, Figures};

pub(super) const ROWS: &[Row] = &[row("T38", "malicious server", "each script of the test support's liar: bad INFO, endless lines, sizes near 2^64, bad UTF-8, …", scripts)];

/// One figure for all scripts: counts are sums.
fn scripts(case: &mut Case) -> Figures {
    let mut sum = Figures { peer: case.client.peer, ..Figures::default() };
    for (name, script) in Liar::scripts() {
        let liar = Liar::start(script);
        let mut load = case.load().word("set:delivery_timeout_ms=2000").word("set:connect_timeout_ms=1000").word("set:ack_wait_ms=500");
        load.count = 100;
        load.rate = 1_000;
        load.deadline_ms = if case.client.peer { case.client.ack_timeout_ms } else { 2_000 };
        let mut run = case.start(&liar.url(), load);
        run.close_within(2_000);
        let one = case.finish_with(run, || Evidence { nothing: true, ..Evidence::default() });
        let problems = one.problems.iter().map(|problem| format!("{name}: {problem}"));
        sum.problems.extend(problems);
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
        sum.close_ms = sum.close_ms.max(one.close_ms);
        sum.wall_s += one.wall_s;
        if sum.version.is_empty() {
            sum.version = one.version;
        }
    }
    sum
}
