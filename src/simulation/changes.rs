//! Rules that change while the program runs, and what the world writes down of rules and sendings.

use std::sync::Arc;

use super::book::Saying;
use super::world::World;
use crate::bus::lane::Command;
use crate::config::topic::Rules;

impl World {
    /// What `set_topic` does, when its time has come.
    pub(super) fn change_rules(&mut self) {
        let now = self.now;
        while let Some((_, pattern, key, value)) = self.plan.changes.pop_if_due(now) {
            let before = self.shared.rules.load_full();
            let mut rules = Rules::clone(&before);
            // A running rule keeps the stream that it names.
            let keeps = key == "stream" && rules.iter().any(|rule| rule.pattern == pattern && rule.stream.is_some());
            if keeps || rules.set(&pattern, key, &value).is_err() || rules.check().is_err() {
                continue;
            }
            self.tell(|| format!("set_topic {pattern} {key}={value}"));
            let rules = Arc::new(rules);
            self.shared.rules.store(Arc::clone(&rules));
            self.shared.lanes.first().command(Command::Rules(Arc::clone(&rules)));
            for rule in rules.iter() {
                let new = Saying::of(rule, now);
                let old = self.history.rules.at(rule.index, now);
                if old.is_none_or(|old| (&old.stream, old.in_flight) != (&new.stream, new.in_flight)) {
                    let under_way = self.driver.handler.messages().filter(|slot| slot.rule == rule.index && slot.stage.is_under_way());
                    let under_way = under_way.map(|slot| slot.id).collect();
                    self.history.rules.note(rule.index, Saying { under_way, ..new });
                }
            }
        }
    }

    /// Writes down which messages were given to the wire in this turn.
    pub(super) fn note_stagings(&mut self) {
        let attempts = self.shared.lanes.first().counters.attempts.get();
        if attempts == self.staged {
            return;
        }
        self.staged = attempts;
        for slot in self.driver.handler.messages().filter(|slot| slot.attempt > 0 && !slot.ephemeral) {
            let known = self.history.stagings.entry(slot.id).or_default();
            if known.len() < slot.attempt as usize {
                known.push(self.now);
            }
        }
    }
}

/// What is due, first things first.
trait Due<T> {
    fn pop_if_due(&mut self, now: u64) -> Option<T>;
}

impl<A, B, C> Due<(u64, A, B, C)> for Vec<(u64, A, B, C)> {
    fn pop_if_due(&mut self, now: u64) -> Option<(u64, A, B, C)> {
        if self.first()?.0 <= now { Some(self.remove(0)) } else { None }
    }
}
