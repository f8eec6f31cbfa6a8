//! Known: what acks and the API told of streams: which of them take a rule's messages, what was described, and whether a second one may take them too.
//!
//! Facts alone: nothing waits here, and nothing is asked from here. Other rooms read it.

mod seconds;
mod takers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use self::seconds::Seconds;
use self::takers::Taken;
pub(crate) use self::takers::{Taker, Takers};
use crate::base::error::Status;
use crate::base::time::{Nanos, nanos};
use crate::config::topic::overlaps;
use crate::desk::events::EventKind;
use crate::handler::here::Here;
use crate::handler::orders::Orders;
use crate::ledger::slot::StreamId;
use crate::wire::{StreamAnswer, Verdict};

/// Streams that are remembered (P9).
const MOST_STREAMS: usize = 1024;
/// Streams of one name that are told apart by their domains.
const MOST_DOMAINS: usize = 8;
/// Subjects of a stream that are remembered (P9).
const MOST_SUBJECTS: usize = 32;
/// So many acks are looked at when a rule's stream acknowledged for the first time, or was described.
const LOOK_AT: u32 = 64;

/// All that is known of streams.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Those that acknowledged, by name.
    ids: HashMap<Box<str>, Vec<Arc<StreamId>>>,
    /// Those that the API described.
    described: HashMap<Box<str>, Description>,
    /// By rule.
    taken: Vec<Taken>,
    seconds: Seconds,
    /// The carrier's store was not there a moment ago. It recovers its streams first, and says meanwhile that there are none: until then its word does not count.
    unsure_until: Nanos,
    /// The domain that the server says it belongs to; empty: none.
    domain: String,
}

/// What the API told of a stream.
#[derive(Debug, Default)]
struct Description {
    /// Its duplicate window, if that was told.
    window: Option<Nanos>,
    /// Its subjects, unless they are very many.
    subjects: Option<Vec<String>>,
}

impl Known {
    // ---- Acks ----

    /// The streams that acknowledged the rule's messages.
    pub(super) fn takers(&self, rule: u32) -> &Takers {
        static NONE: Takers = Takers::none();
        self.taken.get(rule as usize).map_or(&NONE, |taken| &taken.takers)
    }

    fn taken(&mut self, rule: u32) -> &mut Taken {
        let rule = rule as usize;
        if rule >= self.taken.len() {
            self.taken.resize_with(rule + 1, Taken::default);
        }
        &mut self.taken[rule]
    }

    /// The stream, shared, if it acknowledged messages of the rule before: so it is for nearly every ack.
    #[inline(always)]
    pub(super) fn find(&self, rule: u32, stream: &str, domain: &str) -> Option<Arc<StreamId>> {
        self.taken.get(rule as usize)?.takers.find(stream, domain).map(|taker| Arc::clone(taker.stream()))
    }

    /// The stream, shared.
    pub(super) fn intern(&mut self, stream: &str, domain: &str) -> Arc<StreamId> {
        let named = self.ids.get(stream);
        if let Some(id) = named.and_then(|named| named.iter().find(|id| id.is(stream, domain))) {
            return Arc::clone(id);
        }
        let id = Arc::new(StreamId::new(stream, domain));
        let full = self.ids.len() >= MOST_STREAMS;
        let is_second = named.is_some_and(|named| !named.is_empty());
        if named.map_or(!full, |named| named.len() < MOST_DOMAINS) {
            self.ids.entry(stream.into()).or_default().push(Arc::clone(&id));
        }
        self.seconds.is_a_first_taker(&id);
        if is_second {
            // In another domain: refusals tell no domain.
            self.seconds.add_twin(stream);
        }
        id
    }

    /// The first ack of this stream for a message of the rule. Whether it is the rule's first at all.
    pub(super) fn meet(&mut self, rule: u32, id: &Arc<StreamId>) -> bool {
        let taken = self.taken(rule);
        let first = taken.takers.are_none();
        taken.takers.add(Arc::clone(id));
        taken.to_look_at = LOOK_AT;
        if taken.reached_otherwise {
            taken.takers.mark_indirect(id.name());
        }
        first
    }

