//! What is known of permissions, and what the figures of a mark prove.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::base::time::Nanos;
use crate::ledger::slot::Slot;
use crate::wire::{Denials, Named};

/// How many marks are weighed at a time.
const MOST_TROUBLES: usize = 256;
/// How many topics with permission errors an epoch remembers.
const MOST_TOPICS: usize = 1024;
/// One message a second tests whether a denied topic is allowed again.
const PROBE: Nanos = 1_000_000_000;
/// So many errors in a row, and a topic counts as denied that was acknowledged since its first: a weighted mapping denies a part of its messages.
const SURE: u32 = 16;
/// How many ephemeral messages are tried, for each mark whose errors they may explain.
const SAMPLES: u32 = 8;
/// So many acks in a row, and a topic was denied long ago.
const FORGOTTEN: u32 = 256;

/// What is known of permissions in this epoch.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    /// Permission errors were read that still mean something: the one thing that is looked at for each ack.
    are_loud: bool,
    /// An error was read, and the fence behind it not yet.
    hear: bool,
    /// Marks with errors that are not explained.
    troubles: Vec<Trouble>,
    /// How many messages were settled without an answer to their last attempt, by its epoch and mark.
    given_up: HashMap<(u32, u64), u32>,
    topics: HashMap<Box<str>, Denied>,
    /// Topics that errors may be about: their frames get marks of their own.
    doubtful: HashSet<Box<str>>,
    /// Topics that were acknowledged while errors were not explained.
    passing: HashSet<Box<str>>,
    /// Topics of which an event told, and names that belong to no topic.
    told: HashSet<Box<str>>,
    /// The topic that has the present mark for itself.
    run: Option<Box<str>>,
    /// So many ephemeral messages get a mark of their own: errors are about some of them, under another name.
    samples: u32,
    /// Marks that a topic has for itself, the oldest first.
    runs: VecDeque<Run>,
    /// The other names of ephemeral topics.
    ephemeral: HashSet<Box<str>>,
}

/// A topic that permissions deny.
#[derive(Debug, Default)]
struct Denied {
    /// What the server calls it; empty while that is not known.
    name: Box<str>,
    text: Box<str>,
    /// When one message may test it.
    probe_at: Nanos,
    /// Errors since the last ack.
    errors: u32,
    /// Acks since the last error; one at least, if there ever was one.
    acks: u32,
}

/// A mark with errors.
#[derive(Debug)]
pub(in crate::handler) struct Trouble {
    pub(super) epoch: u32,
    pub(super) mark: u64,
    /// Those that are not explained.
    pub(super) denials: Denials,
    pub(super) given_up: u32,
    /// How many messages have no answer yet, at most: the table knows.
    pub(super) open: u32,
    /// With so few of them it is weighed again.
    pub(super) weigh_at: u32,
    pub(super) since: Nanos,
    /// When it is weighed again at the latest.
    pub(super) again_at: Nanos,
}

/// A mark that a topic has for itself.
#[derive(Debug)]
struct Run {
    epoch: u32,
    mark: u64,
    topic: Box<str>,
    ephemeral: bool,
}

/// What is to be said of a denied topic.
pub(super) enum Word {
    /// One message may test whether it still is.
    Try,
    /// It is, in these words.
    Denied(String),
}

impl Permissions {
    /// No permission error was read that still means anything.
    pub(crate) fn are_quiet(&self) -> bool {
        !self.are_loud
    }

    fn listen(&mut self) {
        self.are_loud = self.hear || !(self.troubles.is_empty() && self.topics.is_empty() && self.doubtful.is_empty());
    }

    /// An error was read. Who is acknowledged from now on is not denied, or not always.
    pub(crate) fn hear(&mut self) {
        self.hear = true;
        self.are_loud = true;
    }

    /// Answers are counted: marks have errors that are not explained.
    pub(crate) fn have_trouble(&self) -> bool {
        !self.troubles.is_empty()
    }

    /// Topics are denied.
    pub(crate) fn deny(&self) -> bool {
        !self.topics.is_empty()
    }

    /// Topics need marks of their own.
    pub(crate) fn watch(&self) -> bool {
        !self.topics.is_empty() || !self.doubtful.is_empty() || self.run.is_some() || self.samples > 0
    }

