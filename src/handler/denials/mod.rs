//! Denials: what permission errors prove, and of which messages.
//!
//! A permission error names a subject and no message, and that subject need not be the topic: an account's mapping comes first, and the error has what it made.
//! So errors are counted, per mark. A denied frame has no other answer; hence as many errors as frames without an answer prove that none of these was stored,
//! whatever they are called. Acks come behind the PONG, so that is weighed again until it holds. It counts in all that was written under the mark: what never
//! gets an answer (ephemeral messages), and what waits for none any more (settled meanwhile), may be what was denied.
//!
//! A topic in doubt gets marks of its own: fences stand around its frames, and every error between them is about it. That teaches its other name, too.

mod permissions;

use std::collections::HashMap;

pub(crate) use self::permissions::Permissions;
use self::permissions::{Account, Proof, Trouble, Word};
use crate::base::error::Status;
use crate::base::time::Nanos;
use crate::config::topic::Mode;
use crate::desk::events::EventKind;
use crate::handler::here::Here;
use crate::handler::line::Line;
use crate::handler::orders::{Ending, Order, Orders};
use crate::ledger::refusal::{Refusal, Retry};
use crate::ledger::slot::{Slot, Stage};
use crate::wire::ID_MASK;
use crate::wire::{Denials, Named, Token};

/// A message's own name in an error is believed, although ephemeral messages may be meant, if no ack contradicts for so long.
const GRACE: Nanos = 100_000_000;
/// How many other names a text lists.
const SHOWN: usize = 3;

type Names = HashMap<Box<str>, Named>;

/// What permission errors are weighed against.
pub(super) struct Denying<'a> {
    permissions: &'a mut Permissions,
    line: &'a mut Line,
    here: &'a Here,
    orders: &'a mut Orders,
}

impl<'a> Denying<'a> {
    #[inline(always)]
    pub(super) fn new(permissions: &'a mut Permissions, line: &'a mut Line, here: &'a Here, orders: &'a mut Orders) -> Self {
        Denying { permissions, line, here, orders }
    }

    /// Permissions refused frames under this mark. False: all of the errors are explained.
    pub(super) fn note(&mut self, epoch: u32, mark: u64, mut denials: Denials) -> bool {
        self.leave_ephemeral(epoch, mark, &mut denials);
        if denials.total == 0 {
            return false;
        }
        let (now, given_up) = (self.here.now(), self.permissions.take_given_up(epoch, mark));
        self.permissions.weigh(Trouble { epoch, mark, denials, given_up, open: 0, weigh_at: 0, since: now, again_at: now + GRACE });
        true
    }

    /// Who waited for this fence to go again waits on while errors are not explained: acks may come behind it.
    pub(super) fn wait_for_acks(&mut self, epoch: u32, mark: u64) {
        if self.permissions.doubt(epoch, mark) {
            let due = self.here.ack_due();
            for (slot, deadline) in self.under(epoch, mark, |s| (s.stage == Stage::Fencing).then_some((s.index, s.deadline))) {
                self.line.set_due(slot, due.min(deadline));
            }
        }
    }

    /// Errors with a name of an ephemeral topic are explained: nobody waits for an answer there.
    fn leave_ephemeral(&mut self, epoch: u32, mark: u64, denials: &mut Denials) {
        if let Some(topic) = self.permissions.sampled(epoch, mark).map(str::to_owned) {
            for (name, Named { said, .. }) in &denials.names {
                self.permissions.learn_ephemeral(name);
                self.tell_denied(&topic, denied(&topic, name, said));
            }
            return denials.total = 0;
        }
        let here = self.here;
        let Denials { total, names, silent } = denials;
        names.retain(|name, named| {
            let is_own = here.rules().matching(name).mode == Mode::Ephemeral;
            let explained = named.count <= *silent && (is_own || self.permissions.is_ephemeral(name));
            if explained {
                *silent -= named.count;
                *total -= named.count;
                if is_own {
                    self.tell_denied(name, denied(name, name, &named.said));
                }
            }
            !explained
        });
    }

    /// What is to be said of the messages that wait for answers under this mark.
    fn under<T>(&self, epoch: u32, mark: u64, say: impl Fn(&Slot) -> Option<T>) -> Vec<T> {
        self.line.iter().filter(|s| s.epoch == epoch && s.mark == mark && s.stage.is_under_way() && !s.ephemeral).filter_map(say).collect()
    }

    /// A reply was read: whether it was an answer to the attempt under this mark shows in what became of the message.
    pub(super) fn note_reply(&mut self, token: Token, epoch: u32, mark: u64) {
        let waits = |s: &&Slot| s.id & ID_MASK == token.id && s.epoch == epoch && s.mark == mark && s.stage.is_under_way();
        if self.line.get(token.slot).filter(waits).is_some() {
            return;
        }
        let Some(trouble) = self.permissions.trouble_mut(epoch, mark) else { return };
        trouble.open = trouble.open.saturating_sub(1);
        if trouble.open <= trouble.weigh_at {
            self.weigh(epoch, mark);
        }
    }

