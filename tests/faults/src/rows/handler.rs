//! What users do in their handlers, and what they pass.

use super::{Row, row};
use crate::case::{Case, server};
use crate::checker::Figures;

pub(super) const ROWS: &[Row] = &[
    row("T27", "bad input", "subjects, headers and ids that would break the protocol, while it publishes", |case| with_mode(case, "bad")),
    row("T32b", "handler blocks", "for 10 s", |case| with_mode(case, "block")),
    row("T32t", "handler throws", "at each 100th outcome", |case| with_mode(case, "throw")),
    row("T32r", "handler publishes", "100 times, without waiting", |case| with_mode(case, "republish")),
    row("T32c", "handler closes", "the answer must be an error, not a deadlock", |case| with_mode(case, "close")).ours(),
    row("T35", "fork", "the child publishes, closes and ends", |case| with_mode(case, "fork")).ours(),
];

fn with_mode(case: &mut Case, mode: &'static str) -> Figures {
    let (server, reader) = server();
    let mut load = case.load();
    load.mode = mode;
    let run = case.start(&server.url(), load);
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}
