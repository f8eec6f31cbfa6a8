//! Accept: the way of a message from the call to its place in line.
//!
//! One message: checks, a place in the window, its content, its place in line. A run of messages goes the same way together: it pays for one look at the window,
//! one at the clock and one at the line.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::error::{Error, Result, Status};
use crate::base::time::{Nanos, nanos};
use crate::bus::lane::Lane;
use crate::bus::shared::Shared;
use crate::config::settings::{OnDisconnect, OnFull};
use crate::config::topic::Mode;
use crate::ledger::slot::Slot;
use crate::ledger::slot::Waiter;
use crate::message::{Message, StallWait};
use crate::window::places::{Patience, Request};
use crate::wire::plan::Plan;

/// The most messages that enter together: the window's lock is held for as long.
const RUN: usize = 64;

/// A message that passed its checks.
#[derive(Clone, Copy)]
struct Checked {
    plan: Plan,
    rule: u32,
    ephemeral: bool,
}

impl Checked {
    fn request<'a>(&self, message: &Message<'a>) -> Request<'a> {
        Request { bytes: self.plan.bytes as usize, rule: self.rule, topic: message.topic }
    }
}

impl Shared {
    /// Takes one message.
    pub(crate) fn accept(&self, message: &Message<'_>, patience: Patience, waiter: Option<Arc<Waiter>>) -> Result<u64> {
        let lane = self.lanes.of(message.topic);
        let checked = self.check(lane, message)?;
        let mut slot = self.enter(checked.request(message), patience)?;
        self.fill(lane, &mut slot, message, &checked, self.clock.now());
        slot.waiter = waiter;
        match lane.queue.push(slot, |slot| lane.framing.stamp(slot)) {
            Ok(id) => {
                self.count_ephemeral(checked.ephemeral.into());
                Ok(id)
            }
            Err(slot) => {
                self.window.cancel(slot);
                Err(self.closed())
            }
        }
    }