    // ---- Marks ----

    pub(super) fn trouble(&self, epoch: u32, mark: u64) -> Option<&Trouble> {
        self.troubles.iter().find(|trouble| trouble.epoch == epoch && trouble.mark == mark)
    }

    pub(super) fn trouble_mut(&mut self, epoch: u32, mark: u64) -> Option<&mut Trouble> {
        self.troubles.iter_mut().find(|trouble| trouble.epoch == epoch && trouble.mark == mark)
    }

    /// Messages under this mark may be denied: they are not sent again.
    pub(crate) fn doubt(&self, epoch: u32, mark: u64) -> bool {
        self.trouble(epoch, mark).is_some()
    }

    /// The oldest mark with errors, if there is no room for one more.
    pub(in crate::handler) fn oldest_of_too_many(&self) -> Option<(u32, u64)> {
        self.troubles.first().filter(|_| self.troubles.len() >= MOST_TROUBLES).map(|oldest| (oldest.epoch, oldest.mark))
    }

    /// The marks that are to be weighed again now. The next time is so much later.
    pub(super) fn take_due(&mut self, now: Nanos, pause: Nanos) -> Vec<(u32, u64)> {
        let mut due = Vec::new();
        for trouble in self.troubles.iter_mut().filter(|trouble| trouble.again_at <= now) {
            trouble.again_at = now.saturating_add(pause);
            due.push((trouble.epoch, trouble.mark));
        }
        due
    }

    /// When the next mark is weighed again.
    #[inline(always)]
    pub(in crate::handler) fn next_due(&self) -> Nanos {
        self.troubles.iter().map(|trouble| trouble.again_at).min().unwrap_or(Nanos::MAX)
    }

    pub(super) fn weigh(&mut self, trouble: Trouble) {
        self.are_loud = true;
        self.troubles.push(trouble);
    }

    pub(in crate::handler) fn take(&mut self, epoch: u32, mark: u64) -> Option<Trouble> {
        let at = self.troubles.iter().position(|trouble| trouble.epoch == epoch && trouble.mark == mark)?;
        let trouble = self.troubles.remove(at);
        self.forget_passing();
        Some(trouble)
    }

    fn forget_passing(&mut self) {
        if self.troubles.is_empty() && !self.hear {
            self.passing.clear();
        }
    }

    /// An attempt under this mark will have no answer that counts: it may be one of those that errors are about.
    pub(crate) fn give_up(&mut self, epoch: u32, mark: u64) {
        if let Some(trouble) = self.trouble_mut(epoch, mark) {
            trouble.given_up += 1;
            trouble.open = trouble.open.saturating_sub(1);
        } else {
            *self.given_up.entry((epoch, mark)).or_default() += 1;
        }
    }

    pub(super) fn take_given_up(&mut self, epoch: u32, mark: u64) -> u32 {
        self.given_up.remove(&(epoch, mark)).unwrap_or(0)
    }

    /// A mark has its fence. What was given up under it is of no interest any more.
    pub(crate) fn close(&mut self, epoch: u32, mark: u64) {
        if !self.given_up.is_empty() {
            self.given_up.retain(|&(e, m), _| e != epoch || m > mark);
        }
        while self.runs.front().is_some_and(|run| run.epoch == epoch && run.mark <= mark)
            && let Some(run) = self.runs.pop_front()
        {
            // Without an error under a mark of its own the topic is not what errors are about.
            if !run.ephemeral && !self.doubt(run.epoch, run.mark) && self.doubtful.remove(&run.topic) {
                self.listen();
            }
        }
        if std::mem::take(&mut self.hear) {
            self.forget_passing();
            self.listen();
        }
    }

    /// Errors with these names are explained. Without any others the mark is.
    pub(super) fn explain(&mut self, epoch: u32, mark: u64, names: &HashMap<Box<str>, Named>) {
        let Some(trouble) = self.trouble_mut(epoch, mark) else { return };
        for (name, named) in names {
            if trouble.denials.names.remove(name).is_some() {
                trouble.denials.total = trouble.denials.total.saturating_sub(named.count);
            }
        }
        if trouble.denials.total == 0 {
            self.take(epoch, mark);
        }
    }

