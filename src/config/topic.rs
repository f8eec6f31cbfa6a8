//! Topic rules: which pattern a topic matches, and how the topics under it are handled.

use std::time::Duration;

use crate::base::error::{Error, Result, Status};
use crate::base::names::{MAX_TOPIC, STREAM_ALLOWED, is_stream_name, quoted, subject_fault};
use crate::config::row::{Row, choices, find};

choices! {
    /// Whether messages are acknowledged.
    Mode {
        /// Through JetStream: stored and acknowledged.
        Persistent = "persistent",
        /// Through core NATS: at most once, never acknowledged.
        Ephemeral = "ephemeral",
    }

    /// Whether a missing stream is created.
    Create {
        /// It is not.
        Never = "never",
        /// It is, with the rule's creation keys.
        IfMissing = "if_missing",
    }

    /// Where a created stream keeps its messages.
    Storage {
        /// On disk.
        File = "file",
        /// In memory: gone when the server stops.
        Memory = "memory",
    }

    /// When a created stream forgets messages.
    Retention {
        /// By its limits.
        Limits = "limits",
        /// When every consumer has acknowledged it; without consumers at once.
        Interest = "interest",
        /// When one consumer has acknowledged it.
        WorkQueue = "workqueue",
    }

    /// What a created stream does at its limits.
    Discard {
        /// It drops the oldest messages.
        Old = "old",
        /// It refuses new ones.
        New = "new",
    }
}

const TEN_YEARS_MS: u64 = 10 * 365 * 24 * 3_600_000;
const NO_LIMIT: &str = "no limit";

type Key = Row<Rule>;

/// Every key of a topic rule.
pub(crate) const TOPIC_KEYS: &[Row<Rule>] = &[
    Key::choice("mode", "persistent", Mode::NAMES, |r, v| r.mode = Mode::from_name(v)).doc(
        "`persistent`: stored by a stream, acknowledged, reported. `ephemeral`: sent once and counted, never acknowledged; the keys below have no effect then.",
    ),
    Key::text("stream", "", STREAM_ALLOWED, is_stream_name, |r, v| r.stream = v.map(str::to_owned)).doc(
        "The stream that takes these topics. It is checked once, before the first message is sent, and acknowledgements of another stream do not count. Without \
         it any stream may answer.",
    ),
    Key::limit("in_flight", 1..=1_000_000, "messages", "the window alone", |r, v| r.in_flight = v.and_then(|v| u32::try_from(v).ok()))
        .doc("How many messages of this rule may be sent and not acknowledged, on each connection. 1 keeps their order even when the stream refuses some."),
    Key::choice("create", "never", Create::NAMES, |r, v| r.create = Create::from_name(v) == Create::IfMissing)
        .doc("Whether to create the stream when it is missing: `never` or `if_missing`, which needs `stream`. An existing stream is never changed."),
    Key::list("subjects", "subjects, in which `*` and a final `>` are wildcards", |v| subject_fault(v, true).is_none(), |r, v| {
        r.creation.subjects = if v.is_empty() { vec![r.pattern.clone()] } else { v };
    })
    .doc("For creation: the subjects that the stream takes. Not given: the rule's pattern."),
    Key::choice("storage", "file", Storage::NAMES, |r, v| r.creation.storage = Storage::from_name(v)).doc("For creation: where the stream keeps its messages."),
    Key::limit("replicas", 1..=5, "", "the server's default", |r, v| r.creation.replicas = v.and_then(|v| u32::try_from(v).ok()))
        .doc("For creation: how many servers of a cluster hold the stream."),
    Key::choice("retention", "limits", Retention::NAMES, |r, v| r.creation.retention = Retention::from_name(v)).doc(
        "For creation: when the stream forgets a message: at its `limits`, when every consumer acknowledged it (`interest`; without consumers it keeps nothing), \
         or when one did (`workqueue`).",
    ),
    Key::choice("discard", "old", Discard::NAMES, |r, v| r.creation.discard = Discard::from_name(v))
        .doc("For creation: what the stream does at its limits: drop the `old` messages, or refuse the `new` ones, which settle with `STREAM_FULL`."),
    Key::limit("max_msgs", 1..=i64::MAX as u64, "messages", NO_LIMIT, |r, v| r.creation.max_msgs = v.map(u64::cast_signed))
        .doc("For creation: how many messages the stream keeps."),
    Key::limit("max_bytes", 1..=i64::MAX as u64, "bytes", NO_LIMIT, |r, v| r.creation.max_bytes = v.map(u64::cast_signed))
        .doc("For creation: how many bytes the stream keeps."),
    Key::limit("max_age_ms", 100..=TEN_YEARS_MS, "ms", NO_LIMIT, |r, v| r.creation.max_age = v.map(Duration::from_millis))
        .doc("For creation: how long the stream keeps a message."),
    Key::limit("duplicate_window_ms", 100..=TEN_YEARS_MS, "ms", "the server's default", |r, v| {
        r.creation.duplicate_window = v.map(Duration::from_millis);
    })
    .doc("For creation: how long the stream remembers message ids; at most `max_age_ms`. Longer ones allow later retries and cost the server memory."),
];

