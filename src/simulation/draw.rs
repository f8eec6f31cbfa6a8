//! A script from a seed. Every script heals, so that every message reaches its outcome.

use std::collections::BTreeMap;

use super::reply::{Damage, Refusal};
use super::rng::Rng;
use super::script::{Alien, ConnPlan, Cut, Fate, Fault, Happening, Kind, MS, Phase, Profile, Scene, Script, Timing, Trouble, USUAL_PAYLOAD};

impl Script {
    /// The script of a seed.
    pub(crate) fn draw(seed: u64, timing: Timing, scene: &Scene) -> Self {
        let mut rng = Rng::new(seed);
        let all: Vec<Fault> = [Fault::OF_PUBLISH, Fault::OF_CONNECTION, Fault::OF_TIME].concat();
        let profile = match rng.below(100) {
            0..10 => Profile::Calm,
            10..45 => Profile::Single(rng.pick(&all)),
            45..75 => Profile::Gentle,
            _ => Profile::Brutal,
        };
        Self::draw_profile(seed, profile, timing, scene)
    }

    /// A script of this hardness.
    pub(crate) fn draw_profile(seed: u64, profile: Profile, timing: Timing, scene: &Scene) -> Self {
        // Not the seed itself: the profile was drawn from that.
        let mut rng = Rng::new(seed ^ 0x5C41_97BA_D5EE_D000);
        let mut script = Self { profile, timing, named_streams: scene.named_streams, rng: rng.fork(), ..Self::calm() };
        if profile != Profile::Calm {
            script.heal_at = rng.between(timing.busy / 2, timing.busy * 2);
        }
        script.named_503 = rng.chance(500);
        script.domain = rng.chance(100).then(|| "hub".into());
        script.odds = draw_odds(profile, &mut rng);
        for &fault in Fault::OF_TIME {
            let times = if rng.chance(script.odds.get(&fault).copied().unwrap_or(0)) { rng.between(1, 3) } else { 0 };
            for _ in 0..times {
                script.draw_trouble(fault, scene, &mut rng);
            }
        }
        script.happenings.make_contiguous().sort_by_key(|(at, _)| *at);
        script.client_pauses.sort_unstable();
        script
    }

    fn draw_trouble(&mut self, fault: Fault, scene: &Scene, rng: &mut Rng) {
        let from = rng.below(self.heal_at);
        let Timing { ack_wait, give_up, .. } = self.timing;
        let longest = rng.pick(&[ack_wait / 4, ack_wait, ack_wait * 3, give_up * 2]);
        let to = (from + rng.between(MS, longest.max(MS))).min(self.heal_at);
        let stream = scene.streams.get(rng.index(scene.streams.len())).cloned();
        let topic = scene.topics.get(rng.index(scene.topics.len())).cloned();
        let trouble = match fault {
            Fault::Leaderless => stream.map(|stream| Trouble::Leaderless { stream }),
            Fault::SlowCommit => stream.map(|stream| Trouble::SlowCommit { stream, dropped: false }),
            Fault::DroppedCommit => stream.map(|stream| Trouble::SlowCommit { stream, dropped: true }),
            Fault::Denied => if rng.chance(200) { Some("$JS.API.>".into()) } else { topic }.map(|pattern| Trouble::Denied { pattern }),
            Fault::CoreSubscriber => topic.map(|pattern| {
                // Somebody who listens matters only when the stream does not.
                self.phases.extend(stream.map(|stream| Phase { from, to, trouble: Trouble::Leaderless { stream } }));
                Trouble::CoreSubscriber { pattern }
            }),
            Fault::Refusing => Some(Trouble::Refusing),
            Fault::Stopped => Some(Trouble::Stopped),
            Fault::ApiSilent => Some(Trouble::ApiSilent),
            Fault::ApiUnavailable => Some(Trouble::ApiUnavailable),
            Fault::ClientPause => {
                self.client_pauses.push((from, to - from));
                None
            }
            Fault::InfoUpdate => {
                let max_payload = rng.pick(&[USUAL_PAYLOAD, USUAL_PAYLOAD / 2, 4096, 1024]);
                self.happenings.push_back((from, Happening::Info { max_payload }));
                None
            }
            Fault::LameDuck => {
                self.happenings.push_back((from, Happening::LameDuck { grace: rng.between(MS, longest.max(MS)) }));
                None
            }
            _ => None,
        };
        self.phases.extend(trouble.map(|trouble| Phase { from, to, trouble }));
    }

