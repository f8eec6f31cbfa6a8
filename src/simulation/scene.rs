//! Twists: what a seed may have beside faults. Several streams and rules, other takers of a topic, windows and rules that change, an API that cannot know.

use super::landscape::{Abroad, Creation, Liar, Lie, Way};
use super::plan::{BUSY, Plan};
use super::reply::Refusal;
use super::rng::Rng;
use super::script::{Fault, Happening, MS, Phase, Trouble};
use super::store::StreamSpec;
use super::twist::Twist;

impl Plan {
    pub(super) fn has(&self, twist: Twist) -> bool {
        self.twists.contains(&twist)
    }

    /// What twists do to rules and streams. In front of the script, which strikes at them.
    pub(super) fn twist_streams(&mut self, rng: &mut Rng) {
        if self.has(Twist::SharedStream) {
            self.share_stream(rng);
        }
        if self.has(Twist::ManyStreams) {
            self.add_streams();
        }
        if self.has(Twist::LongOutage) {
            if !self.streams.iter().any(|spec| spec.name == "S0") {
                self.streams.push(StreamSpec { duplicate_window: self.limits.duplicate_window, ..StreamSpec::new("S0", &["s0.>"]) });
            }
            self.config.set("max_attempts", "0").expect("an option of the plan");
            self.limits.max_attempts = 20_000;
            self.close_at = u64::MAX;
        }
        if self.has(Twist::Mapped)
            && let Some(spec) = self.streams.first_mut()
        {
            spec.subjects = vec![format!("stored.{}", spec.subjects[0])];
        }
        if self.has(Twist::WideRule) && rng.chance(400) {
            let in_flight = rng.pick(&[1, 3, 8]).to_string();
            self.config.set_topic(">", "in_flight", &in_flight).expect("a rule of the plan");
        }
    }

    fn share_stream(&mut self, rng: &mut Rng) {
        let more = [("s0.b.c", "s0.b.>"), ("s0.d", "s0.d"), ("s0.e", "s0.*")];
        for (topic, pattern) in more.into_iter().take(rng.between(1, 3) as usize) {
            if !self.topics.iter().any(|known| known == topic) {
                self.topics.push(topic.into());
            }
            let mut set = |key: &str, value: &str| _ = self.config.set_topic(pattern, key, value).expect("a rule of the plan");
            set("in_flight", if rng.chance(600) { rng.pick(&["1", "2", "6"]) } else { "-1" });
            if rng.chance(600) {
                set("stream", "S0");
            }
        }
    }

    fn add_streams(&mut self) {
        for n in 3..27 {
            let (name, subjects) = (format!("S{n}"), format!("s{n}.>"));
            self.config.set_topic(&subjects, "stream", &name).expect("a rule of the plan");
            self.topics.push(format!("s{n}.a"));
            let window = self.limits.duplicate_window;
            self.streams.push(StreamSpec { duplicate_window: window, ..StreamSpec::new(&name, &[&subjects]) });
        }
    }

