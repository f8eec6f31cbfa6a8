//! What goes wrong, when: the parts of a fault script, and what the server asks it. [`draw`](super::draw) fills it from a seed.

use std::collections::{BTreeMap, VecDeque};

use super::landscape::Landscape;
use super::reply::{ApiError, Damage, Refusal};
use super::rng::Rng;
use super::truth::matches;

pub(super) const MS: u64 = 1_000_000;

/// One thing that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    // Of one publish.
    LoseAck,
    LateAck,
    DoubleAck,
    StaleAck,
    ReorderAck,
    DamageAck,
    DamageToken,
    AlienReply,
    Refuse(Kind),
    Swallow,
    // Of one connection.
    CutAtByte,
    CutBeforeStore,
    CutAfterStore,
    Choppy,
    SlowPong,
    Deaf,
    Mute,
    LowPayload,
    SecretPayload,
    ServerPings,
    ServerCloses,
    // Of a stretch of time.
    Leaderless,
    SlowCommit,
    DroppedCommit,
    Denied,
    Refusing,
    Stopped,
    ApiSilent,
    ApiUnavailable,
    CoreSubscriber,
    ClientPause,
    InfoUpdate,
    LameDuck,
}

/// The refusals, grouped by what they prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    NoResponders,
    TooMany,
    InProcess,
    Staged,
    Insufficient,
    OddText,
    Unknown5xx,
    Unknown4xx,
    Definite,
}

impl Fault {
    pub(crate) const OF_PUBLISH: &'static [Fault] = &[
        Fault::LoseAck,
        Fault::LateAck,
        Fault::DoubleAck,
        Fault::StaleAck,
        Fault::ReorderAck,
        Fault::DamageAck,
        Fault::DamageToken,
        Fault::AlienReply,
        Fault::Refuse(Kind::NoResponders),
        Fault::Refuse(Kind::TooMany),
        Fault::Refuse(Kind::InProcess),
        Fault::Refuse(Kind::Staged),
        Fault::Refuse(Kind::Insufficient),
        Fault::Refuse(Kind::OddText),
        Fault::Refuse(Kind::Unknown5xx),
        Fault::Refuse(Kind::Unknown4xx),
        Fault::Refuse(Kind::Definite),
        Fault::Swallow,
    ];
    pub(crate) const OF_CONNECTION: &'static [Fault] = &[
        Fault::CutAtByte,
        Fault::CutBeforeStore,
        Fault::CutAfterStore,
        Fault::Choppy,
        Fault::SlowPong,
        Fault::Deaf,
        Fault::Mute,
        Fault::LowPayload,
        Fault::SecretPayload,
        Fault::ServerPings,
        Fault::ServerCloses,
    ];
    pub(crate) const OF_TIME: &'static [Fault] = &[
        Fault::Leaderless,
        Fault::SlowCommit,
        Fault::DroppedCommit,
        Fault::Denied,
        Fault::Refusing,
        Fault::Stopped,
        Fault::ApiSilent,
        Fault::ApiUnavailable,
        Fault::CoreSubscriber,
        Fault::ClientPause,
        Fault::InfoUpdate,
        Fault::LameDuck,
    ];
}

/// How hard a seed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Calm,
    Single(Fault),
    Gentle,
    Brutal,
}

/// The handler's clocks in nanoseconds, so that faults fall before, at and behind them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) ack_wait: u64,
    /// How long a client bears a silent connection.
    pub(crate) give_up: u64,
    /// Publishing ends about here; faults end before twice this time.
    pub(crate) busy: u64,
}

/// What the faults can hit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scene {
    pub(crate) streams: Vec<String>,
    pub(crate) topics: Vec<String>,
    /// Whether the rules name their streams, so that an ack from another one can be told.
    pub(crate) named_streams: bool,
}

/// What becomes of one publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Whether the stream gets it.
    pub(crate) store: bool,
    pub(crate) answer: Answer,
    /// How much later than usual the answer comes.
    pub(crate) delay: u64,
    /// The answer comes a second time, this much later.
    pub(crate) again: Option<u64>,
    /// A message that nobody asked for comes before the answer.
    pub(crate) alien: Option<Alien>,
}

/// What the client hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Truth,
    Silence,
    Damaged(Damage),
    Refusal(Refusal),
}

/// Messages that are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alien {
    /// To this very token, but of another protocol.
    SameToken,
    /// A perfect ack to a token that was never given.
    UnknownToken,
    /// A status message.
    Status,
}