    /// What becomes of the next publish.
    pub(crate) fn fate(&mut self, now: u64) -> Fate {
        if let Some(fate) = self.planned.pop_front() {
            return fate;
        }
        let mut roll = self.rng.below(1000);
        let of_publish = |&(fault, _): &(&Fault, &u64)| Fault::OF_PUBLISH.contains(fault);
        for (&fault, &odds) in self.odds.iter().filter(of_publish) {
            if roll < odds {
                return if now < self.heal_at { self.fate_of(fault) } else { Fate::NORMAL };
            }
            roll -= odds;
        }
        Fate::NORMAL
    }

    fn fate_of(&mut self, fault: Fault) -> Fate {
        let (ack_wait, coin) = (self.timing.ack_wait, self.rng.chance(500));
        let rng = &mut self.rng;
        match fault {
            Fault::LoseAck => Fate::LOST_ACK,
            Fault::Swallow => Fate::SWALLOWED,
            // Just before, at and long after the timeout.
            Fault::LateAck => Fate::late(rng.between(ack_wait * 9 / 10, ack_wait * 5 / 2)),
            Fault::DoubleAck => Fate { again: Some(rng.below(5 * MS)), ..Fate::NORMAL },
            // So late that the slot may have another message.
            Fault::StaleAck => Fate { again: Some(rng.between(10 * MS, 3 * ack_wait)), ..Fate::NORMAL },
            Fault::ReorderAck => Fate::late(rng.below(20 * MS)),
            Fault::DamageAck if self.named_streams && rng.chance(100) => Fate::damaged(Damage::OtherStream),
            Fault::DamageAck => Fate::damaged(rng.pick(Damage::ALWAYS)),
            Fault::DamageToken => Fate::damaged(Damage::Token),
            Fault::AlienReply => Fate { alien: Some(rng.pick(&[Alien::SameToken, Alien::UnknownToken, Alien::Status])), ..Fate::NORMAL },
            Fault::Refuse(kind) => {
                let refusal = match kind {
                    Kind::NoResponders => Refusal::NoResponders,
                    Kind::TooMany => rng.pick(&[Refusal::TooMany, Refusal::Unavailable]),
                    Kind::InProcess => Refusal::InProcess,
                    Kind::Staged => Refusal::StagedDuplicate,
                    Kind::Insufficient => rng.pick(&[Refusal::Insufficient, Refusal::SequenceMismatch]),
                    Kind::OddText => Refusal::OddStoreFailure,
                    Kind::Unknown5xx => Refusal::Unknown5xx,
                    Kind::Unknown4xx => Refusal::Unknown4xx,
                    Kind::Definite => rng.pick(&[Refusal::LimitReached, Refusal::Quota, Refusal::Sealed]),
                };
                // Late and repeated refusals meet the next attempt of their message.
                let delay = if rng.chance(100) { rng.below(ack_wait * 2) } else { 0 };
                let again = rng.chance(100).then(|| rng.below(ack_wait));
                Fate { delay, again, ..Fate::refused(refusal, coin) }
            }
            _ => Fate::NORMAL,
        }
    }

    /// How the next connection behaves.
    pub(crate) fn connection(&mut self, now: u64) -> ConnPlan {
        if let Some(plan) = self.planned_connections.pop_front() {
            return plan;
        }
        let mut plan = ConnPlan::calm();
        if self.profile == Profile::Calm {
            return plan;
        }
        let (ack_wait, left) = (self.timing.ack_wait, self.heal_at.saturating_sub(now));
        let mut rng = self.rng.fork();
        plan.latency_up = rng.between(10_000, 2 * MS);
        plan.latency_down = rng.between(10_000, 2 * MS);
        plan.capacity = rng.pick(&[4096, 64 * 1024, 1 << 20]);
        if left == 0 {
            return plan;
        }
        let mut hit = |fault| rng.chance(self.odds.get(&fault).copied().unwrap_or(0));
        let hits: Vec<Fault> = Fault::OF_CONNECTION.iter().copied().filter(|&fault| hit(fault)).collect();
        for fault in hits {
            match fault {
                // A small number hits the handshake.
                Fault::CutAtByte => plan.cut = Some(Cut::AtByte(rng.pick(&[300, 3000, 30_000]) * rng.below(1000) / 1000)),
                Fault::CutBeforeStore => plan.cut = Some(Cut::BeforePublish(rng.between(1, 60))),
                Fault::CutAfterStore => plan.cut = Some(Cut::AfterPublish(rng.between(1, 60))),
                Fault::Choppy => plan.choppy = Some(rng.pick(&[1, 7, 60, 500])),
                Fault::SlowPong => plan.slow_pong = Some((rng.between(1, 2 * ack_wait), 200)),
                Fault::Deaf => plan.deaf_after = Some(rng.below(left)),
                Fault::Mute => plan.mute = true,
                Fault::LowPayload => plan.max_payload = rng.pick(&[4096, 1024, 512]),
                Fault::SecretPayload => plan.secret_payload = Some(rng.pick(&[4096, 1024, 512])),
                Fault::ServerPings => plan.ping_every = Some(rng.between(MS, 2000 * MS)),
                Fault::ServerCloses => plan.close_after = Some((rng.below(left), rng.pick(&["Stale Connection", "Slow Consumer", "Server Shutdown"]))),
                _ => {}
            }
        }
        plan.clean_end = rng.chance(500);
        plan.zombie = if rng.chance(500) { (rng.between(1, 1000), rng.below(ack_wait)) } else { (0, 0) };
        plan
    }
}