    /// What twists do to the script. Behind it, for they need its time of healing.
    pub(super) fn twist_script(&mut self, rng: &mut Rng) {
        self.script.heal_at = self.script.heal_at.max(if self.twists.is_empty() { 0 } else { BUSY });
        let heal_at = self.script.heal_at;
        for twist in self.twists.clone() {
            match twist {
                Twist::Weighted => {
                    let weight = rng.between(1, 9);
                    self.add_way(0, &[("s0.a", 10 - weight), ("s1.a", weight)]);
                }
                Twist::Moves => {
                    let from = rng.below(BUSY);
                    self.add_way(from, &[("s1.a", 1)]);
                }
                Twist::Mapped => {
                    for topic in self.topics.clone().iter().filter(|topic| topic.starts_with("s0.")) {
                        self.script.land.ways.insert(0, Way { topic: topic.clone(), from: 0, targets: vec![(format!("stored.{topic}"), 1)] });
                    }
                }
                Twist::Imported => {
                    let streams: Vec<String> = self.streams.iter().map(|spec| spec.name.clone()).filter(|_| rng.chance(700)).collect();
                    self.script.land.imported.extend(streams);
                }
                Twist::Abroad => self.draw_abroad(rng, false),
                Twist::SameName => self.draw_abroad(rng, true),
                Twist::Liar => self.draw_liar(rng),
                Twist::Windows => self.draw_windows(rng),
                Twist::Deletion => {
                    let stream = rng.pick(&["S0", "S1"]).to_string();
                    self.script.happenings.push_back((rng.below(BUSY), Happening::Deletion { stream }));
                }
                Twist::JetStreamOff => {
                    let (from, to) = stretch(rng, heal_at, 2_000 * MS);
                    self.strike(from, to, Trouble::NoJetStream);
                    self.leave_alone(from, to);
                }
                Twist::ApiBlind => {
                    let trouble = match rng.below(4) {
                        0 => Trouble::ApiSilent,
                        1 => Trouble::ApiUnavailable,
                        2 => Trouble::NoJetStream,
                        _ => Trouble::Denied { pattern: "$JS.>".into() },
                    };
                    // Until the end: nothing that is promised needs it.
                    self.strike(if rng.chance(700) { 0 } else { rng.below(BUSY) }, u64::MAX, trouble);
                }
                Twist::Creations => {
                    let all = [Creation::LostRequest, Creation::LostAnswer, Creation::Unavailable, Creation::Cut];
                    self.script.land.creations = (0..rng.between(1, 3)).map(|_| rng.pick(&all)).collect();
                }
                Twist::MappedDenials => {
                    self.script.land.mapped_denials = true;
                    for _ in 0..rng.between(1, 2) {
                        let pattern = if rng.chance(250) { "$JS.>".into() } else { self.topics[rng.index(self.topics.len())].clone() };
                        let (from, to) = stretch(rng, heal_at, 1_500 * MS);
                        self.strike(from, to, Trouble::Denied { pattern });
                    }
                }
                Twist::Storm => {
                    let from = rng.below(BUSY / 2);
                    self.strike(from, from + rng.between(MS, 2 * BUSY), Trouble::Storm { stream: "S0".into() });
                    if rng.chance(300) {
                        self.messages = 400;
                    }
                }
                Twist::Elections => {
                    for _ in 0..rng.between(1, 2) {
                        let (from, to) = stretch(rng, heal_at, 3_000 * MS);
                        self.leave_alone(from, to);
                    }
                }
                Twist::LongOutage => {
                    let stream = "S0".to_string();
                    self.strike(rng.below(BUSY / 20), 560_000 * MS, Trouble::Leaderless { stream });
                }
                Twist::RuleChanges => self.draw_changes(rng),
                Twist::WideRule | Twist::SharedStream | Twist::ManyStreams => {}
            }
        }
        self.script.happenings.make_contiguous().sort_by_key(|(at, _)| *at);
    }

    fn strike(&mut self, from: u64, to: u64, trouble: Trouble) {
        self.script.phases.push(Phase { from, to, trouble });
    }

    /// No stream has a leader.
    fn leave_alone(&mut self, from: u64, to: u64) {
        for stream in self.stream_names() {
            self.strike(from, to, Trouble::Leaderless { stream });
        }
    }

    /// From this time on the first topic goes there.
    fn add_way(&mut self, from: u64, targets: &[(&str, u64)]) {
        let Some(topic) = self.topics.first().cloned() else { return };
        let targets = targets.iter().map(|&(target, weight)| (target.to_string(), weight)).collect();
        self.script.land.ways.push(Way { topic, from, targets });
        if !self.streams.iter().any(|spec| spec.name == "S1") {
            self.streams.push(StreamSpec { duplicate_window: self.limits.duplicate_window, ..StreamSpec::new("S1", &["s1.>"]) });
        }
    }

    fn draw_abroad(&mut self, rng: &mut Rng, same_name: bool) {
        let land = Abroad {
            domain: "leaf".into(),
            says_domain: same_name || rng.chance(500),
            refuses: rng.pick(&[0, 30, 300, 1000]),
            silent: rng.pick(&[0, 0, 200, 1000]),
            refusal: rng.pick(&[Refusal::LimitReached, Refusal::Quota, Refusal::Sealed, Refusal::TooMany]),
            delay: rng.pick(&[0, 2 * MS, self.ack_wait * 2]),
        };
        let subjects = rng.pick(&["s0.>", "s0.a", ">"]);
        let subjects = if subjects == ">" { vec!["s0.>", "s1.>", "s2.>"] } else { vec![subjects] };
        self.abroad = vec![StreamSpec::new(if same_name { "S0" } else { "LEAF" }, &subjects)];
        if same_name {
            self.script.domain = Some("hub".into());
            self.script.land.asked_domain = Some("hub".into());
            self.config.set("jetstream_domain", "hub").expect("an option of the plan");
            self.limits.domain = Some("hub".into());
        }
        self.script.land.abroad = Some(land);
    }