    /// What is to be weighed again now.
    pub(super) fn tend(&mut self) {
        let pause = self.here.ack_wait().max(GRACE);
        for (epoch, mark) in self.permissions.take_due(self.here.now(), pause) {
            self.orders.push(Order::Weigh { epoch, mark });
        }
    }

    /// Settles what the errors under this mark prove.
    pub(super) fn weigh(&mut self, epoch: u32, mark: u64) {
        let permissions = &self.permissions;
        let Some(trouble) = permissions.trouble(epoch, mark) else { return };
        // With the name that the server may have for it; without, if an ack contradicts.
        let mut open = self.under(epoch, mark, |s| {
            let known = trouble.denials.names.get_key_value(permissions.name_of(s.topic())).map(|(name, _)| &**name);
            Some((s.id, s.index, known.filter(|name| !name.is_empty() && !permissions.passes(s.topic()))))
        });
        if open.is_empty() {
            return self.close_account(epoch, mark);
        }
        open.sort_unstable();
        let mut counts: HashMap<&str, u64> = HashMap::new();
        for name in open.iter().filter_map(|(.., name)| *name) {
            *counts.entry(name).or_default() += 1;
        }
        let account = Account {
            errors: u64::from(trouble.denials.total),
            open: open.len() as u64,
            given_up: u64::from(trouble.given_up),
            silent: u64::from(trouble.denials.silent),
            names: counts.into_iter().filter_map(|(name, open)| Some((name, u64::from(trouble.denials.names.get(name)?.count), open))).collect(),
        };
        let proof = account.proof(self.here.now() >= trouble.since + GRACE);
        let is_proven = |name: &str| match &proof {
            Proof::All => true,
            Proof::Names(names) => names.contains(&name),
            Proof::After(_) => false,
        };
        if let Proof::After(answers) = proof {
            let open = open.len();
            return self.weigh_later(epoch, mark, open, answers);
        }
        let is_all = proof == Proof::All;
        let slots: Vec<u32> = open.iter().filter(|(.., name)| is_all || name.is_some_and(is_proven)).map(|&(_, slot, _)| slot).collect();
        let names: Names = trouble.denials.names.iter().filter(|(name, _)| is_proven(name)).map(|(name, named)| (name.clone(), named.clone())).collect();
        self.deny(&slots, &names);
        if is_all {
            self.permissions.take(epoch, mark);
        } else {
            self.permissions.explain(epoch, mark, &names);
        }
        // What is denied is settled first.
        let order = if self.permissions.doubt(epoch, mark) { Order::Weigh { epoch, mark } } else { Order::Fenced };
        self.orders.push(order);
    }

    /// Nothing is proven: topics that the errors may be about are in doubt from now on.
    fn weigh_later(&mut self, epoch: u32, mark: u64, open: usize, answers: u64) {
        let permissions = &self.permissions;
        let Some(trouble) = permissions.trouble(epoch, mark) else { return };
        let few = open as u64 <= u64::from(trouble.denials.total);
        let is_named = |topic: &str| trouble.denials.names.contains_key(permissions.name_of(topic));
        let topics = self.under(epoch, mark, |s| (few || is_named(s.topic())).then(|| s.topic().to_owned()));
        for topic in topics {
            self.permissions.suspect(&topic);
        }
        if let Some(trouble) = self.permissions.trouble_mut(epoch, mark) {
            trouble.open = open as u32;
            trouble.weigh_at = (open as u64).saturating_sub(answers) as u32;
        }
    }

    /// Every message under the mark has its answer, and errors are left: they are about what has none.
    fn close_account(&mut self, epoch: u32, mark: u64) {
        let Some(trouble) = self.permissions.take(epoch, mark) else { return };
        if trouble.denials.silent > 0 {
            self.permissions.sample();
        }
        for (name, Named { said, .. }) in &trouble.denials.names {
            if trouble.given_up > 0 {
                self.permissions.suspect(name);
            }
            let who = if trouble.given_up == 0 { "ephemeral messages" } else { "messages that are settled, or ephemeral ones," };
            self.tell_denied(name, format!("{who} are denied by the server's permissions: {said}"));
        }
    }