    /// The next acks of the rule are looked at.
    #[inline(always)]
    pub(super) fn looks_at(&self, rule: u32) -> bool {
        self.taken.get(rule as usize).is_some_and(|taken| taken.to_look_at > 0)
    }

    /// The API's word about a stream that acknowledged a message to this topic.
    pub(super) fn learn_taker(&mut self, rule: u32, topic: &str, answer: &StreamAnswer) {
        let StreamAnswer::Exists { name, subjects, .. } = answer else { return };
        let taken = self.taken(rule);
        taken.to_look_at = LOOK_AT;
        if !subjects.is_empty() && !subjects.iter().any(|subject| overlaps(subject, topic)) {
            taken.takers.mark_indirect(name);
        }
    }

    /// This stream answered for a message to this topic. If that is none of its subjects, it is reached under another name. True: its subjects may be others by now, and are to be asked for.
    pub(super) fn note_reached(&mut self, rule: u32, topic: &str, stream: &str, here: &Here) -> bool {
        let taken = self.taken(rule);
        taken.to_look_at = taken.to_look_at.saturating_sub(1);
        let Some(taker) = taken.takers.of_name(stream).filter(|taker| !taker.is_indirect()).cloned() else { return false };
        if here.names_stream(rule) || !self.could_describe(taker.stream(), here) || self.takes_by_its_subjects(stream, topic) != Some(false) {
            return false;
        }
        self.taken(rule).takers.mark_indirect(stream);
        true
    }

    /// Some topic reaches its stream under another name: by an import, a mapping or a leaf node. So may one that was never taken.
    fn has_indirect(&self) -> bool {
        self.taken.iter().any(|taken| taken.takers.iter().any(Taker::is_indirect))
    }

    /// Whether the server's word that no stream takes a topic counts: every stream that ever acknowledged the rule was described by it, and has the topics that it took among its
    /// own subjects. Behind an import, a mapping or a leaf node it cannot know.
    pub(super) fn could_know(&self, rule: u32, here: &Here) -> bool {
        let takers = self.takers(rule);
        takers.are_none() || (!takers.are_several() && takers.iter().all(|taker| self.could_describe(taker.stream(), here)) && !self.has_indirect())
    }

    // ---- Descriptions ----

    /// The domain whose API is asked, if that is known.
    fn api_domain<'a>(&'a self, here: &'a Here) -> &'a str {
        here.settings().jetstream_domain.as_deref().unwrap_or(&self.domain)
    }

    /// Whether the API that is asked described this stream.
    pub(super) fn is_described(&self, name: &str) -> bool {
        self.described.contains_key(name)
    }

    /// The same, of one that acknowledged: an equal name in another domain is another stream.
    fn could_describe(&self, id: &StreamId, here: &Here) -> bool {
        let asked = self.api_domain(here);
        (id.domain().is_empty() || asked.is_empty() || asked == id.domain()) && self.is_described(id.name())
    }

    /// Whether the stream takes this topic, by its own subjects. `None`: they are not known.
    fn takes_by_its_subjects(&self, stream: &str, topic: &str) -> Option<bool> {
        let subjects = self.described.get(stream)?.subjects.as_ref().filter(|subjects| !subjects.is_empty())?;
        Some(subjects.iter().any(|subject| overlaps(subject, topic)))
    }

    /// Whether this topic surely goes to another stream than the one that alone acknowledged its rule so far: that one has not got it among its subjects.
    pub(super) fn goes_elsewhere(&self, rule: u32, topic: &str, here: &Here) -> bool {
        self.takers(rule).only().is_some_and(|taker| self.is_stranger(rule, taker, topic, here))
    }

    /// The same, of one of several.
    pub(super) fn is_stranger_to(&self, rule: u32, stream: &str, topic: &str, here: &Here) -> bool {
        self.takers(rule).of_name(stream).is_some_and(|taker| self.is_stranger(rule, taker, topic, here))
    }

