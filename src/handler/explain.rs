//! Explain: why messages are not acknowledged.
//!
//! Peers' users see a timeout and guess. Here the first silence of a gate, or the first message that nobody took, makes the bus ask the server once, in the background: which stream
//! takes the topic, and how does that stream fare? The answer goes to the log, and into the text of every report that ends without an acknowledgement. It
//! decides nothing: outcomes are `settle`'s alone.

use std::collections::HashMap;

use crate::base::level::Level;
use crate::base::time::Nanos;
use crate::handler::asking::{About, What};
use crate::handler::here::Here;
use crate::handler::hold::gates::Key;
use crate::handler::orders::{Order, Orders};
use crate::ledger::slot::Slot;
use crate::wire::{Question, StreamAnswer};

/// How long an answer is good for: then the next silence asks anew.
const GOOD_FOR: Nanos = 30_000_000_000;
/// How long it is believed that the server does not answer.
const DEAF_FOR: Nanos = 5_000_000_000;
/// How long the answer is waited for. What must settle waits as long, so that its report knows; a live server needs two round trips.
const PATIENCE: Nanos = 1_000_000_000;
/// Silences that are remembered (P9). A server with more gates in trouble is not asked about each.
const MOST: usize = 64;

/// The silences of now, by their gates; those of messages without a gate by their rules.
#[derive(Debug, Default)]
pub(crate) struct Silences {
    by_key: HashMap<Key, Silence>,
    /// Messages whose answer has come, slots and ids: they settle in a later turn, before which all that has arrived is read. Their acks may stand behind the answer.
    told: Vec<(u32, u64)>,
    /// Those of an earlier turn.
    ready: Vec<(u32, u64)>,
}

#[derive(Debug)]
struct Silence {
    /// The stream that takes the topic, by the server's word.
    stream: Option<String>,
    /// The question names this topic; others may share the gate.
    topic: String,
    /// Its messages were refused, not silent: the server said that nobody takes them.
    refused: bool,
    asked_at: Nanos,
    why: Option<Why>,
    /// Messages that settle when the answer is there: slots and ids.
    waiting: Vec<(u32, u64)>,
}

#[derive(Debug)]
struct Why {
    since: Nanos,
    /// When it may be asked again.
    good_until: Nanos,
    text: String,
}

impl Silences {
    /// The gate opened: what was wrong is over.
    pub(super) fn end(&mut self, key: &Key) {
        if !self.by_key.is_empty() && self.by_key.get(key).is_some_and(|silence| silence.why.is_some()) {
            self.by_key.remove(key);
        }
    }

    /// Makes room for one more, by forgetting the oldest that is answered.
    fn has_room(&mut self) -> bool {
        if self.by_key.len() < MOST {
            return true;
        }
        let answered = self.by_key.iter().filter(|(_, silence)| silence.why.is_some());
        let Some(oldest) = answered.min_by_key(|(_, silence)| silence.asked_at).map(|(key, _)| key.clone()) else { return false };
        self.by_key.remove(&oldest).is_some()
    }

    /// This message was not acknowledged in time: asks why, unless that was asked a moment ago.
    pub(super) fn explain(&mut self, key: Key, slot: &Slot, here: &Here, orders: &mut Orders) {
        if !here.is_online() || self.is_explained(&key, here.now()) || !self.begin(&key, slot.topic(), false, here.now()) {
            return;
        }
        if let Some(foreign) = slot.foreign() {
            // It is known already.
            return self.conclude(&key, foreign.to_owned(), GOOD_FOR, here, orders);
        }
        let question = Question::WhoTakes { topic: slot.topic().to_owned() };
        orders.push(Order::Ask { what: What::WhoTakes, about: About::Silence { key }, question, give_up_at: here.now() + PATIENCE });
    }

    /// A held gate: what is known already, and how its stream fares.
    pub(super) fn explain_held(&mut self, key: Key, topic: &str, known: StreamAnswer, here: &Here, orders: &mut Orders) {
        // A stream's name, from a server that was deaf before, is news.
        let is_news =
            matches!(known, StreamAnswer::Exists { .. }) && self.by_key.get(&key).is_some_and(|silence| silence.stream.is_none() && silence.why.is_some());
        if (is_news || !self.is_explained(&key, here.now())) && self.begin(&key, topic, true, here.now()) {
            self.learn(key, What::WhoTakes, known, here, orders);
        }
    }

    fn is_explained(&self, key: &Key, now: Nanos) -> bool {
        self.by_key.get(key).is_some_and(|silence| silence.why.as_ref().is_none_or(|why| now < why.good_until))
    }

    fn begin(&mut self, key: &Key, topic: &str, refused: bool, now: Nanos) -> bool {
        // What was known of it is forgotten: an old answer is no answer.
        self.by_key.remove(key);
        let begins = self.has_room();
        if begins {
            self.by_key.insert(key.clone(), Silence { stream: None, topic: topic.to_owned(), refused, asked_at: now, why: None, waiting: Vec::new() });
        }
        begins
    }

