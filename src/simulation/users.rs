//! What a program does with its publisher: threads that publish, one that polls or a callback that takes its time and publishes too, flushes, purges and the end.

use std::sync::Arc;
use std::time::Duration;

use super::history;
use super::plan::BUSY;
use super::program::Call;
use super::script::MS;
use super::world::World;
use crate::base::calls::swap_callback;
use crate::base::error::{Error, Persistence, Status};
use crate::bus::lane::{Command, FlushTicket};
use crate::bus::standing::Purge;
use crate::desk::report::{REPORT_DUPLICATE, Report};
use crate::desk::tickets::Reports;
use crate::ledger::slot::Slot;
use crate::message::Message;
use crate::window::places::Patience;

/// The callback, among the publishing threads.
const CALLBACK: u32 = 99;
/// Messages that callbacks publish, in all: each of them has a report of its own.
const MOST_DEAD_LETTERS: u32 = 40;

fn take_due(times: &mut Vec<u64>, now: u64) -> bool {
    let before = times.len();
    times.retain(|&at| at > now);
    times.len() < before
}

impl World {
    /// When somebody does something next.
    pub(super) fn users_next(&self) -> u64 {
        let users = &self.users;
        let publishers = users.publishers.iter().filter(|publisher| publisher.left > 0).map(|publisher| publisher.next);
        let held = users.held.iter().map(|(until, _)| *until);
        let call = users.call.iter().flat_map(|call| [call.until, call.next]);
        let times = users.flush_at.iter().chain(&users.purge_at).copied().chain(self.plan.changes.first().map(|change| change.0));
        let close = if users.closed { u64::MAX } else { self.plan.close_at };
        publishers.chain(held).chain(call).chain(times).chain([users.next_read, close]).filter(|&at| at > self.now).min().unwrap_or(u64::MAX)
    }

    /// Everybody does what is due.
    pub(super) fn act(&mut self) -> Result<(), String> {
        for thread in 0..self.users.publishers.len() {
            while self.users.publishers[thread].left > 0 && self.users.publishers[thread].next <= self.now {
                self.publish_from(thread)?;
            }
        }
        if self.plan.polled {
            self.poll()?;
        } else {
            self.call_back()?;
        }
        self.change_rules();
        let now = self.now;
        if take_due(&mut self.users.flush_at, now) {
            let ticket = FlushTicket::new(self.shared.lanes.first().queue.last_id());
            self.tell(|| format!("flush up to {}", ticket.upto));
            self.shared.lanes.first().command(Command::Flush(Arc::clone(&ticket)));
            self.users.flushes.push(ticket);
        }
        if take_due(&mut self.users.purge_at, now) {
            let what = self.rng.pick(&[(true, false), (false, true), (true, true)]);
            let (what, ticket) = (Purge { unsent: what.0, in_flight: what.1 }, FlushTicket::new(0));
            self.tell(|| format!("{what:?}"));
            self.shared.lanes.first().command(Command::Purge { what, ticket: Arc::clone(&ticket) });
            self.users.purges.push(ticket);
        }
        let done =
            self.driver.handler.messages().next().is_none() && self.users.publishers.iter().all(|publisher| publisher.left == 0) && self.shared.pending() == 0;
        if !self.users.closed && (now >= self.plan.close_at || (done && self.plan.close_at == u64::MAX)) {
            self.users.closed = true;
            self.tell(|| format!("close within {} ms", self.plan.close_timeout / MS));
            self.shared.window.shut(Error::new(Status::Closed, "the publisher is closed"));
            self.shared.lanes.first().command(Command::Close { timeout: self.plan.close_timeout });
        }
        Ok(())
    }

    fn publish_from(&mut self, thread: usize) -> Result<(), String> {
        let ephemeral = self.plan.ephemeral.clone().filter(|_| self.rng.chance(150));
        let status = match ephemeral {
            Some(topic) => self.publish_ephemeral(&topic)?,
            None => self.publish(thread as u32)?,
        };
        let gap = match status {
            Status::QueueFull => self.rng.between(MS, 20 * MS),
            // Bursts are as usual as pauses.
            _ if self.rng.chance(500) => 0,
            _ => self.rng.below(2 * BUSY / u64::from(self.plan.messages / self.plan.threads + 1)),
        };
        let publisher = &mut self.users.publishers[thread];
        publisher.next = self.now + gap;
        match status {
            Status::Closed => publisher.left = 0,
            // At `max_pending=1` and without a stream one message takes all the time that it has: nobody waits for that.
            Status::QueueFull if self.now > 2 * BUSY => publisher.left = 0,
            Status::QueueFull => {}
            _ => publisher.left -= 1,
        }
        Ok(())
    }