    fn is_stranger(&self, rule: u32, taker: &Taker, topic: &str, here: &Here) -> bool {
        !here.names_stream(rule)
            && !taker.is_indirect()
            && self.could_describe(taker.stream(), here)
            && self.takes_by_its_subjects(taker.name(), topic) == Some(false)
    }

    /// The API described a stream. `None`: too many are known. Whether its duplicate window is smaller than was believed.
    pub(super) fn learn_description(&mut self, name: &str, window: Option<Duration>, subjects: &[String], here: &Here) -> Option<bool> {
        if self.described.len() >= MOST_STREAMS && !self.is_described(name) {
            return None;
        }
        let window = window.map(nanos);
        let subjects = (subjects.len() <= MOST_SUBJECTS).then(|| subjects.to_vec());
        let before = self.described.insert(name.into(), Description { window, subjects }).and_then(|before| before.window);
        let assumed = nanos(here.settings().assume_duplicate_window);
        Some(window.is_some_and(|window| window < before.unwrap_or(assumed)))
    }

    /// A rule names a stream with these subjects, or is known by it: is its pattern among them?
    pub(super) fn learn_subjects(&mut self, rule: u32, subjects: &[String], here: &Here) {
        let pattern = &here.rule(rule).pattern;
        self.taken(rule).reached_otherwise = !subjects.iter().any(|subject| overlaps(subject, pattern));
    }

    /// Another server, perhaps of another domain: what it could know is not known.
    pub(super) fn enter_domain(&mut self, domain: &str, here: &Here) {
        self.seconds.forget_local();
        if self.domain != domain {
            domain.clone_into(&mut self.domain);
            if here.settings().jetstream_domain.is_none() {
                self.described.clear();
            }
        }
    }

    /// The carrier's store was not there: until then nobody's word that a stream is not there counts.
    pub(super) fn doubt_absence(&mut self, until: Nanos) {
        self.unsure_until = until;
    }

    pub(super) fn doubts_absence(&self, now: Nanos) -> bool {
        now < self.unsure_until
    }

    // ---- Windows ----

    /// The streams that a rule's messages may be in: the one that it names, else those that acknowledged them.
    pub(super) fn streams_of<'a>(&'a self, rule: u32, here: &'a Here) -> Vec<&'a str> {
        match &here.rule(rule).stream {
            Some(named) => vec![named.as_str()],
            None => self.takers(rule).iter().map(Taker::name).collect(),
        }
    }

    fn window(&self, stream: &str) -> Option<Nanos> {
        self.described.get(stream)?.window
    }

    /// Whether the stream of this name that the API described is the one that acknowledged.
    fn is_its_own(&self, taker: &Taker, here: &Here) -> bool {
        !taker.is_indirect() && self.could_describe(taker.stream(), here)
    }

    /// The duplicate window that holds for a rule's messages: its stream's; where that is not known, the least of its streams' and of what is assumed.
    pub(super) fn window_of(&mut self, rule: u32, here: &Here, orders: &mut Orders) -> Nanos {
        let assumed = nanos(here.settings().assume_duplicate_window);
        // A window counts as it is only if it is surely that of the stream: one of its name may stand elsewhere, with another window.
        let window_of = |taker: &Taker| self.window(taker.name()).map(|window| if self.is_its_own(taker, here) { window } else { window.min(assumed) });
        let known = match here.rule(rule).stream.as_deref() {
            Some(named) => {
                let taken = self.taken.get(rule as usize);
                let is_other = taken.is_some_and(|taken| taken.reached_otherwise || taken.takers.iter().any(|taker| !self.is_its_own(taker, here)));
                self.window(named).map(|window| if is_other { window.min(assumed) } else { window })
            }
            None => match self.takers(rule).only() {
                Some(taker) => window_of(taker),
                None => self.takers(rule).iter().filter_map(window_of).min().map(|least| least.min(assumed)),
            },
        };
        if let Some(window) = known {
            return window;
        }
        if !std::mem::replace(&mut self.taken(rule).told_unknown, true) {
            let pattern = &here.rule(rule).pattern;
            let text = format!("the duplicate window of the stream for {pattern:?} is not known; {} s are assumed", assumed as f64 / 1e9);
            orders.tell(EventKind::WindowUnknown, Status::Ok, 0, pattern, text);
        }
        assumed
    }

