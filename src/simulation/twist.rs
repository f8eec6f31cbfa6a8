//! Twists: what a seed may have beside faults. `scene` does it to a plan.

use super::rng::Rng;

/// One peculiarity of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Twist {
    /// One rule for the topics of several streams.
    WideRule,
    /// Several rules for the topics of one stream.
    SharedStream,
    /// One topic, two streams, chosen for each message.
    Weighted,
    /// A topic goes to another stream from a time on; with a rule that names the first, acks name another.
    Moves,
    /// The topic is stored under another subject.
    Mapped,
    /// The stream is another account's: its messages arrive, questions about it do not.
    Imported,
    /// A second JetStream takes the topics too.
    Abroad,
    /// The same, with a stream of the same name, and the first one asked by its domain.
    SameName,
    /// Somebody who is no stream answers.
    Liar,
    /// The stream's window is made smaller or larger.
    Windows,
    /// A stream is removed.
    Deletion,
    /// No JetStream for a while: neither streams nor API.
    JetStreamOff,
    /// The API never tells anything.
    ApiBlind,
    /// Creations are lost, cut or answered "unavailable".
    Creations,
    /// Denials under another name.
    MappedDenials,
    /// Rules change while the program runs.
    RuleChanges,
    /// 10023 to everything.
    Storm,
    /// Elections of streams that acknowledged before.
    Elections,
    /// So long without a leader that a message needs more attempts than 4,095.
    LongOutage,
    /// More streams than questions may be open.
    ManyStreams,
}

impl Twist {
    pub(crate) const ALL: &'static [Twist] = &[
        Twist::WideRule,
        Twist::SharedStream,
        Twist::Weighted,
        Twist::Moves,
        Twist::Mapped,
        Twist::Imported,
        Twist::Abroad,
        Twist::SameName,
        Twist::Liar,
        Twist::Windows,
        Twist::Deletion,
        Twist::JetStreamOff,
        Twist::ApiBlind,
        Twist::Creations,
        Twist::MappedDenials,
        Twist::RuleChanges,
        Twist::Storm,
        Twist::Elections,
        Twist::LongOutage,
        Twist::ManyStreams,
    ];
    /// Those that cost much time or allow little beside them.
    const RARE: &'static [Twist] = &[Twist::LongOutage, Twist::ManyStreams];

    /// The twists of a seed: none, one, or some.
    pub(crate) fn draw(seed: u64) -> Vec<Twist> {
        let mut rng = Rng::new(seed ^ 0x7715_7ACB_0B05_0000);
        let usual: Vec<Twist> = Self::ALL.iter().copied().filter(|twist| !Self::RARE.contains(twist)).collect();
        match rng.below(1000) {
            0..350 => Vec::new(),
            350..680 => vec![rng.pick(&usual)],
            680..684 => vec![Twist::LongOutage],
            684..704 => vec![Twist::ManyStreams, Twist::Windows],
            _ => usual.into_iter().filter(|_| rng.chance(160)).collect(),
        }
    }
}