    fn draw_liar(&mut self, rng: &mut Rng) {
        let (from, to) = if rng.chance(300) { (0, u64::MAX) } else { stretch(rng, self.script.heal_at, 3_000 * MS) };
        let all = [Lie::NamelessRefusal, Lie::RefusalInAName, Lie::Junk, Lie::ServiceError];
        let says = if rng.chance(600) { vec![rng.pick(&all)] } else { all.to_vec() };
        let pattern = self.topics[rng.index(self.topics.len())].clone();
        self.script.land.liars.push(Liar { pattern, from, to, says, delay: rng.pick(&[0, 5 * MS, self.ack_wait]) });
    }

    fn draw_windows(&mut self, rng: &mut Rng) {
        let ack_wait = self.ack_wait;
        for stream in self.stream_names() {
            for _ in 0..rng.below(3) {
                let window = rng.pick(&[ack_wait, ack_wait * 2, ack_wait * 4, 4_000 * MS, 60_000 * MS]);
                self.script.happenings.push_back((rng.below(BUSY), Happening::Window { stream: stream.clone(), window }));
            }
        }
        if rng.chance(700) {
            // All connections end and none is made for a while: what is in doubt then goes again when the window is another.
            let from = rng.between(BUSY / 4, BUSY);
            self.script.odds.insert(Fault::LoseAck, rng.pick(&[30, 200, 600]));
            self.script.happenings.push_back((from, Happening::LameDuck { grace: MS }));
            self.strike(from, from + rng.between(ack_wait / 2, ack_wait * 6), Trouble::Refusing);
            let stream = self.stream_names()[0].clone();
            let window = rng.pick(&[ack_wait, ack_wait * 2, ack_wait * 4]);
            self.script.happenings.push_back((from + rng.below(ack_wait), Happening::Window { stream, window }));
        }
        // Different from the beginning, too.
        for spec in &mut self.streams {
            if rng.chance(400) {
                spec.duplicate_window = rng.pick(&[ack_wait * 2, 2_000 * MS, 30_000 * MS]);
            }
        }
    }

    fn draw_changes(&mut self, rng: &mut Rng) {
        for _ in 0..rng.between(1, 4) {
            let topic = self.topics[rng.index(self.topics.len())].clone();
            let family = topic.split('.').next().unwrap_or_default().to_string();
            let pattern = match rng.below(3) {
                0 => topic.clone(),
                _ => format!("{family}.>"),
            };
            let (key, value) = match rng.below(5) {
                0 => ("stream", family.to_uppercase()),
                1 => ("in_flight", "-1".into()),
                _ => ("in_flight", rng.pick(&["1", "1", "2", "5", "40"]).into()),
            };
            self.changes.push((rng.below(BUSY), pattern, key, value));
        }
        self.changes.sort();
    }
}

/// A stretch of time in front of the healing.
fn stretch(rng: &mut Rng, heal_at: u64, longest: u64) -> (u64, u64) {
    let from = rng.below(heal_at);
    (from, (from + rng.between(MS, longest)).min(heal_at))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Twist;
    use crate::simulation::plan::Plan;
    use crate::simulation::script::Profile;

    #[test]
    fn every_twist_is_drawn_alone_and_in_company() {
        let (mut alone, mut together) = (BTreeSet::new(), BTreeSet::new());
        let mut calm = BTreeSet::new();
        for seed in 0..2000 {
            let twists = Twist::draw(seed);
            if let [twist] = twists.as_slice() {
                alone.insert(*twist);
                if Plan::draw(seed).script.profile == Profile::Calm {
                    calm.insert(*twist);
                }
            } else {
                together.extend(twists);
            }
        }
        assert_eq!(alone.union(&together).count(), Twist::ALL.len());
        assert_eq!(alone.len(), Twist::ALL.len() - 1, "many streams come with windows that change");
        assert!(calm.len() > Twist::ALL.len() / 2, "without any fault: {calm:?}");
    }
}