    // ---- Seconds ----

    /// A message that was sent once was acknowledged.
    pub(super) fn remember_acked(&mut self, id: u64) {
        self.seconds.remember(id);
    }

    /// Two streams have this name.
    pub(super) fn add_twin(&mut self, name: &str) {
        self.seconds.add_twin(name);
    }

    /// Whether this stream was the first to acknowledge some message. The second: whether one of its name, in another domain, was.
    fn was_first(&self, stream: &str, domain: &str) -> (bool, bool) {
        let ids = self.ids.get(stream).map_or(&[][..], Vec::as_slice);
        let same = ids.iter().any(|id| id.is(stream, domain));
        (same, ids.iter().any(|id| !id.is(stream, domain)))
    }

    /// An answer for a message that is settled.
    pub(super) fn hear_late(&mut self, id: u64, verdict: &Verdict<'_>) {
        match verdict {
            // The stream that acknowledged first remembers the id.
            Verdict::Stored { duplicate: true, .. } | Verdict::Alien => {}
            Verdict::Stored { stream, domain, .. } => {
                let (was_first, has_namesake) = self.was_first(stream, domain);
                // Of one name, and even with the same sequence: a stream acknowledges an attempt once.
                if has_namesake || self.seconds.remembers(id) {
                    self.seconds.add_twin(stream);
                }
                if !was_first {
                    self.seconds.add_late(stream, domain);
                }
            }
            Verdict::Refused(refusal) => {
                if let Some(stream) = &refusal.stream
                    && self.seconds.remembers(id)
                {
                    self.seconds.add_twin(stream);
                }
            }
        }
    }

    /// Whether a refusal by this stream proves that a message of the rule was not stored: no other can have taken it, as far as acks tell.
    pub(super) fn is_only_taker(&self, rule: u32, stream: &str, here: &Here) -> bool {
        (here.names_stream(rule) || self.seconds.are_all_named(stream)) && !self.seconds.are_two(stream) && self.takers(rule).allow_proof(stream)
    }

    /// Whether the API that is asked is that of another domain than the server's.
    fn asks_elsewhere(&self, here: &Here) -> bool {
        here.settings().jetstream_domain.as_ref().is_some_and(|domain| *domain != self.domain)
    }

    /// With the API of another domain the local store may take a topic too, and refuse it under an equal stream name: refusals carry no domain. So it is asked. True: it is to be asked now.
    pub(super) fn asks_local(&mut self, topic: &str, here: &Here) -> bool {
        self.asks_elsewhere(here) && here.is_online() && self.seconds.asks_local(topic)
    }

    /// Whether only one store can have refused a message to this topic. While the local one has not said that it takes none, nothing is proven.
    pub(super) fn has_one_store(&self, topic: &str, here: &Here) -> bool {
        !self.asks_elsewhere(here) || self.seconds.takes_locally(topic) == Some(false)
    }

    pub(super) fn learn_local(&mut self, topic: Box<str>, answer: &StreamAnswer) {
        let takes = match answer {
            // A server with a domain has a store: that nobody answers for it now proves nothing.
            StreamAnswer::Disabled { nobody, .. } => Some(nobody.is_some() && !self.domain.is_empty()),
            StreamAnswer::None => Some(false),
            StreamAnswer::Exists { .. } | StreamAnswer::Denied | StreamAnswer::Refused { .. } | StreamAnswer::Condition { .. } => Some(true),
            StreamAnswer::Unavailable { .. } => None,
        };
        self.seconds.learn_local(topic, takes);
    }

    /// The largest of its lists that a server's words can make grow (P9).
    #[cfg(any(test, fuzzing))]
    pub(crate) fn size(&self) -> usize {
        [self.ids.len(), self.described.len(), self.seconds.size()].into_iter().max().unwrap_or(0)
    }
}