    /// One publish of a persistent message, as this thread does it.
    fn publish(&mut self, thread: u32) -> Result<Status, String> {
        self.users.published += 1;
        let n = self.users.published;
        let topic = self.plan.topics[self.rng.index(self.plan.topics.len())].clone();
        let len = match self.rng.below(100) {
            0..15 if self.plan.large => self.rng.between(15_000, 40_000),
            15..30 => self.rng.between(100, 4_000),
            _ => self.rng.below(100),
        };
        let payload = format!("payload {n} {}", "x".repeat(if thread == CALLBACK { 0 } else { len as usize })).into_bytes();
        let own = match self.plan.msg_ids {
            "caller" => self.rng.chance(700),
            "auto" => self.rng.chance(100),
            _ => false,
        };
        let msg_id = own.then(|| format!("own-{n}"));
        let timeout = self.rng.chance(150).then(|| self.rng.between(self.plan.ack_wait / 2, self.plan.delivery_timeout));
        let message = Message { msg_id: msg_id.as_deref(), delivery_timeout: timeout.map(Duration::from_nanos), tag: n, ..Message::new(&topic, &payload) };
        let rule = self.shared.rules.load().matching(&topic).index;
        let planned = self.shared.lanes.first().framing.plan(&message, false).map_or(0, |plan| plan.bytes as usize);
        let credit = self.users.call.as_mut().filter(|_| thread == CALLBACK);
        let owed = credit.as_ref().is_some_and(|call| call.messages > 0 && call.bytes >= planned);
        let outside = swap_callback(credit.as_ref().and_then(|call| call.credit));
        let result = self.shared.accept(&message, Patience::Fail, None);
        let left = swap_callback(outside);
        if let Some(call) = credit {
            call.credit = left;
            if result.is_ok() {
                call.messages = call.messages.saturating_sub(1);
                call.bytes = call.bytes.saturating_sub(planned);
            }
        }
        match result {
            Ok(id) => {
                self.tell(|| format!("message {id} of thread {thread} to {topic}, {} bytes", payload.len()));
                let accepted_at = self.now;
                self.history.accepted.push(history::Message { id, thread, rule, topic, payload, msg_id, accepted_at, delivery_timeout: timeout });
                self.history.pending_bytes = self.history.pending_bytes.max(self.shared.window.usage().1);
                Ok(Status::Ok)
            }
            Err(error) if owed && error.status() == Status::QueueFull => Err(format!("P3: a callback may publish as many as it was told of, but: {error}")),
            Err(error) => match error.status() {
                status @ (Status::QueueFull | Status::Closed | Status::TooLarge) => Ok(status),
                _ => Err(format!("publish failed: {error}")),
            },
        }
    }

    fn publish_ephemeral(&mut self, topic: &str) -> Result<Status, String> {
        self.users.published += 1;
        let payload = format!("news {:09}", self.users.published).into_bytes();
        match self.shared.accept(&Message::new(topic, &payload), Patience::Fail, None) {
            Ok(_) => {
                self.users.ephemeral += 1;
                self.history.pending_bytes = self.history.pending_bytes.max(self.shared.window.usage().1);
                Ok(Status::Ok)
            }
            Err(error) if matches!(error.status(), Status::QueueFull | Status::Closed | Status::TooLarge) => Ok(error.status()),
            Err(error) => Err(format!("publish failed: {error}")),
        }
    }

    /// The thread that polls, and holds what it got for a while.
    fn poll(&mut self) -> Result<(), String> {
        let now = self.now;
        self.users.held.retain(|(until, _)| *until > now);
        if now < self.users.next_read {
            return Ok(());
        }
        let longest = if self.rng.chance(30) { 300 * MS } else { 20 * MS };
        self.users.next_read = now + self.rng.between(100_000, longest);
        let max = self.rng.between(1, 50) as usize;
        if let Ok(reports) = Reports::poll(&self.shared.desk, max, Some(Duration::ZERO)) {
            for slot in &reports.slots {
                self.note(slot)?;
            }
            let long = if self.rng.chance(100) { 500 * MS } else { 5 * MS };
            let until = now + self.rng.below(long);
            if !reports.is_empty() && until > now {
                self.users.held.push((until, reports));
            }
        }
        Ok(())
    }