impl Fate {
    pub(crate) const NORMAL: Fate = Fate { store: true, answer: Answer::Truth, delay: 0, again: None, alien: None };
    pub(crate) const LOST_ACK: Fate = Fate { answer: Answer::Silence, ..Fate::NORMAL };
    pub(crate) const SWALLOWED: Fate = Fate { store: false, answer: Answer::Silence, ..Fate::NORMAL };

    pub(crate) fn late(delay: u64) -> Fate {
        Fate { delay, ..Fate::NORMAL }
    }

    pub(crate) fn damaged(damage: Damage) -> Fate {
        Fate { answer: Answer::Damaged(damage), ..Fate::NORMAL }
    }

    /// `store` counts only where the refusal leaves it open.
    pub(crate) fn refused(refusal: Refusal, store: bool) -> Fate {
        Fate { store: store && refusal.may_have_stored(), answer: Answer::Refusal(refusal), ..Fate::NORMAL }
    }
}

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// When the server has read this many bytes, in the middle of whatever it is.
    AtByte(u64),
    /// In front of the k-th publish, counted from 1.
    BeforePublish(u64),
    /// Behind it, before its answer is out.
    AfterPublish(u64),
}

/// How one connection behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnPlan {
    pub(crate) latency_up: u64,
    pub(crate) latency_down: u64,
    /// Unread bytes that the network holds.
    pub(crate) capacity: usize,
    pub(crate) cut: Option<Cut>,
    /// After a cut the client reads what was on its way; else the last frame is torn or all is gone.
    pub(crate) clean_end: bool,
    /// The most bytes that one write or read moves.
    pub(crate) choppy: Option<usize>,
    /// Every PONG and all behind it may be this late, with this probability in thousandths.
    pub(crate) slow_pong: Option<(u64, u64)>,
    /// From this long after the start on nothing arrives any more in either direction.
    pub(crate) deaf_after: Option<u64>,
    /// No INFO ever comes.
    pub(crate) mute: bool,
    pub(crate) max_payload: usize,
    /// The limit that the server applies without telling.
    pub(crate) secret_payload: Option<usize>,
    pub(crate) ping_every: Option<u64>,
    /// The server says why and closes, this long after the start.
    pub(crate) close_after: Option<(u64, &'static str)>,
    /// What the server still reads of a connection that the client gave up: a share of the unread bytes in thousandths, and how much later.
    pub(crate) zombie: (u64, u64),
    /// The subscription to the inbox is refused. Never drawn: it ends a publisher, and has tests of its own.
    pub(crate) deny_inbox: bool,
}

pub(crate) const USUAL_PAYLOAD: usize = 1 << 20;

impl ConnPlan {
    /// A good connection.
    pub(crate) fn calm() -> Self {
        Self {
            latency_up: 50_000,
            latency_down: 50_000,
            capacity: 256 * 1024,
            cut: None,
            clean_end: true,
            choppy: None,
            slow_pong: None,
            deaf_after: None,
            mute: false,
            max_payload: USUAL_PAYLOAD,
            secret_payload: None,
            ping_every: None,
            close_after: None,
            zombie: (0, 0),
            deny_inbox: false,
        }
    }
}

/// Trouble for a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Leaderless {
        stream: String,
    },
    /// Nothing commits until the end; then all does, or what was proposed is lost.
    SlowCommit {
        stream: String,
        dropped: bool,
    },
    Denied {
        pattern: String,
    },
    /// Connections are refused.
    Refusing,
    /// The server's process is stopped.
    Stopped,
    ApiSilent,
    ApiUnavailable,
    /// There is no JetStream in the account that is asked (10039).
    NoJetStream,
    /// Everything that comes to the stream is refused with 10023, stored or not.
    Storm {
        stream: String,
    },
    /// Somebody listens to this subject: no 503 comes any more.
    CoreSubscriber {
        pattern: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) trouble: Trouble,
}

/// Something that the server does to all its connections, or somebody to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Tells a new limit.
    Info {
        max_payload: usize,
    },
    /// Tells that it will go, and closes this much later.
    LameDuck {
        grace: u64,
    },
    /// The stream's duplicate window is changed.
    Window {
        stream: String,
        window: u64,
    },
    Deletion {
        stream: String,
    },
}