    /// Only these epochs still have answers to come.
    pub(crate) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.given_up.retain(|&(epoch, _), _| keep(epoch));
        self.troubles.retain(|trouble| keep(trouble.epoch));
        self.runs.retain(|run| keep(run.epoch));
    }

    /// Permissions may be others now. What was denied before gets marks of its own, so its first errors prove everything.
    pub(crate) fn begin_epoch(&mut self) {
        for topic in std::mem::take(&mut self.topics).into_keys() {
            self.suspect(&topic);
        }
        self.passing.clear();
        self.told.clear();
        self.run = None;
        self.hear = false;
        self.ephemeral.clear();
    }

    // ---- Topics ----

    /// What the server calls this topic in its errors, as far as is known.
    pub(super) fn name_of<'a>(&'a self, topic: &'a str) -> &'a str {
        self.topics.get(topic).map_or(topic, |denied| &denied.name)
    }

    /// A message to this topic was acknowledged.
    pub(crate) fn passed(&mut self, topic: &str) {
        if self.hear || !self.troubles.is_empty() {
            insert(&mut self.passing, topic);
        }
        if !self.doubtful.is_empty() {
            self.doubtful.remove(topic);
        }
        if let Some(denied) = self.topics.get_mut(topic) {
            denied.errors = 0;
            denied.acks += 1;
            if denied.acks >= FORGOTTEN {
                self.topics.remove(topic);
                self.told.remove(topic);
            }
        }
        self.listen();
    }

    /// Whether the topic was acknowledged in the time of these errors.
    pub(super) fn passes(&self, topic: &str) -> bool {
        self.passing.contains(topic) || self.topics.get(topic).is_some_and(|denied| denied.acks > 0)
    }

    /// Errors may be about this topic.
    pub(super) fn suspect(&mut self, topic: &str) {
        self.are_loud = true;
        insert(&mut self.doubtful, topic);
    }

    /// So many messages to this topic were denied. The server calls it by this name; an empty one says that it is not known.
    pub(super) fn learn(&mut self, topic: &str, name: &str, text: &str, errors: u32, now: Nanos) {
        self.are_loud = true;
        self.doubtful.remove(topic);
        let acked = self.passing.remove(topic);
        if self.topics.len() >= MOST_TOPICS && !self.topics.contains_key(topic) {
            self.topics.clear();
        }
        let denied = self.topics.entry(topic.into()).or_default();
        denied.name = name.into();
        denied.text = text.into();
        denied.probe_at = now + PROBE;
        // Acks and errors of one mark have no order.
        denied.errors = if acked { 0 } else { denied.errors.saturating_add(errors) };
        denied.acks = (denied.acks | u32::from(acked)).min(1);
    }

    /// Whether a message to this topic need not be sent. `None`: it is not denied, or only sometimes.
    pub(super) fn word_on(&mut self, topic: &str, now: Nanos) -> Option<Word> {
        let denied = self.topics.get_mut(topic).filter(|denied| denied.acks == 0 || denied.errors >= SURE)?;
        if now < denied.probe_at {
            return Some(Word::Denied(denied.text.to_string()));
        }
        denied.probe_at = now + PROBE;
        Some(Word::Try)
    }

    /// Whether an event is due: one for each topic.
    pub(super) fn is_news(&mut self, topic: &str) -> bool {
        if self.told.contains(topic) {
            return false;
        }
        if self.told.len() >= MOST_TOPICS {
            self.told.clear();
        }
        self.told.insert(topic.into())
    }

    // ---- Marks of their own ----

    /// Whether a fence must stand before this message.
    pub(crate) fn part(&mut self, slot: &Slot) -> bool {
        let topic = slot.topic();
        let is_sample = slot.ephemeral && self.samples > 0;
        if is_sample {
            self.samples -= 1;
        } else if slot.ephemeral || !(self.topics.contains_key(topic) || self.doubtful.contains(topic)) {
            return self.end_run();
        } else if self.run.as_deref() == Some(topic) {
            return false;
        }
        self.run = Some(topic.into());
        true
    }

    /// The message was staged: its topic has this mark for itself, if it has one.
    pub(crate) fn note_staged(&mut self, slot: &Slot) {
        let is_known = self.runs.back().is_some_and(|run| run.epoch == slot.epoch && run.mark == slot.mark);
        if let Some(topic) = self.run.as_ref().filter(|_| !is_known) {
            self.runs.push_back(Run { epoch: slot.epoch, mark: slot.mark, topic: topic.clone(), ephemeral: slot.ephemeral });
        }
    }

    /// Errors may be about ephemeral messages under another name: some of the next find out.
    pub(super) fn sample(&mut self) {
        self.samples = SAMPLES;
    }

    /// The ephemeral topic that has this mark for itself.
    pub(super) fn sampled(&self, epoch: u32, mark: u64) -> Option<&str> {
        self.runs.iter().find(|run| run.ephemeral && run.epoch == epoch && run.mark == mark).map(|run| &*run.topic)
    }

    /// An ephemeral topic has this other name.
    pub(super) fn learn_ephemeral(&mut self, name: &str) {
        insert(&mut self.ephemeral, name);
    }

    pub(super) fn is_ephemeral(&self, name: &str) -> bool {
        self.ephemeral.contains(name)
    }

    /// Nothing of the topic follows now: whether a fence must stand behind it.
    pub(crate) fn end_run(&mut self) -> bool {
        self.run.take().is_some()
    }

    /// What a server's words can make grow (P9).
    #[cfg(any(test, fuzzing))]
    pub(crate) fn sizes(&self) -> [usize; 8] {
        let sets = [&self.doubtful, &self.passing, &self.told, &self.ephemeral].map(HashSet::len);
        [self.troubles.len(), self.given_up.len(), self.topics.len(), self.runs.len(), sets[0], sets[1], sets[2], sets[3]]
    }

    /// The topics and names that are remembered.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().chain(&self.doubtful).chain(&self.told).chain(&self.ephemeral).map(|word| &**word)
    }
}