    /// The report thread.
    fn call_back(&mut self) -> Result<(), String> {
        let now = self.now;
        while self.users.call.as_ref().is_some_and(|call| call.left > 0 && call.next <= now) {
            if self.users.dead_letters < MOST_DEAD_LETTERS {
                self.users.dead_letters += 1;
                self.publish(CALLBACK)?;
            }
            let pause = if self.rng.chance(500) { 0 } else { self.rng.below(3 * MS) };
            if let Some(call) = &mut self.users.call {
                call.left -= 1;
                call.next = now + pause;
            }
        }
        if let Some(mut call) = self.users.call.take_if(|call| call.until <= now) {
            let outside = swap_callback(call.credit);
            self.shared.desk.end_call(&mut call.batch);
            swap_callback(outside);
            self.users.next_read = now + self.rng.below(MS);
        }
        if self.users.call.is_none() && now >= self.users.next_read {
            self.begin_call()?;
        }
        Ok(())
    }

    fn begin_call(&mut self) -> Result<(), String> {
        let now = self.now;
        let mut batch = Vec::new();
        let outside = swap_callback(None);
        let any = self.shared.desk.try_begin_call(&mut batch);
        let credit = swap_callback(outside);
        if !any {
            // It sleeps until there is something; looking now and then is the same.
            self.users.next_read = now + self.rng.between(100_000, 5 * MS);
            return Ok(());
        }
        for slot in &batch {
            self.note(slot)?;
        }
        let long = match self.rng.below(100) {
            0..5 => 800 * MS,
            5..30 => 20 * MS,
            _ => MS,
        };
        let left = if self.rng.chance(400) { self.rng.between(0, batch.len() as u64 + 1) } else { 0 };
        let (messages, bytes) = (batch.len(), batch.iter().map(|slot| slot.bytes as usize).sum());
        self.users.call = Some(Call { batch, until: now + self.rng.below(long), next: now, left, credit, messages, bytes });
        Ok(())
    }

    /// Writes down a report, and looks whether it shows the message that it is about.
    fn note(&mut self, slot: &Slot) -> Result<(), String> {
        let report = Report::new(slot);
        let text = format!("{} {}", report.status(), report.text());
        self.tell(|| format!("report of message {}: {:?} {text}", report.id(), report.persistence()));
        if let Some(message) = self.history.accepted.iter().find(|message| message.id == report.id())
            && (message.topic != report.topic() || message.payload != report.payload() || (message.msg_id.as_deref().is_some_and(|id| id != report.msg_id())))
        {
            return Err(format!("the report of message {} shows another one: {report:?}", report.id()));
        }
        if (report.status() == Status::Ok) != (report.persistence() == Persistence::Persisted) {
            return Err(format!("P2: a report contradicts itself: {report:?}"));
        }
        self.history.reports.push(history::Report {
            id: report.id(),
            at: slot.accepted_at + report.latency_ns(),
            persistence: report.persistence(),
            seq: report.stream_seq(),
            stream: report.stream().to_owned(),
            duplicate: report.flags() & REPORT_DUPLICATE != 0,
            staged: slot.attempt > 0,
            text,
        });
        Ok(())
    }

    /// P6: a flush ends when all that it covers is settled, and not before.
    pub(super) fn look_at_flushes(&mut self) -> Result<(), String> {
        for ticket in &self.users.flushes {
            let left = self.driver.handler.messages().filter(|slot| slot.id <= ticket.upto).count();
            if ticket.result().is_some() != (left == 0) {
                return Err(format!("P6: the flush up to {} says {:?}, and {left} of its messages are pending", ticket.upto, ticket.result()));
            }
        }
        self.users.flushes.retain(|ticket| ticket.result().is_none());
        Ok(())
    }

    /// The publisher is closed: the callback returns, what was not polled is.
    pub(super) fn read_the_rest(&mut self) -> Result<(), String> {
        self.look_at_flushes()?;
        if self.plan.polled {
            self.users.held.clear();
            loop {
                match Reports::poll(&self.shared.desk, 7, Some(Duration::ZERO)) {
                    Ok(reports) if reports.is_empty() && !reports.room() => return Err("everything is over, and poll does not say so".into()),
                    Ok(reports) => {
                        for slot in &reports.slots {
                            self.note(slot)?;
                        }
                    }
                    Err(error) if error.status() == Status::Closed => return Ok(()),
                    Err(error) => return Err(format!("polling failed: {error}")),
                }
            }
        }
        loop {
            if let Some(call) = &mut self.users.call {
                (call.until, call.left) = (self.now, 0);
            }
            self.users.next_read = self.now;
            self.call_back()?;
            self.users.next_read = self.now;
            self.call_back()?;
            if self.users.call.is_none() {
                return Ok(());
            }
        }
    }
}
