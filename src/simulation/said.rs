//! What was answered to an attempt, by whom, and which acknowledgement counts.

use super::book::RuleBook;
use super::history::{Limits, Message};
use super::truth::{Attempt, Told, Truth};

/// An answer to an attempt, whoever gave it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) told: Told,
    pub(super) stream: Option<&'a str>,
    domain: Option<&'a str>,
    pub(super) read: u64,
}

/// All answers to an attempt that were read.
pub(super) fn said<'a>(truth: &'a Truth, attempt: &'a Attempt) -> impl Iterator<Item = Said<'a>> {
    let domain = truth.domain.as_deref().filter(|_| attempt.told == Told::Ack);
    let own = attempt.answered.map(|read| Said { told: attempt.told, stream: attempt.said_by.as_deref(), domain, read });
    let others = attempt.words.iter().filter_map(|word| {
        let read = word.read?;
        Some(Said { told: word.told, stream: word.stream.as_deref(), domain: word.domain.as_deref(), read })
    });
    own.into_iter().chain(others)
}

impl Said<'_> {
    /// Whether the rule names another stream than the one that says this.
    pub(super) fn is_foreign(&self, rules: &RuleBook, limits: &Limits, rule: u32) -> bool {
        let (Some(named), Some(stream)) = (rules.named(rule, self.read), self.stream) else { return false };
        named != stream || (limits.domain.is_some() && self.domain.is_some() && self.domain != limits.domain.as_deref())
    }
}

/// When the client had read the first acknowledgement that counts, and its stream.
pub(super) fn first_ack<'a>(rules: &RuleBook, truth: &'a Truth, limits: &Limits, message: &Message, attempts: &[&'a Attempt]) -> Option<(u64, &'a str)> {
    let all = attempts.iter().flat_map(|attempt| said(truth, attempt));
    let acks = all.filter(|said| said.told == Told::Ack && !said.is_foreign(rules, limits, message.rule));
    acks.min_by_key(|said| said.read).map(|said| (said.read, said.stream.unwrap_or_default()))
}