    /// These messages, in the order of their ids, are all that errors with these names are about.
    fn deny(&mut self, slots: &[u32], names: &Names) {
        let mut topics: Vec<(&str, u32)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut in_order = true;
        // The error is about what the message asks for, and says nothing of its topic.
        let framing = &self.here.lane().framing;
        let asks_for = |s: &Slot| names.iter().find(|(name, _)| &***name != s.topic() && framing.asks_under(s, name)).map(|(_, named)| &*named.said);
        for s in slots.iter().filter_map(|&slot| self.line.get(slot)).filter(|s| asks_for(s).is_none()) {
            // Who goes again was written in another order.
            in_order &= s.attempt == 1;
            let place = *places.entry(s.topic()).or_insert(topics.len());
            match topics.get_mut(place) {
                Some((_, count)) => *count += 1,
                None => topics.push((s.topic(), 1)),
            }
        }
        let mut by_order: Vec<(&str, &Named)> = names.iter().map(|(name, named)| (&**name, named)).collect();
        by_order.sort_unstable_by_key(|(_, named)| named.place);
        // One name for each topic: they came in the same order, and as often.
        let in_pairs = in_order && by_order.len() == topics.len() && by_order.iter().zip(&topics).all(|((_, named), (_, count))| named.count == *count);
        let all_said: Vec<&str> = by_order.iter().take(SHOWN).map(|(_, named)| &*named.said).collect();
        let all_said = all_said.join("; ");
        let learned: Vec<(String, String, String, u32)> = topics
            .iter()
            .enumerate()
            .map(|(place, &(topic, count))| {
                let name = match by_order.as_slice() {
                    [(name, _)] => Some(*name),
                    _ if names.contains_key(topic) => Some(topic),
                    all if in_pairs => all.get(place).map(|(name, _)| *name),
                    // Weights: it has several names.
                    [(name, _), ..] if topics.len() == 1 => Some(*name),
                    _ => Some(self.permissions.name_of(topic)).filter(|name| names.contains_key(*name)),
                };
                let said = name.and_then(|name| names.get(name)).map_or(&*all_said, |named| &named.said);
                let name = name.unwrap_or_default();
                (topic.to_owned(), name.to_owned(), denied(topic, name, said), count)
            })
            .collect();
        let texts: HashMap<&str, &str> = learned.iter().map(|(topic, _, text, _)| (&**topic, &**text)).collect();
        for (topic, name, text, count) in &learned {
            self.tell_denied(topic, text.clone());
            self.permissions.learn(topic, name, text, *count, self.here.now());
        }
        for &slot in slots {
            let Some(s) = self.line.get(slot) else { continue };
            let text = match (asks_for(s), texts.get(s.topic())) {
                (Some(said), _) => format!("a header of this message is denied by the server's permissions: {said}"),
                (None, text) => text.copied().unwrap_or_default().to_owned(),
            };
            self.orders.push(Order::Refused {
                slot,
                refusal: Refusal { status: Status::Denied, definite: true, retry: Retry::No, server_code: 0, stream: None, text },
            });
        }
    }

    /// One event for each topic.
    fn tell_denied(&mut self, topic: &str, text: String) {
        if self.permissions.is_news(topic) {
            self.orders.tell(EventKind::Denied, Status::Denied, 0, topic, text);
        }
    }

    /// Permissions refuse this topic; one message a second tests whether they still do.
    pub(super) fn is_denied(&mut self, slot: u32) -> bool {
        let Some(s) = self.line.get(slot) else { return false };
        let Some(Word::Denied(text)) = self.permissions.word_on(s.topic(), self.here.now()) else { return false };
        self.orders.settle(slot, Ending::definite(Status::Denied, 0, text));
        true
    }

    // ---- Without proof ----

    /// The time for proof is over: finds the messages under this mark that its errors may be about.
    pub(super) fn mark_suspects(&mut self, epoch: u32, mark: u64) {
        let permissions = &self.permissions;
        let Some(trouble) = permissions.trouble(epoch, mark) else { return };
        let names = &trouble.denials.names;
        let mut counts: HashMap<&str, u32> = HashMap::new();
        for name in self.under(epoch, mark, |s| names.get_key_value(permissions.name_of(s.topic())).map(|(name, _)| &**name)) {
            *counts.entry(name).or_default() += 1;
        }
        // Errors beyond those may be about any message; least about topics that were acknowledged meanwhile.
        let are_left = names.iter().any(|(name, named)| named.count > counts.get(&**name).copied().unwrap_or(0));
        let suspects = self.under(epoch, mark, |s| {
            let is_named = counts.contains_key(permissions.name_of(s.topic()));
            (is_named || (are_left && !permissions.passes(s.topic()))).then_some(s.index)
        });
        if are_left && trouble.denials.silent > 0 {
            self.permissions.sample();
        }
        for slot in suspects {
            if let Some(s) = self.line.get_mut(slot) {
                s.suspect = true;
            }
        }
    }

    /// Errors may be about this message. Gives what its report says.
    pub(super) fn suspicion(&mut self, slot: u32) -> String {
        let Some(slot) = self.line.get(slot) else { return String::new() };
        let topic = slot.topic();
        let names = self.permissions.trouble(slot.epoch, slot.mark).map(|trouble| &trouble.denials.names);
        let other = names.filter(|names| !names.contains_key(topic)).and_then(|names| {
            let known = names.get(self.permissions.name_of(topic));
            known.or_else(|| names.values().min_by_key(|named| named.place))
        });
        let text = match other {
            None => format!("the server reported permission errors for {topic:?} and did not acknowledge this message"),
            Some(Named { said, .. }) => format!("the server reported permission errors and did not acknowledge this message to {topic:?}: {said}"),
        };
        let topic = topic.to_owned();
        self.tell_denied(&topic, text.clone());
        self.permissions.suspect(&topic);
        text
    }
}

/// What reports of a denied topic say.
fn denied(topic: &str, name: &str, said: &str) -> String {
    let denied = format!("publishing to {topic:?} is denied by the server's permissions");
    if name == topic { denied } else { format!("{denied}, under another name: {said}") }
}
