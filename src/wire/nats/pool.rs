//! Which server to try next, and when.
//!
//! No sockets and no clock in here: time comes in as nanoseconds and chance from a seed, so the simulation can replay it. The order is a rotation. The first
//! connect follows the order that the user wrote; a server that was tried goes to the end, so after a lost connection the others come first.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::base::error::{Error, Status};
use crate::base::jitter::{Jitter, RECONNECT_PART};
use crate::base::time::nanos;
use crate::config::servers::{MAX_SERVERS, ServerUrl};
use crate::config::settings::Settings;

const MS: u64 = 1_000_000;

/// The longest pause between rounds, unless `reconnect_wait_ms` is longer.
const MAX_WAIT: u64 = 2_000 * MS;

/// A connection that lived shorter than this does not earn a further "at once": else a server that accepts and hangs up is called in a tight loop.
const SHORT_LIFE: u64 = 2_000 * MS;

/// The same refusal this often in a row from one server is its last word.
const AUTH_FAILURES: u32 = 2;

/// How many servers the final error names.
const NAMED_SERVERS: usize = 8;

/// What to do now.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// Connect, then call `connected` or `failed`.
    Connect(Target),
    /// Ask again at this time.
    Wait(u64),
    /// Give up, for this reason.
    Exhausted(Error),
}

/// A server and the name that its certificate must have, unless `tls_server_name` says otherwise. A server that was discovered by its address is checked by
/// the name of the one that told of it: certificates seldom name addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) server: ServerUrl,
    pub(crate) tls_name: String,
}

/// The configured servers and those that servers told of.
#[derive(Debug)]
pub(crate) struct Pool {
    /// The next to try in front.
    entries: VecDeque<Entry>,
    phase: Phase,
    /// Failed attempts in a row.
    attempts: u32,
    /// Servers tried in this round.
    tried: usize,
    /// Since when there is no connection.
    since: Option<u64>,
    /// Connections in a row that were lost soon after they were made.
    short_lives: u32,
    /// When the first of them ended.
    unsteady_since: u64,
    /// No attempt starts before this time.
    due: u64,
    gave_up: Option<Error>,
    jitter: Jitter,
    /// Which of the publisher's connections this is.
    lane: usize,
    wait: u64,
    retry_on_connect: bool,
    max_reconnects: Option<u32>,
    discover: bool,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    configured: bool,
    /// It was connected once: its address is not just hearsay.
    proven: bool,
    failures: u32,
    auth_failures: u32,
    last_error: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Never connected so far.
    First,
    Connected {
        since: u64,
    },
    Lost,
}

impl Pool {
    /// A pool of the configured servers, in their order, of which the first 256 count.
    pub(crate) fn new(servers: &[ServerUrl], settings: &Settings, lane: usize, seed: u64) -> Self {
        let entry = |server: &ServerUrl| Entry::new(Target { server: server.clone(), tls_name: server.host.clone() }, true);
        Pool {
            entries: servers.iter().take(MAX_SERVERS).map(entry).collect(),
            phase: Phase::First,
            attempts: 0,
            tried: 0,
            since: None,
            short_lives: 0,
            unsteady_since: 0,
            due: 0,
            gave_up: None,
            jitter: Jitter::new(seed),
            lane,
            wait: nanos(settings.reconnect_wait).max(MS),
            retry_on_connect: settings.retry_on_connect,
            max_reconnects: settings.max_reconnects,
            discover: settings.discover_servers,
        }
    }

    /// The next step while there is no connection. Once exhausted it stays exhausted.
    pub(crate) fn next(&mut self, now: u64) -> Next {
        if self.gave_up.is_none() && self.is_used_up() {
            self.gave_up = Some(self.final_error());
        }
        if let Some(error) = &self.gave_up {
            return Next::Exhausted(error.clone());
        }
        if now < self.due {
            return Next::Wait(self.due);
        }
        let Some(entry) = self.entries.pop_front() else {
            return Next::Exhausted(Error::new(Status::InvalidOption, "servers: no server is configured"));
        };
        let target = entry.target.clone();
        self.entries.push_back(entry);
        self.tried += 1;
        Next::Connect(target)
    }

