//! The ways of messages and questions: mappings, imports, a second JetStream, listeners that answer what they have no say in. `takers` has them go.

use std::collections::{BTreeSet, VecDeque};

use super::reply::Refusal;
use super::rng::Rng;

/// The ways of messages and questions. Empty: every topic has one stream, whose server knows it and is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Landscape {
    pub(crate) ways: Vec<Way>,
    /// Streams of another account: messages reach them, questions do not.
    pub(crate) imported: BTreeSet<String>,
    pub(crate) abroad: Option<Abroad>,
    pub(crate) liars: Vec<Liar>,
    /// What becomes of the next creations of streams.
    pub(crate) creations: VecDeque<Creation>,
    /// The domain of the streams that are meant, as the client was told it (`jetstream_domain`). Then `$JS.API` is another JetStream's.
    pub(crate) asked_domain: Option<String>,
    /// Errors name subjects by a mapping.
    pub(crate) mapped_denials: bool,
}

/// A mapping: from this time on the topic is stored under one of these subjects, by weight.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) topic: String,
    pub(crate) from: u64,
    pub(crate) targets: Vec<(String, u64)>,
}

/// The other JetStream: a leaf node's, or the hub's.
#[derive(Clone, Debug)]
pub(crate) struct Abroad {
    pub(crate) domain: String,
    /// Its acknowledgements name the domain; its refusals never do.
    pub(crate) says_domain: bool,
    /// How often it refuses, and how often it says nothing, in thousandths.
    pub(crate) refuses: u64,
    pub(crate) silent: u64,
    pub(crate) refusal: Refusal,
    /// How much later than usual it answers, at most.
    pub(crate) delay: u64,
}

/// Somebody who subscribes to a topic and answers.
#[derive(Clone, Debug)]
pub(crate) struct Liar {
    pub(crate) pattern: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) says: Vec<Lie>,
    pub(crate) delay: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// An error that would be a proof, if a stream said it.
    NamelessRefusal,
    /// The same in the name of a stream that takes nothing.
    RefusalInAName,
    /// Bytes of another protocol.
    Junk,
    /// A request for help, as services answer it: headers with an error.
    ServiceError,
}

/// What becomes of a request to create a stream, when not what is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    LostRequest,
    LostAnswer,
    Unavailable,
    /// The connection ends, and the request with it.
    Cut,
}

impl Landscape {
    /// The subject under which this message is stored.
    pub(crate) fn target<'a>(&'a self, now: u64, subject: &'a str, rng: &mut Rng) -> &'a str {
        let Some(way) = self.ways.iter().rfind(|way| way.from <= now && way.topic == subject) else { return subject };
        let mut roll = rng.below(way.targets.iter().map(|(_, weight)| weight).sum());
        for (target, weight) in &way.targets {
            if roll < *weight {
                return target;
            }
            roll -= weight;
        }
        subject
    }

    /// Every subject under which this topic is ever stored.
    pub(crate) fn targets<'a>(&'a self, topic: &'a str) -> Vec<&'a str> {
        let ways = self.ways.iter().filter(|way| way.topic == topic);
        let mapped: Vec<&str> = ways.clone().flat_map(|way| way.targets.iter().map(|(target, _)| target.as_str())).collect();
        let plain = ways.map(|way| way.from).min().is_none_or(|from| from > 0);
        mapped.into_iter().chain(plain.then_some(topic)).collect()
    }

    /// The name that an error gives this subject.
    pub(crate) fn shown(&self, subject: &str) -> String {
        if !self.mapped_denials {
            return subject.to_string();
        }
        match subject.strip_prefix("$JS.").and_then(|rest| rest.split_once(".API.")) {
            Some((_, words)) => format!("$JS.API.{words}"),
            None if subject.starts_with("$JS.") => subject.to_string(),
            None => format!("mapped.{subject}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Landscape, Rng, Way};

    #[test]
    fn the_newest_way_counts_and_weights_are_kept() {
        let way = |from, targets: &[(&str, u64)]| Way { topic: "a".into(), from, targets: targets.iter().map(|&(t, w)| (t.into(), w)).collect() };
        let land = Landscape { ways: vec![way(10, &[("b", 1)]), way(20, &[("c", 3), ("d", 1)])], ..Landscape::default() };
        let mut rng = Rng::new(1);
        assert_eq!((land.target(9, "a", &mut rng), land.target(10, "a", &mut rng), land.target(30, "x", &mut rng)), ("a", "b", "x"));
        let c = (0..1000).filter(|_| land.target(20, "a", &mut rng) == "c").count();
        assert!((650..850).contains(&c), "{c}");
        assert_eq!((land.targets("a"), land.targets("x")), (vec!["b", "c", "d", "a"], vec!["x"]));
    }

    #[test]
    fn errors_name_subjects_as_they_are_mapped() {
        let mut land = Landscape::default();
        assert_eq!(land.shown("a.b"), "a.b");
        land.mapped_denials = true;
        assert_eq!(
            (land.shown("a.b"), land.shown("$JS.hub.API.INFO"), land.shown("$JS.API.INFO")),
            ("mapped.a.b".into(), "$JS.API.INFO".into(), "$JS.API.INFO".into())
        );
    }
}
