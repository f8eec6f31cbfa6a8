//! Asking: questions to the server about streams, which of them are with it, and how long their answers are waited for.
//!
//! Does the rule's stream exist, what is its duplicate window, must it be created? Which stream takes a topic that nobody took? What follows from an answer is decided
//! where the question came from.

use std::collections::{HashMap, VecDeque};

use crate::base::time::Nanos;
use crate::handler::hold::gates::Key;
use crate::wire::Question;

/// Questions that are with the server at a time: a thousand streams after a reconnect must not come at once.
const MOST_OPEN: usize = 16;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    WhoTakes,
    Describe,
    Create,
    Condition,
    WhoTakesHere,
}

/// Who asks.
#[derive(Debug)]
pub(super) enum About {
    Gate {
        gate: u32,
        key: Key,
        topic: String,
        rule: u32,
    },
    /// A stream that acknowledged a rule's message for the first time: its window, and whether the topic is one of its own subjects. No message waits for it.
    Taker {
        rule: u32,
        topic: String,
    },
    /// A stream's duplicate window, before what is in doubt goes to it again.
    Window {
        stream: Box<str>,
    },
    /// Whether the store of the server that we are connected to takes the topic too.
    Local {
        topic: Box<str>,
    },
    /// Where a message goes. It waits for the answer, and with it all behind it.
    Place,
    /// Why messages are not acknowledged (`explain`).
    Silence {
        key: Key,
    },
}

/// All questions.
#[derive(Debug)]
pub(crate) struct Asking {
    asked: HashMap<u32, Asked>,
    next: u32,
    /// In line for the wire.
    line: VecDeque<(u32, Question)>,
    /// Questions that the wire has.
    open: usize,
}

/// A question under way, or in line for the wire.
#[derive(Debug)]
struct Asked {
    what: What,
    about: About,
    give_up_at: Nanos,
    /// The wire has it.
    open: bool,
}

impl Asking {
    pub(super) fn new() -> Self {
        Asking { asked: HashMap::new(), next: 1, line: VecDeque::new(), open: 0 }
    }

    /// Puts a question in line. Gives its number.
    pub(super) fn ask(&mut self, give_up_at: Nanos, what: What, about: About, question: Question) -> u32 {
        let ask = self.next;
        self.next = self.next.wrapping_add(1).max(1);
        self.asked.insert(ask, Asked { what, about, give_up_at, open: false });
        self.line.push_back((ask, question));
        ask
    }

    /// Whether it was asked where a message goes.
    pub(super) fn is_placing(&self) -> bool {
        self.asked.values().any(|asked| matches!(asked.about, About::Place))
    }

    /// The next question for the wire, unless so many are with the server already.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<(u32, Question)> {
        if self.line.is_empty() { None } else { self.next_of_many() }
    }

    fn next_of_many(&mut self) -> Option<(u32, Question)> {
        while self.open < MOST_OPEN {
            let (ask, question) = self.line.pop_front()?;
            // It may have been given up in line.
            if let Some(asked) = self.asked.get_mut(&ask) {
                asked.open = true;
                self.open += 1;
                return Some((ask, question));
            }
        }
        None
    }

    /// The question is answered, or given up. `None`: it was before.
    pub(super) fn take(&mut self, ask: u32) -> Option<(What, About)> {
        let asked = self.asked.remove(&ask)?;
        self.open -= usize::from(asked.open);
        Some((asked.what, asked.about))
    }

    /// Questions that nobody answered in time.
    pub(super) fn overdue(&self, now: Nanos) -> Vec<u32> {
        self.asked.iter().filter(|(_, asked)| asked.give_up_at <= now).map(|(&ask, _)| ask).collect()
    }

    /// When the next one's time is over.
    pub(super) fn next_due(&self) -> Nanos {
        self.asked.values().map(|asked| asked.give_up_at).min().unwrap_or(Nanos::MAX)
    }

    /// The connection is gone, and with it whoever was asked.
    pub(super) fn forget(&mut self) {
        self.asked = HashMap::new();
        self.open = 0;
        self.line.clear();
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn size(&self) -> usize {
        self.asked.len().max(self.line.len())
    }
}