/// The whole story of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) profile: Profile,
    pub(crate) phases: Vec<Phase>,
    /// In the order of their times.
    pub(crate) happenings: VecDeque<(u64, Happening)>,
    /// When and how long the client's process stands still: for the world that runs it.
    pub(crate) client_pauses: Vec<(u64, u64)>,
    /// From here on nothing new goes wrong.
    pub(crate) heal_at: u64,
    /// Answers that tests dictate; used up before anything is drawn.
    pub(crate) planned: VecDeque<Fate>,
    pub(crate) planned_connections: VecDeque<ConnPlan>,
    /// What the server says to every creation of a stream.
    pub(crate) refuse_create: Option<ApiError>,
    pub(crate) domain: Option<String>,
    /// Who takes what, beside the streams themselves.
    pub(crate) land: Landscape,
    /// Whether 503 names its subject, as servers from 2.12 on do.
    pub(crate) named_503: bool,
    pub(crate) rng: Rng,
    pub(super) odds: BTreeMap<Fault, u64>,
    pub(super) timing: Timing,
    pub(super) named_streams: bool,
}

impl Script {
    /// Nothing goes wrong but what the caller plans.
    pub(crate) fn calm() -> Self {
        let timing = Timing { ack_wait: 5000 * MS, give_up: 15_000 * MS, busy: 0 };
        Self {
            profile: Profile::Calm,
            phases: Vec::new(),
            happenings: VecDeque::new(),
            client_pauses: Vec::new(),
            heal_at: 0,
            planned: VecDeque::new(),
            planned_connections: VecDeque::new(),
            refuse_create: None,
            domain: None,
            land: Landscape::default(),
            named_503: true,
            rng: Rng::new(0),
            odds: BTreeMap::new(),
            timing,
            named_streams: false,
        }
    }

    /// Whether such trouble is on at this time, and until when.
    pub(crate) fn trouble(&self, now: u64, which: impl Fn(&Trouble) -> bool) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.from <= now && now < phase.to && which(&phase.trouble))
    }

    pub(crate) fn leaderless(&self, now: u64, name: &str) -> bool {
        self.trouble(now, |t| matches!(t, Trouble::Leaderless { stream } if stream == name)).is_some()
    }

    pub(crate) fn denied(&self, now: u64, subject: &str) -> bool {
        self.trouble(now, |t| matches!(t, Trouble::Denied { pattern } if matches(pattern, subject))).is_some()
    }

    /// When everything that ends is over.
    pub(crate) fn ends(&self) -> u64 {
        let phases = self.phases.iter().map(|phase| phase.to).filter(|&to| to < u64::MAX);
        let liars = self.land.liars.iter().map(|liar| liar.to).filter(|&to| to < u64::MAX);
        phases.chain(liars).chain(self.happenings.iter().map(|(at, _)| *at)).chain([self.heal_at]).max().unwrap_or(0)
    }

    pub(crate) fn storm(&self, now: u64, name: &str) -> bool {
        self.trouble(now, |t| matches!(t, Trouble::Storm { stream } if stream == name)).is_some()
    }

    /// What the API answers to every request, if it answers nothing else.
    pub(crate) fn api_error(&self, now: u64) -> Option<ApiError> {
        self.trouble(now, |t| *t == Trouble::NoJetStream).map(|_| ApiError::new(503, 10039, "JetStream not enabled for account"))
    }

    /// The domain of the JetStream that `$JS.API` is.
    pub(crate) fn local_domain(&self) -> Option<&str> {
        match (&self.land.asked_domain, &self.land.abroad) {
            (Some(_), abroad) => abroad.as_ref().map(|abroad| abroad.domain.as_str()),
            (None, _) => self.domain.as_deref(),
        }
    }

    pub(crate) fn core_subscriber(&self, now: u64, subject: &str) -> bool {
        self.trouble(now, |t| matches!(t, Trouble::CoreSubscriber { pattern } if matches(pattern, subject))).is_some()
    }

    /// When the server's process runs again, if it is stopped; else the same time.
    pub(crate) fn awake(&self, mut at: u64) -> u64 {
        while let Some(phase) = self.trouble(at, |t| *t == Trouble::Stopped) {
            at = phase.to;
        }
        at
    }

    /// When what is proposed to this stream now is decided, and whether it is lost, if not at once.
    pub(crate) fn slow_commit(&self, now: u64, name: &str) -> Option<(u64, bool)> {
        let phase = self.trouble(now, |t| matches!(t, Trouble::SlowCommit { stream, .. } if stream == name))?;
        Some((phase.to, matches!(phase.trouble, Trouble::SlowCommit { dropped: true, .. })))
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, Script, Trouble};

    #[test]
    fn a_stopped_server_wakes_behind_the_last_stop() {
        let mut script = Script::calm();
        let stop = |from, to| Phase { from, to, trouble: Trouble::Stopped };
        script.phases = vec![stop(10, 20), stop(20, 30), stop(40, 50)];
        assert_eq!((script.awake(9), script.awake(10), script.awake(25), script.awake(30)), (9, 30, 30, 30));
    }
}