    /// An attempt failed. While another connection stands (lame duck) it is noted and costs nothing.
    pub(crate) fn failed(&mut self, now: u64, server: &ServerUrl, error: Error) {
        if let Some(entry) = self.move_to_end(server) {
            let again = entry.last_error.as_ref().is_some_and(|last| last.status() == error.status() && last.message() == error.message());
            entry.failures = entry.failures.saturating_add(1);
            entry.auth_failures = match error.status() {
                Status::AuthFailed if again => entry.auth_failures.saturating_add(1),
                Status::AuthFailed => 1,
                _ => 0,
            };
            entry.last_error = Some(error);
        }
        if let Phase::Connected { .. } = self.phase {
            return;
        }
        self.attempts = self.attempts.saturating_add(1);
        if self.tried >= self.entries.len() {
            self.tried = 0;
            let waited = now.saturating_sub(*self.since.get_or_insert(now));
            self.due = now.saturating_add(self.pause(waited / RECONNECT_PART));
        }
        if self.is_locked_out() {
            self.gave_up = Some(self.final_error());
        }
    }

    /// The server took us, with its first PONG.
    pub(crate) fn connected(&mut self, now: u64, server: &ServerUrl) {
        if let Some(entry) = self.move_to_end(server) {
            (entry.failures, entry.auth_failures, entry.last_error, entry.proven) = (0, 0, None, true);
        }
        (self.attempts, self.tried, self.since) = (0, 0, None);
        self.phase = Phase::Connected { since: now };
    }

    /// The connection ended. The next attempt may start at once, unless connections keep ending young.
    pub(crate) fn lost(&mut self, now: u64) {
        if let Phase::Connected { since } = self.phase {
            let young = now.saturating_sub(since) < SHORT_LIFE;
            self.short_lives = if young { self.short_lives.saturating_add(1) } else { 0 };
            if self.short_lives < 2 {
                self.unsteady_since = now;
            }
        }
        (self.attempts, self.tried, self.since) = (0, 0, Some(now));
        self.phase = Phase::Lost;
        self.spread();
        let unsteady = now.saturating_sub(self.unsteady_since);
        self.due = if self.short_lives < 2 { now } else { now.saturating_add(self.pause(unsteady / RECONNECT_PART)) };
    }

    /// The connections of a publisher that lose one server go to different ones: the others, which stand before it, are rotated by the connection's number.
    fn spread(&mut self) {
        let others = self.entries.len().saturating_sub(1);
        if let Some(by) = self.lane.checked_rem(others) {
            self.entries.make_contiguous()[..others].rotate_left(by);
        }
    }

    /// `connect_urls` of an INFO from this server: new servers come in and are returned, those no longer told of go. An empty list says nothing. An INFO that
    /// was read before the TLS handshake can be anybody's: what keeps a false server from the credentials is the `tls` flag and the name that it inherits.
    pub(crate) fn discovered(&mut self, addresses: &[String], from: &ServerUrl) -> Vec<ServerUrl> {
        let mut new = Vec::new();
        if !self.discover || addresses.is_empty() {
            return new;
        }
        let tls_name = self.entries.iter().find(|entry| entry.is(from)).map_or_else(|| from.host.clone(), |entry| entry.target.tls_name.clone());
        let told: Vec<ServerUrl> = addresses.iter().take(MAX_SERVERS).filter_map(|address| from.told_of(address)).collect();
        self.entries.retain(|entry| entry.configured || entry.is(from) || told.iter().any(|server| entry.is(server)));
        for server in told {
            if self.entries.len() >= MAX_SERVERS {
                break;
            }
            if !self.entries.iter().any(|entry| entry.is(&server)) {
                // Before the server that we are connected to: should that die, it comes last.
                let at = self.entries.len() - usize::from(self.entries.back().is_some_and(|entry| entry.is(from)));
                new.push(server.clone());
                self.entries.insert(at, Entry::new(Target { server, tls_name: tls_name.clone() }, false));
            }
        }
        new
    }

