//! What the rules said, and when; and which stream the bus can know of by what it was told.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::topic::{Rule, Rules};

/// A rule from a time on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saying {
    pub(crate) at: u64,
    pub(crate) stream: Option<String>,
    pub(crate) in_flight: Option<u32>,
    pub(crate) create: bool,
    /// Messages that the wire had when it changed.
    pub(crate) under_way: BTreeSet<u64>,
}

impl Saying {
    /// What this rule says, from this time on.
    pub(super) fn of(rule: &Rule, at: u64) -> Self {
        Saying { at, stream: rule.stream.clone(), in_flight: rule.in_flight, create: rule.create, ..Saying::default() }
    }
}

/// All rules of a run by their index.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleBook(pub(crate) BTreeMap<u32, Vec<Saying>>);

impl RuleBook {
    /// One rule for everything.
    pub(crate) fn of(stream: Option<&str>) -> Self {
        Self(BTreeMap::from([(0, vec![Saying { stream: stream.map(Into::into), ..Saying::default() }])]))
    }

    /// The rules at the beginning.
    pub(super) fn begin(rules: &Rules) -> Self {
        RuleBook(rules.iter().map(|rule| (rule.index, vec![Saying::of(rule, 0)])).collect())
    }

    pub(crate) fn at(&self, rule: u32, at: u64) -> Option<&Saying> {
        self.0.get(&rule)?.iter().rfind(|saying| saying.at <= at)
    }

    /// The stream that the rule names at this time.
    pub(crate) fn named(&self, rule: u32, at: u64) -> Option<&str> {
        self.at(rule, at)?.stream.as_deref()
    }

    pub(crate) fn limit(&self, rule: u32, at: u64) -> Option<u32> {
        self.at(rule, at)?.in_flight
    }

    /// Whether the rule was limited at any time.
    pub(crate) fn is_ever_limited(&self, rule: u32) -> bool {
        self.0.get(&rule).is_some_and(|sayings| sayings.iter().any(|saying| saying.in_flight.is_some()))
    }

    /// Whether the rule lets one message go at a time, from here on to there.
    pub(crate) fn is_strict(&self, rule: u32, from: u64, to: u64) -> bool {
        let Some(sayings) = self.0.get(&rule) else { return false };
        let begun = self.limit(rule, from) == Some(1);
        begun && sayings.iter().filter(|saying| saying.at > from && saying.at <= to).all(|saying| saying.in_flight == Some(1))
    }

    /// What a changed rule says, and which messages the wire had by then.
    pub(crate) fn note(&mut self, rule: u32, saying: Saying) {
        self.0.entry(rule).or_default().push(saying);
    }
}

/// The streams that acknowledged the messages of each rule, each with the first time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(BTreeMap<u32, BTreeMap<String, u64>>);

impl Seen {
    pub(crate) fn note(&mut self, rule: u32, stream: &str, at: u64) {
        let first = self.0.entry(rule).or_default().entry(stream.into()).or_insert(at);
        *first = at.min(*first);
    }

    /// The streams that this rule's acknowledgements named before.
    pub(crate) fn before(&self, rule: u32, at: u64) -> impl Iterator<Item = &str> {
        self.0.get(&rule).into_iter().flatten().filter(move |(_, first)| **first < at).map(|(stream, _)| stream.as_str())
    }

    /// That one alone, if there is exactly one.
    pub(crate) fn only(&self, rule: u32, at: u64) -> Option<&str> {
        let mut streams = self.before(rule, at);
        streams.next().filter(|_| streams.next().is_none())
    }
}