    /// Takes messages until one is refused. Waits for room up to the stall time in all; `accepted` hears each id.
    pub(crate) fn accept_all<'m>(&self, messages: impl IntoIterator<Item = Result<Message<'m>>>, mut accepted: impl FnMut(u64)) -> Result<()> {
        let begin = Instant::now();
        let messages = messages.into_iter();
        let most = messages.size_hint().1.map_or(RUN, |most| most.min(RUN));
        let mut run = Run { lane: self.lanes.first(), members: Vec::with_capacity(most), slots: Vec::with_capacity(most) };
        for message in messages {
            let (lane, member) = match message.and_then(|message| self.member(message)) {
                Ok(next) => next,
                Err(error) => {
                    self.accept_run(&mut run, begin, &mut accepted)?;
                    return Err(error);
                }
            };
            if run.members.len() == RUN || !std::ptr::eq(run.lane, lane) {
                self.accept_run(&mut run, begin, &mut accepted)?;
                run.lane = lane;
            }
            run.members.push(member);
        }
        self.accept_run(&mut run, begin, &mut accepted)
    }

    /// A message of a series, checked, and its lane.
    fn member<'m>(&self, message: Message<'m>) -> Result<(&Lane, (Message<'m>, Checked))> {
        let lane = self.lanes.of(message.topic);
        let checked = self.check(lane, &message)?;
        Ok((lane, (message, checked)))
    }

    /// Takes a run of messages that have one lane. Empties it.
    fn accept_run(&self, run: &mut Run<'_, '_>, begin: Instant, accepted: &mut impl FnMut(u64)) -> Result<()> {
        let Run { lane, members, slots } = run;
        let mut entered = 0;
        while let Some((message, checked)) = members.get(entered) {
            let rest = members.get(entered..).unwrap_or_default();
            self.window.enter_many(rest.iter().map(|(message, checked)| checked.request(message)), slots);
            if slots.is_empty() {
                slots.push(self.enter(checked.request(message), self.patience(self.stall_left(message.stall_wait, begin)))?);
            }
            let now = self.clock.now();
            let mut ephemeral = 0;
            for (slot, (message, checked)) in slots.iter_mut().zip(rest) {
                self.fill(lane, slot, message, checked, now);
                ephemeral += u64::from(checked.ephemeral);
            }
            entered += slots.len();
            if lane.queue.push_many(slots, |slot| lane.framing.stamp(slot), &mut *accepted) {
                self.count_ephemeral(ephemeral);
            } else {
                self.window.leave(slots);
                return Err(self.closed());
            }
        }
        members.clear();
        Ok(())
    }

    /// Checks all that can be checked before there is room.
    fn check(&self, lane: &Lane, message: &Message<'_>) -> Result<Checked> {
        message.check()?;
        let rules = self.rules.load();
        let rule = rules.matching(message.topic);
        let ephemeral = rule.mode == Mode::Ephemeral;
        let plan = lane.framing.plan(message, ephemeral)?;
        let max_payload = lane.max_payload();
        if max_payload > 0 && u64::from(plan.body) > max_payload {
            return Err(Error::new(Status::TooLarge, format!("headers and payload have {} bytes; the server takes {max_payload}", plan.body)));
        }
        if self.settings.on_disconnect == OnDisconnect::Fail && lane.is_offline() {
            let why = self.last_error().map_or_else(String::new, |error| format!(": {}", error.message()));
            return Err(Error::new(Status::Disconnected, format!("not connected, and on_disconnect is fail{why}")));
        }
        Ok(Checked { plan, rule: rule.index, ephemeral })
    }

    /// A place in the window, and a slot.
    fn enter(&self, request: Request<'_>, patience: Patience) -> Result<Box<Slot>> {
        let stuck = |used: usize| self.desk.stuck_since(used);
        let stuck: Option<&dyn Fn(usize) -> Option<Instant>> = if self.desk.is_polled() { Some(&stuck) } else { None };
        self.window.enter(request, patience, stuck).map_err(|error| if patience == Patience::Try { error } else { self.refuse(error) })
    }

    /// Puts the message into its slot.
    fn fill(&self, lane: &Lane, slot: &mut Slot, message: &Message<'_>, checked: &Checked, now: Nanos) {
        lane.framing.fill(slot, message, checked.plan);
        slot.tag = message.tag;
        slot.ephemeral = checked.ephemeral;
        slot.report_always = message.report_always;
        slot.marked = message.mark;
        slot.accepted_at = now;
        slot.deadline = now.saturating_add(nanos(message.delivery_timeout.unwrap_or(self.settings.delivery_timeout)));
    }

    fn count_ephemeral(&self, count: u64) {
        if count > 0 {
            self.ephemeral.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn closed(&self) -> Error {
        self.window.closed().unwrap_or_else(|| Error::new(Status::Closed, "the publisher is closed"))
    }

    #[cold]
    fn refuse(&self, error: Error) -> Error {
        if error.status() == Status::QueueFull {
            self.counters.queue_full.bump_shared(1);
        }
        error
    }

    /// What is left of the time that a series may wait.
    fn stall_left(&self, stall: StallWait, begin: Instant) -> StallWait {
        match (stall, self.settings.on_full, self.settings.stall_wait) {
            (StallWait::AtMost(limit), _, _) | (StallWait::Configured, OnFull::Block, Some(limit)) => StallWait::AtMost(limit.saturating_sub(begin.elapsed())),
            (other, _, _) => other,
        }
    }

    pub(crate) fn patience(&self, stall: StallWait) -> Patience {
        let limit = match stall {
            StallWait::Configured if self.settings.on_full == OnFull::Fail => return Patience::Fail,
            StallWait::Configured => self.settings.stall_wait,
            StallWait::NoLimit => None,
            StallWait::AtMost(limit) => Some(limit),
        };
        match limit {
            None => Patience::NoLimit,
            Some(Duration::ZERO) => Patience::Fail,
            Some(limit) => Instant::now().checked_add(limit).map_or(Patience::NoLimit, Patience::Until),
        }
    }
}

/// What enters together.
struct Run<'l, 'm> {
    lane: &'l Lane,
    members: Vec<(Message<'m>, Checked)>,
    slots: Vec<Box<Slot>>,
}
