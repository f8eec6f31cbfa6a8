//! What a driver told, line by line, and waiting for it.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// Microseconds since 1970.
pub type Micros = i64;

/// The moment in the drivers' time.
pub fn now() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}

/// One line of a driver.
#[derive(Debug, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
enum Line {
    Ready {
        client: String,
    },
    Accept {
        id: u64,
        t: Micros,
    },
    Reject {
        id: u64,
        text: String,
    },
    Outcome(Told),
    Pending {
        n: u64,
    },
    State {
        state: String,
        t: Micros,
    },
    Error {
        text: String,
    },
    Published {},
    Check {
        what: String,
        ok: bool,
        #[serde(default)]
        text: String,
    },
    CloseBegin {
        t: Micros,
    },
    CloseEnd {
        t: Micros,
        #[serde(default)]
        text: String,
        #[serde(default)]
        handlers_ms: i64,
    },
    End {
        rss_kb: u64,
    },
}

#[derive(Debug, Deserialize)]
struct Told {
    id: u64,
    t: Micros,
    kind: Kind,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    dup: bool,
    #[serde(default)]
    code: u32,
    #[serde(default)]
    text: String,
}

/// What a client told of a message.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Acked,
    /// Told as not stored.
    Refused,
    /// An error that leaves it open.
    Failed,
    /// Told as possibly stored.
    InDoubt,
}

/// The outcome of a message.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub at: Micros,
    pub kind: Kind,
    pub seq: u64,
    pub duplicate: bool,
}

/// All that was told of one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message {
    pub accepted: Option<Micros>,
    pub rejected: bool,
    pub outcome: Option<Outcome>,
    /// Outcomes after the first.
    pub more: u32,
}

/// A finding of a mode.
#[derive(Clone, Debug)]
pub struct Check {
    pub what: String,
    pub ok: bool,
    pub text: String,
}

#[derive(Debug, Default)]
pub struct Pages {
    /// Message *k* is at *k* − 1.
    pub messages: Vec<Message>,
    pub accepted: u64,
    pub rejected: u64,
    pub acked: u64,
    /// Accepted messages that have an outcome need no count of their own: outcomes of rejected ones are faults.
    pub outcomes: u64,
    pub last_ack: Micros,
    pub gap: Micros,
    pub pending_max: u64,
    pub client: Option<String>,
    pub states: Vec<(String, Micros)>,
    pub checks: Vec<Check>,
    /// What failed, and how often.
    pub texts: HashMap<String, u64>,
    pub errors: Vec<String>,
    pub published: bool,
    pub close: (Option<Micros>, Option<Micros>),
    pub close_text: String,
    pub late_outcomes: u64,
    pub rss_kb: u64,
    pub ended: bool,
    /// The pipe is closed: nothing more comes.
    pub closed: bool,
    pub garbage: Vec<String>,
}

/// What a driver told so far.
#[derive(Debug, Default)]
pub struct Books {
    pages: Mutex<Pages>,
    changed: Condvar,
}

impl Books {
    pub fn read(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the condition holds, at most for `limit`; false if it does not by then, or cannot because the driver ended.
    pub fn wait(&self, limit: Duration, mut holds: impl FnMut(&Pages) -> bool) -> bool {
        let until = Instant::now() + limit;
        let mut pages = self.read();
        loop {
            if holds(&pages) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if pages.closed || left.is_zero() {
                return false;
            }
            pages = self.changed.wait_timeout(pages, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes one line. What is no line of the protocol is kept: a driver that speaks nonsense has failed.
    pub fn line(&self, text: &str) {
        let mut pages = self.read();
        match serde_json::from_str(text) {
            Ok(line) => pages.enter(line),
            Err(error) => pages.garbage.push(format!("{error}: {text}")),
        }
        self.changed.notify_all();
    }

    /// Nothing more comes.
    pub fn closed(&self) {
        self.read().closed = true;
        self.changed.notify_all();
    }
}

impl Pages {
    fn enter(&mut self, line: Line) {
        match line {
            Line::Ready { client } => self.client = Some(client),
            Line::Accept { id, t } => {
                self.accepted += 1;
                self.message(id).accepted = Some(t);
            }
            Line::Reject { id, text } => {
                self.rejected += 1;
                *self.texts.entry(format!("rejected: {text}")).or_default() += 1;
                self.message(id).rejected = true;
            }
            Line::Outcome(told) => self.outcome(told),
            Line::Pending { n } => self.pending_max = self.pending_max.max(n),
            Line::State { state, t } => self.states.push((state, t)),
            Line::Error { text } => self.errors.push(text),
            Line::Published {} => self.published = true,
            Line::Check { what, ok, text } => self.checks.push(Check { what, ok, text }),
            Line::CloseBegin { t } => self.close.0 = Some(t),
            Line::CloseEnd { t, text, handlers_ms } => {
                // What the driver's own handlers took comes on top of the limit (P6).
                self.close.1 = Some(t - handlers_ms * 1_000);
                self.close_text = text;
            }
            Line::End { rss_kb } => {
                self.rss_kb = rss_kb;
                self.ended = true;
            }
        }
    }

    fn outcome(&mut self, told: Told) {
        self.late_outcomes += u64::from(self.close.1.is_some());
        if told.kind != Kind::Acked {
            let code = if told.code == 0 { String::new() } else { format!(" ({})", told.code) };
            *self.texts.entry(format!("{}{code}", told.text)).or_default() += 1;
        }
        let message = self.message(told.id);
        if message.outcome.is_some() {
            message.more += 1;
            return;
        }
        message.outcome = Some(Outcome { at: told.t, kind: told.kind, seq: told.seq, duplicate: told.dup });
        self.outcomes += 1;
        if told.kind == Kind::Acked {
            self.acked += 1;
            if self.last_ack > 0 {
                self.gap = self.gap.max(told.t - self.last_ack);
            }
            self.last_ack = self.last_ack.max(told.t);
        }
    }

    fn message(&mut self, id: u64) -> &mut Message {
        let index = usize::try_from(id.max(1) - 1).unwrap_or(0);
        if self.messages.len() <= index {
            self.messages.resize(index + 1, Message::default());
        }
        &mut self.messages[index]
    }

    /// Accepted, without an outcome. An outcome can be told before its acceptance.
    pub fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.outcomes)
    }

    /// The first ack after that moment.
    pub fn ack_after(&self, moment: Micros) -> Option<Micros> {
        let acks = self.messages.iter().filter_map(|message| message.outcome).filter(|outcome| outcome.kind == Kind::Acked && outcome.at > moment);
        acks.map(|outcome| outcome.at).min()
    }

    /// When the client told a state of that name after that moment.
    pub fn state_after(&self, name: &str, moment: Micros) -> Option<Micros> {
        self.states.iter().find(|(state, at)| state == name && *at >= moment).map(|(_, at)| *at)
    }
}