/// How the topics that match a pattern are handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The rule's place in [`Rules`], for as long as they live.
    pub(crate) index: u32,
    pub(crate) pattern: String,
    pub(crate) mode: Mode,
    pub(crate) stream: Option<String>,
    /// `None`: no limit but the window.
    pub(crate) in_flight: Option<u32>,
    /// Whether a missing stream is created.
    pub(crate) create: bool,
    pub(crate) creation: Creation,
}

/// The stream to create. `None`: no limit, or as the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Creation {
    pub(crate) subjects: Vec<String>,
    pub(crate) storage: Storage,
    pub(crate) replicas: Option<u32>,
    pub(crate) retention: Retention,
    pub(crate) discard: Discard,
    pub(crate) max_msgs: Option<i64>,
    pub(crate) max_bytes: Option<i64>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) duplicate_window: Option<Duration>,
}

impl Rule {
    fn new(index: u32, pattern: &str) -> Self {
        let creation = Creation {
            subjects: vec![pattern.to_owned()],
            storage: Storage::File,
            replicas: None,
            retention: Retention::Limits,
            discard: Discard::Old,
            max_msgs: None,
            max_bytes: None,
            max_age: None,
            duplicate_window: None,
        };
        Rule { index, pattern: pattern.to_owned(), mode: Mode::Persistent, stream: None, in_flight: None, create: false, creation }
    }

    /// What the keys need from each other.
    fn check(&self) -> Result<()> {
        if !self.create {
            return Ok(());
        }
        if self.stream.is_none() {
            return Err(self.conflict("create=if_missing needs stream, the name of the stream to create"));
        }
        if self.creation.subjects.iter().any(|subject| subject == ">") {
            return Err(self.conflict("a stream cannot take the subject >, which holds the server's own; give subjects"));
        }
        match (self.creation.duplicate_window, self.creation.max_age) {
            (Some(window), Some(age)) if window > age => {
                Err(self.conflict("duplicate_window_ms is larger than max_age_ms; the server allows at most the same"))
            }
            _ => Ok(()),
        }
    }

    #[cold]
    fn conflict(&self, text: &str) -> Error {
        Error::new(Status::InvalidOption, format!("topic {}: {text}", quoted(&self.pattern)))
    }
}

/// All topic rules. Index 0 is the rule of the pattern `>`, which every topic matches; indexes never change, because rules are never removed.
///
/// To change rules while running, clone, set, check and swap: readers keep theirs.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    fallback: Rule,
    /// Rules 1, 2, … in the order in which they came.
    more: Vec<Rule>,
    /// The rules without wildcards by length and pattern. They beat every pattern with a wildcard, so they are looked up first.
    literals: Vec<Literal>,
    /// The rules with wildcards, the most specific first: the first that matches is the one.
    wildcards: Vec<Wildcard>,
}

#[derive(Clone, Debug)]
struct Literal {
    index: u32,
    pattern: Box<str>,
}

#[derive(Clone, Debug)]
struct Wildcard {
    index: u32,
    /// The pattern up to its first wildcard.
    prefix: Box<str>,
    /// The rest.
    tail: Box<str>,
}

impl Rules {
    /// Rules looked through for each message, and gates held for them, must stay few (P9).
    const MOST: usize = 1_024;

    /// The rule of `>` alone, with every key at its default.
    pub(crate) fn new() -> Self {
        Rules { fallback: Rule::new(0, ">"), more: Vec::new(), literals: Vec::new(), wildcards: Vec::new() }
    }

    /// Sets a key of the rule with this pattern, which is made when there is none. An error changes nothing.
    pub(crate) fn set(&mut self, pattern: &str, key: &str, value: &str) -> Result<()> {
        check_pattern(pattern)?;
        let row = find(TOPIC_KEYS, "topic key", key)?;
        let in_rule = |error: Error| Error::new(error.status(), format!("topic {}: {}", quoted(pattern), error.message()));
        if let Some(rule) = std::iter::once(&mut self.fallback).chain(&mut self.more).find(|rule| rule.pattern == pattern) {
            return row.apply(rule, value).map_err(in_rule);
        }
        let index = self.len();
        if index >= Self::MOST {
            return Err(Error::new(Status::InvalidOption, format!("topic {}: there are {index} topic rules already, the most allowed", quoted(pattern))));
        }
        let mut rule = Rule::new(index as u32, pattern);
        row.apply(&mut rule, value).map_err(in_rule)?;
        self.more.push(rule);
        self.index();
        Ok(())
    }