    /// Another server to go to when this one asks its clients to leave (lame duck).
    pub(crate) fn other_than(&self, server: &ServerUrl) -> Option<Target> {
        let others: Vec<&Entry> = self.entries.iter().filter(|entry| !entry.is(server)).collect();
        let place = self.lane.checked_rem(others.len())?;
        others.get(place).map(|entry| entry.target.clone())
    }

    /// The first connect has one round, and with `retry_on_connect` as many further attempts as a reconnect.
    fn is_used_up(&self) -> bool {
        let one_round = || u32::try_from(self.entries.iter().filter(|entry| entry.configured).count()).unwrap_or(u32::MAX);
        let allowed = match self.phase {
            Phase::First if self.retry_on_connect => self.max_reconnects.map(|more| one_round().saturating_add(more)),
            Phase::First => Some(one_round()),
            _ => self.max_reconnects,
        };
        allowed.is_some_and(|allowed| self.attempts >= allowed)
    }

    /// Every server that is known to exist refuses us for good. One that is down may still take us when it comes back; an address by hearsay that never
    /// answered (common behind NAT) must not keep the hope alive for ever.
    fn is_locked_out(&self) -> bool {
        let mut known = self.entries.iter().filter(|entry| entry.configured || entry.proven).peekable();
        known.peek().is_some() && known.all(|entry| entry.auth_failures >= AUTH_FAILURES)
    }

    /// Moves the server behind the others. It can have left the pool in the meantime.
    fn move_to_end(&mut self, server: &ServerUrl) -> Option<&mut Entry> {
        let index = self.entries.iter().position(|entry| entry.is(server))?;
        let entry = self.entries.remove(index)?;
        self.entries.push_back(entry);
        self.entries.back_mut()
    }

    /// A pause of about that length, within the limits, with jitter: clients of a restarted server shall not come back in step.
    fn pause(&mut self, full: u64) -> u64 {
        self.jitter.pause(full.clamp(self.wait, MAX_WAIT.max(self.wait)))
    }

    /// The error to give up with: every server's last one. It is fatal once there is a publisher that it ends.
    fn final_error(&self) -> Error {
        let causes: Vec<(&Entry, &Error)> = self.entries.iter().filter_map(|entry| entry.last_error.as_ref().map(|error| (entry, error))).collect();
        let status = match causes.split_first() {
            Some(((_, first), rest)) if rest.iter().all(|(_, error)| error.status() == first.status()) => first.status(),
            _ => Status::ConnectFailed,
        };
        let mut text = match (self.phase, self.attempts) {
            (Phase::First, _) => "no server could be reached".to_owned(),
            (_, 0) => "the connection was lost and max_reconnects is 0".to_owned(),
            (_, attempts) => format!("gave up after {attempts} failed attempts to reconnect"),
        };
        for (index, (entry, error)) in causes.iter().take(NAMED_SERVERS).enumerate() {
            let server = entry.target.server.to_string();
            let between = if index == 0 { ": " } else { "; " };
            // Some errors name their server already.
            let name = if error.message().contains(&server) { String::new() } else { format!("{server}: ") };
            let times = if entry.failures > 1 { format!(" ({} times)", entry.failures) } else { String::new() };
            let _ = write!(text, "{between}{name}{}{times}", error.message());
        }
        if causes.len() > NAMED_SERVERS {
            let _ = write!(text, "; and {} more", causes.len() - NAMED_SERVERS);
        }
        let error = Error::new(status, text);
        if self.phase == Phase::First && !self.retry_on_connect { error } else { error.into_fatal() }
    }
}

impl Entry {
    fn new(target: Target, configured: bool) -> Self {
        Entry { target, configured, proven: false, failures: 0, auth_failures: 0, last_error: None }
    }

    fn is(&self, server: &ServerUrl) -> bool {
        self.target.server.is_same_place(server)
    }
}

#[cfg(test)]
mod tests;
