//! Compares what was told with what is stored. The words are those of `README.md`.

use std::collections::HashMap;

use ackbus_test_support::StoredMsg;
use serde::{Deserialize, Serialize};

use crate::books::{Kind, Micros, Pages};
use crate::load::Load;

/// What an independent reader found.
#[derive(Debug, Default)]
pub struct Evidence {
    pub stored: Vec<StoredMsg>,
    /// Of a stream that was deleted: what it held shortly before, and when its successor was there.
    pub before: Option<(Vec<StoredMsg>, Micros)>,
    /// There is no stream to compare with: the server was no server.
    pub nothing: bool,
    /// The driver was killed: it published more than it could tell.
    pub unheard: bool,
}

/// What came of one row with one client.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    pub row: String,
    pub client: String,
    pub version: String,
    pub peer: bool,
    pub seed: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub acked: u64,
    pub true_fail: u64,
    pub in_doubt: u64,
    pub hung: u64,
    pub multi: u64,
    pub lost: u64,
    pub false_fail: u64,
    pub mislabelled: u64,
    pub dups: u64,
    pub unexpected: u64,
    pub over: u64,
    pub late_cb: u64,
    pub crash: Option<String>,
    pub close_ms: Option<f64>,
    pub recover_ms: Option<f64>,
    pub noticed_ms: Option<f64>,
    pub gap_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub rss_mb: f64,
    pub wall_s: f64,
    /// Acked with the flag that the server already had such a Msg-Id.
    pub flagged: u64,
    /// What was said of messages that were not acked, and how often.
    pub texts: Vec<(String, u64)>,
    pub notes: Vec<String>,
    /// Why the row does not hold. Rows add their own.
    pub problems: Vec<String>,
}

#[derive(Debug, Default)]
struct Copies {
    seqs: Vec<u64>,
}

impl Figures {
    /// Counts. `hung` and `close_ms` are judged by what the load allows.
    pub fn count(pages: &Pages, load: &Load, evidence: &Evidence, peer: bool) -> Self {
        let mut figures = Figures { peer, accepted: pages.accepted, rejected: pages.rejected, late_cb: pages.late_outcomes, ..Figures::default() };
        let stored = figures.sort(load, &evidence.stored);
        let before = evidence.before.as_ref().map(|(stored, until)| (figures.sort(load, stored), stored.last().map_or(0, |last| last.seq), *until));
        // The copies of the older stream were counted with it: what is in both was sent to both, and P4 excludes that.
        let mut latencies = Vec::new();
        for (id, message) in (1..).zip(&pages.messages) {
            figures.multi += u64::from(message.more);
            let copies = stored.get(&id);
            let older = before.as_ref().and_then(|(stored, ..)| stored.get(&id));
            let is_stored = copies.is_some() || older.is_some() || load.pairs && stored.contains_key(&(id - (id + 1) % 2));
            if is_stored && message.accepted.is_none() && !message.rejected {
                figures.unexpected += 1;
            }
            if message.rejected && is_stored {
                figures.false_fail += 1;
            }
            let Some(accepted) = message.accepted else { continue };
            let Some(outcome) = message.outcome else {
                figures.hung += 1;
                continue;
            };
            let took = outcome.at - accepted;
            if !peer && took > i64::try_from(load.deadline_ms * 1_000 + 2_000_000).unwrap_or(i64::MAX) {
                figures.hung += 1;
            }
            match outcome.kind {
                Kind::Acked => {
                    figures.acked += 1;
                    figures.flagged += u64::from(outcome.duplicate);
                    latencies.push(took.max(0));
                    let under = |copies: &Copies| copies.seqs.contains(&outcome.seq);
                    let told_truly = copies.is_some_and(under) || older.is_some_and(under) || load.pairs && outcome.duplicate && is_stored;
                    // What the deleted stream took after it was read for the last time cannot be looked up.
                    let unknowable = before.as_ref().is_some_and(|(_, last, until)| outcome.at < *until && outcome.seq > *last);
                    if !told_truly && !unknowable && !evidence.nothing {
                        figures.lost += 1;
                    }
                }
                Kind::InDoubt => figures.in_doubt += 1,
                Kind::Refused if is_stored => figures.false_fail += 1,
                Kind::Failed if is_stored => figures.mislabelled += 1,
                Kind::Refused | Kind::Failed => figures.true_fail += 1,
            }
        }
        // Stored under a number that the driver never spoke of.
        let known = if evidence.unheard { load.count } else { pages.messages.len() as u64 };
        figures.unexpected += stored.keys().filter(|&&id| id > known).count() as u64;
        figures.over = pages.pending_max.saturating_sub(load.max_pending);
        latencies.sort_unstable();
        figures.p50_ms = percentile(&latencies, 50);
        figures.p99_ms = percentile(&latencies, 99);
        figures.gap_ms = millis(pages.gap);
        figures.close_ms = pages.close.0.zip(pages.close.1).map(|(begin, end)| millis(end - begin));
        figures.rss_mb = pages.rss_kb as f64 / 1024.0;
        let mut texts: Vec<_> = pages.texts.iter().map(|(text, count)| (text.clone(), *count)).collect();
        texts.sort_by(|one, other| (other.1, &one.0).cmp(&(one.1, &other.0)));
        texts.truncate(5);
        figures.texts = texts;
        figures.version = pages.client.clone().unwrap_or_default();
        figures
    }