    /// Checks what the keys of each rule need from each other. `set` cannot: keys arrive one at a time, `create` perhaps before `stream`.
    pub(crate) fn check(&self) -> Result<()> {
        self.iter().try_for_each(Rule::check)
    }

    /// The most specific rule that the topic matches. Nothing is allocated, and without rules of its own nothing is compared: every publish comes through here.
    #[inline]
    pub(crate) fn matching(&self, topic: &str) -> &Rule {
        if self.more.is_empty() { &self.fallback } else { self.search(topic) }
    }

    fn search(&self, topic: &str) -> &Rule {
        // The length first: it tells most texts apart without a look at them.
        let order = |literal: &Literal| literal.pattern.len().cmp(&topic.len()).then_with(|| (*literal.pattern).cmp(topic));
        let literal = self.literals.binary_search_by(order).ok().and_then(|at| self.literals.get(at));
        if let Some(literal) = literal {
            return self.get(literal.index);
        }
        self.wildcards.iter().find(|wildcard| wildcard.matches(topic)).map_or(&self.fallback, |wildcard| self.get(wildcard.index))
    }

    /// The rule with this index; the rule of `>` for one that was never given out.
    pub(crate) fn get(&self, index: u32) -> &Rule {
        (index as usize).checked_sub(1).and_then(|at| self.more.get(at)).unwrap_or(&self.fallback)
    }

    /// How many rules there are: one at least.
    pub(crate) fn len(&self) -> usize {
        self.more.len() + 1
    }

    /// The rules by their index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rule> {
        std::iter::once(&self.fallback).chain(&self.more)
    }

    /// Rebuilds what matching looks through. Rules come by hand and rarely; matching runs for every message.
    fn index(&mut self) {
        let (mut wild, mut literal): (Vec<&Rule>, Vec<&Rule>) = self.more.iter().partition(|rule| rule.pattern.split('.').any(is_wildcard));
        literal.sort_by_key(|rule| (rule.pattern.len(), &rule.pattern));
        wild.sort_by(|a, b| breadth(&a.pattern).cmp(breadth(&b.pattern)));
        self.literals = literal.into_iter().map(|rule| Literal { index: rule.index, pattern: rule.pattern.as_str().into() }).collect();
        self.wildcards = wild.into_iter().map(Wildcard::new).collect();
    }
}

/// How wide a pattern is, token by token: a literal beats `*`, which beats `>`. Patterns that match one topic differ first where this differs, so sorting by it
/// puts the most specific of them first.
fn breadth(pattern: &str) -> impl Iterator<Item = u8> {
    pattern.split('.').map(|token| match token {
        ">" => 2,
        "*" => 1,
        _ => 0,
    })
}

fn is_wildcard(token: &str) -> bool {
    matches!(token, "*" | ">")
}

impl Wildcard {
    fn new(rule: &Rule) -> Self {
        // The tokens in front of the wildcard, each with its dot.
        let length = rule.pattern.split('.').take_while(|token| !is_wildcard(token)).map(|token| token.len() + 1).sum();
        let (prefix, tail) = rule.pattern.split_at_checked(length).unwrap_or(("", &rule.pattern));
        Wildcard { index: rule.index, prefix: prefix.into(), tail: tail.into() }
    }

    fn matches(&self, topic: &str) -> bool {
        let Some(rest) = topic.strip_prefix(&*self.prefix) else { return false };
        if &*self.tail == ">" {
            return !rest.is_empty();
        }
        let mut tokens = rest.split('.');
        for wanted in self.tail.split('.') {
            match (wanted, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(token)) if literal == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

/// Whether two subjects with wildcards have a topic in common. A topic without wildcards overlaps with what covers it.
pub(crate) fn overlaps(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// Checks a rule's pattern.
fn check_pattern(pattern: &str) -> Result<()> {
    let fault = match pattern.as_bytes() {
        [b'$', ..] => Some("begins with `$`, which is reserved for the server"),
        bytes if bytes.len() > MAX_TOPIC => Some("is too long"),
        _ => subject_fault(pattern, true),
    };
    fault.map_or(Ok(()), |fault| {
        let text = format!(
            "the topic pattern {} {fault}; allowed: 1 to {MAX_TOPIC} bytes of tokens with dots between them, where * stands for one token and a final > for one or more",
            quoted(pattern)
        );
        Err(Error::new(Status::InvalidTopic, text))
    })
}

#[cfg(test)]
mod tests;