/// Remembers a topic, as long as these are few.
fn insert(topics: &mut HashSet<Box<str>>, topic: &str) {
    if topics.len() < MOST_TOPICS && !topics.contains(topic) {
        topics.insert(topic.into());
    }
}

/// The figures of a mark.
#[derive(Debug, Default)]
pub(super) struct Account<'a> {
    pub(super) errors: u64,
    /// Messages without an answer.
    pub(super) open: u64,
    /// Messages that are settled, and had no answer.
    pub(super) given_up: u64,
    /// Messages that never have one.
    pub(super) silent: u64,
    /// Names, the errors with each, and the open messages that the server may call so.
    pub(super) names: Vec<(&'a str, u64, u64)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof<'a> {
    /// All open messages were denied.
    All,
    /// Those with these names were.
    Names(Vec<&'a str>),
    /// Nothing is proven before so many more have their answers.
    After(u64),
}

impl<'a> Account<'a> {
    /// `late`: acks had their time, so errors with the name of a message are about no ephemeral one.
    pub(super) fn proof(&self, late: bool) -> Proof<'a> {
        let rest = self.given_up + self.silent;
        if self.errors == self.open + rest {
            return Proof::All;
        }
        // A topic's frames share one fate. So where a name has as many errors as messages, these were denied; or they were not, and as many others were, whose
        // name is not known, and which some mapping sends there while it sends these elsewhere.
        let is_equal = |&(_, errors, open): &(&str, u64, u64)| errors == open && open > 0;
        let equal: u64 = self.names.iter().filter(|name| is_equal(name)).map(|(_, errors, _)| errors).sum();
        let others = self.open.saturating_sub(equal) + rest;
        let nameless = self.errors.saturating_sub(equal);
        let is_proven = |errors: u64| others < errors + nameless || (late && others - self.silent < errors);
        let proven: Vec<&'a str> = self.names.iter().filter(|name| is_equal(name) && is_proven(name.1)).map(|(name, ..)| *name).collect();
        if !proven.is_empty() {
            return Proof::Names(proven);
        }
        let all = (self.open + rest).saturating_sub(self.errors);
        let each = self.names.iter().map(|&(_, errors, open)| if open > errors { open - errors } else { (others + 1).saturating_sub(errors + nameless) });
        Proof::After(each.chain([all]).filter(|&answers| answers > 0).min().unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