    /// Which numbers are stored, and where; counts copies and strangers.
    fn sort(&mut self, load: &Load, messages: &[StoredMsg]) -> HashMap<u64, Copies> {
        let mut sorted: HashMap<u64, Copies> = HashMap::with_capacity(messages.len());
        for message in messages {
            match load.recognise(message) {
                Some(id) => sorted.entry(id).or_default().seqs.push(message.seq),
                None => self.unexpected += 1,
            }
        }
        self.dups += sorted.values().map(|copies| copies.seqs.len() as u64 - 1).sum::<u64>();
        sorted
    }

    /// What must hold for ackbus in every row: adds to `problems`.
    pub fn judge(&mut self, dups_allowed: bool) {
        let zeros = [
            ("hung", self.hung),
            ("multi", self.multi),
            ("lost", self.lost),
            ("false_fail", self.false_fail),
            ("mislabelled", self.mislabelled),
            ("unexpected", self.unexpected),
            ("over", self.over),
            ("late_cb", self.late_cb),
            ("dups", if dups_allowed { 0 } else { self.dups }),
        ];
        self.problems.extend(zeros.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")));
        if let Some(crash) = &self.crash {
            self.problems.push(format!("crash: {crash}"));
        }
    }

    /// Every accepted message must be told as stored, and every message accepted.
    pub fn all_persisted(&mut self) {
        self.must(self.acked == self.accepted && self.rejected == 0, "not every message is PERSISTED");
    }

    /// The same, but for one fault of the server: one that led, resigned and leads again can refuse for the whole duplicate window what it dropped in between, as if the
    /// message were still under way (10158, seen with 2.15.1). Then nobody can do better than say that it is in doubt.
    pub fn all_persisted_or_in_process(&mut self) {
        let in_process = self.texts.iter().all(|(text, _)| text.ends_with("(10158)"));
        self.must(self.acked + self.in_doubt == self.accepted && self.rejected == 0 && in_process, "not every message is PERSISTED");
        if self.in_doubt > 0 && in_process {
            self.note(format!("the server said of {} messages until their deadline that they are in process (10158)", self.in_doubt));
        }
    }

    /// Adds a problem when something does not hold. A peer's row never fails: its figures are what is wanted.
    pub fn must(&mut self, holds: bool, what: &str) {
        if !holds && !self.peer {
            self.problems.push(format!("{what} (accepted {}, acked {}, rejected {}, texts {:?})", self.accepted, self.acked, self.rejected, self.texts));
        }
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

pub fn millis(micros: Micros) -> f64 {
    micros as f64 / 1_000.0
}

fn percentile(sorted: &[Micros], percent: usize) -> f64 {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).map_or(0.0, |&micros| millis(micros))
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