/// The odds of each fault in thousandths: per publish, per connection, or of being in the script at all.
fn draw_odds(profile: Profile, rng: &mut Rng) -> BTreeMap<Fault, u64> {
    let mut odds = BTreeMap::new();
    let groups: [(&[Fault], u64, u64); 3] = [(Fault::OF_PUBLISH, 5, 40), (Fault::OF_CONNECTION, 60, 250), (Fault::OF_TIME, 100, 400)];
    for (faults, gentle, brutal) in groups {
        for &fault in faults {
            let is_publish = Fault::OF_PUBLISH.contains(&fault);
            let value = match profile {
                Profile::Calm => 0,
                Profile::Single(only) if only != fault => 0,
                Profile::Single(_) if is_publish => rng.pick(&[20, 100, 300]),
                Profile::Single(_) => 1000,
                // Each seed leaves most faults out, or all seeds would look alike.
                Profile::Gentle if rng.chance(300) => rng.between(1, gentle),
                Profile::Brutal if rng.chance(500) => rng.between(1, brutal),
                Profile::Gentle | Profile::Brutal => 0,
            };
            odds.insert(fault, value);
        }
    }
    if let Profile::Single(fault) = profile {
        odds.extend(companion(fault));
    }
    odds
}

/// Some faults show only together with another one.
fn companion(fault: Fault) -> Option<(Fault, u64)> {
    match fault {
        // Nobody connects while the first connection lives.
        Fault::Refusing | Fault::Mute => Some((Fault::CutAfterStore, 700)),
        // Without lost acks there is no PING.
        Fault::SlowPong => Some((Fault::LoseAck, 100)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Fate, Fault, Kind, MS, Profile, Refusal, Scene, Script, Timing};
    use crate::simulation::script::Answer;

    fn scene() -> Scene {
        Scene { streams: vec!["S".into()], topics: vec!["s.a".into()], named_streams: true }
    }

    const TIMING: Timing = Timing { ack_wait: 500 * MS, give_up: 1500 * MS, busy: 5000 * MS };

    #[test]
    fn a_seed_decides_everything() {
        for seed in 0..50 {
            let (mut a, mut b) = (Script::draw(seed, TIMING, &scene()), Script::draw(seed, TIMING, &scene()));
            assert_eq!((a.profile, &a.phases, a.heal_at), (b.profile, &b.phases, b.heal_at));
            for now in 0..100 {
                assert_eq!(a.fate(now * 10 * MS), b.fate(now * 10 * MS));
            }
            assert_eq!(a.connection(0), b.connection(0));
        }
    }

    #[test]
    fn every_script_heals() {
        for seed in 0..300 {
            let mut script = Script::draw(seed, TIMING, &scene());
            assert!(script.heal_at <= 2 * TIMING.busy);
            assert!(script.phases.iter().all(|phase| phase.from <= phase.to && phase.to <= script.heal_at));
            assert!((0..100).all(|_| script.fate(script.heal_at) == Fate::NORMAL));
            let plan = script.connection(script.heal_at);
            assert!(plan.cut.is_none() && plan.deaf_after.is_none() && !plan.mute && plan.close_after.is_none());
        }
    }

    #[test]
    fn every_fault_is_drawn_by_some_seed() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..2000 {
            let script = Script::draw(seed, TIMING, &scene());
            if let Profile::Single(fault) = script.profile {
                seen.insert(fault);
            }
        }
        assert_eq!(seen.len(), Fault::OF_PUBLISH.len() + Fault::OF_CONNECTION.len() + Fault::OF_TIME.len());
    }

    #[test]
    fn a_single_fault_comes_alone() {
        let mut script = Script::draw_profile(3, Profile::Single(Fault::Refuse(Kind::Insufficient)), TIMING, &scene());
        let fates: Vec<Fate> = (0..1000).map(|_| script.fate(0)).collect();
        let expected = |fate: &Fate| *fate == Fate::NORMAL || matches!(fate.answer, Answer::Refusal(Refusal::Insufficient | Refusal::SequenceMismatch));
        assert!(fates.iter().all(expected));
        assert!(fates.iter().any(|fate| fate.store && fate.answer != Answer::Truth) && fates.iter().any(|fate| !fate.store), "the coin has two sides");
        assert!(script.phases.is_empty());
    }
}