    /// The server's answer, or the lack of one.
    pub(super) fn learn(&mut self, key: Key, what: What, answer: StreamAnswer, here: &Here, orders: &mut Orders) {
        let Some(silence) = self.by_key.get_mut(&key) else { return };
        if let StreamAnswer::Exists { name, .. } = &answer {
            silence.stream = Some(name.clone());
        }
        let (topic, asked_at) = (&silence.topic, silence.asked_at);
        let good_for = if matches!(answer, StreamAnswer::Unavailable { .. } | StreamAnswer::Disabled { .. }) { DEAF_FOR } else { GOOD_FOR };
        let text = match answer {
            StreamAnswer::Exists { name, .. } => {
                // The second half of the question, which has what is left of the time.
                let give_up_at = (asked_at + PATIENCE).max(here.now());
                let question = Question::Condition { stream: name };
                orders.push(Order::Ask { what: What::Condition, about: About::Silence { key }, question, give_up_at });
                return;
            }
            StreamAnswer::Condition { text } => format!("{text}; the server answered in {} ms", (here.now() - asked_at).div_ceil(1_000_000)),
            StreamAnswer::None if what == What::WhoTakes && silence.refused => {
                format!("no stream that the server knows takes {topic:?}: it is behind an import, a mapping or a leaf node and away, or it is gone")
            }
            StreamAnswer::None if what == What::WhoTakes => format!(
                "no stream takes {topic:?}, yet the server did not say that nobody does ({}): somebody else subscribes to it, took the message and acknowledges nothing",
                here.nobody_code()
            ),
            // Its leader alone answers for it; which stream takes a topic is told by any server.
            StreamAnswer::Refused { text, .. } | StreamAnswer::Unavailable { text } | StreamAnswer::Disabled { text, .. } if what == What::Condition => {
                let stream = silence.stream.as_deref().unwrap_or_default();
                format!("stream {stream:?} takes it, but nobody answers for it: it has no leader, or that one is down or busy ({text})")
            }
            StreamAnswer::None => "its stream was there a moment ago, and is gone".to_owned(),
            StreamAnswer::Denied => format!("the permissions do not allow to ask which stream takes {topic:?}, and how it fares"),
            StreamAnswer::Disabled { text, .. } => text,
            StreamAnswer::Refused { text, .. } | StreamAnswer::Unavailable { text } => format!("asked about the stream of {topic:?}, {text}"),
        };
        self.conclude(&key, text, good_for, here, orders);
    }

    fn conclude(&mut self, key: &Key, text: String, good_for: Nanos, here: &Here, orders: &mut Orders) {
        let Some(silence) = self.by_key.get_mut(key) else { return };
        orders.push(Order::Log(Level::Warn, format!("why {:?} is not acknowledged: {text}", silence.topic)));
        silence.why = Some(Why { since: here.now(), good_until: here.now().saturating_add(good_for), text });
        self.told.append(&mut silence.waiting);
    }

    /// Whether this message, which must settle now, waits for the answer. Its attempt is over; an acknowledgement that comes all the same still counts.
    pub(super) fn awaits(&mut self, key: &Key, slot: u32, id: u64) -> bool {
        let Some(silence) = self.by_key.get_mut(key).filter(|silence| silence.why.is_none()) else { return false };
        silence.waiting.push((slot, id));
        true
    }

    /// Who settles now, and whether others do in the next turn.
    #[inline(always)]
    pub(super) fn take_ready(&mut self) -> (Vec<(u32, u64)>, bool) {
        if self.told.is_empty() && self.ready.is_empty() {
            return (Vec::new(), false);
        }
        let ready = std::mem::replace(&mut self.ready, std::mem::take(&mut self.told));
        (ready, !self.ready.is_empty())
    }

    /// Whether the server named a stream for this message's topic.
    pub(super) fn has_stream(&self, key: &Key, slot: &Slot) -> bool {
        self.by_key.get(key).is_some_and(|silence| silence.stream.is_some() && silence.topic == slot.topic())
    }

    /// What is known of why this message is not acknowledged: learned since it was accepted, or a moment before.
    pub(super) fn why(&self, key: &Key, slot: &Slot, now: Nanos) -> Option<String> {
        let silence = self.by_key.get(key)?;
        let why = silence.why.as_ref().filter(|why| why.since >= slot.accepted_at || now < why.good_until)?;
        let asked_about = if silence.topic == slot.topic() { String::new() } else { format!("of {:?}: ", silence.topic) };
        let asked_when = match (now - why.since) / 1_000_000_000 {
            0 => String::new(),
            seconds => format!(" (asked {seconds} s ago)"),
        };
        Some(format!("{asked_about}{}{asked_when}", why.text))
    }

    /// The connection is gone, and with it whoever was asked.
    pub(super) fn forget(&mut self, here: &Here, orders: &mut Orders) {
        let unanswered: Vec<Key> = self.by_key.iter().filter(|(_, silence)| silence.why.is_none()).map(|(key, _)| key.clone()).collect();
        for key in unanswered {
            self.conclude(&key, "the connection was lost before the server could say why".to_owned(), 0, here, orders);
        }
    }
}
