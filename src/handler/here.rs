//! Here: what holds for all rooms in this turn: the time, the connection, the rules and the options.

use std::sync::Arc;

use crate::base::time::{Nanos, nanos};
use crate::bus::lane::Lane;
use crate::bus::shared::Shared;
use crate::config::settings::Settings;
use crate::config::topic::{Rule, Rules};
use crate::ledger::slot::Slot;
use crate::wire::Limits;

/// Read by every room, changed by the handler alone.
pub(crate) struct Here {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    rules: Arc<Rules>,
    /// The option `ack_wait_ms`.
    ack_wait: Nanos,
    now: Nanos,
    age: Nanos,
    /// Somebody answers: a server can be asked.
    online: bool,
    /// The connection that messages go to.
    epoch: Option<u32>,
    /// How often the publisher came online.
    connects: u32,
    server: String,
    limits: Limits,
}

impl Here {
    pub(super) fn new(shared: Arc<Shared>, lane: Arc<Lane>) -> Self {
        let (rules, ack_wait) = (shared.rules.load_full(), nanos(shared.settings.ack_wait));
        Here { shared, lane, rules, ack_wait, now: 0, age: 0, online: false, epoch: None, connects: 0, server: String::new(), limits: Limits::of(u64::MAX) }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    #[inline(always)]
    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    #[inline(always)]
    pub(super) fn now(&self) -> Nanos {
        self.now
    }

    /// Like [`now`](Self::now), but runs on while the machine is suspended (P4).
    #[inline(always)]
    pub(super) fn age(&self) -> Nanos {
        self.age
    }

    /// How long an answer is waited for.
    #[inline(always)]
    pub(super) fn ack_wait(&self) -> Nanos {
        self.ack_wait
    }

    /// Until when the answer to what is sent now is waited for.
    #[inline(always)]
    pub(super) fn ack_due(&self) -> Nanos {
        self.now.saturating_add(self.ack_wait)
    }

    pub(super) fn set_time(&mut self, now: Nanos, age: Nanos) {
        (self.now, self.age) = (now, age);
    }

    // ---- The carrier's words ----

    /// Whether the server would know a second copy of this message, and not store it.
    pub(super) fn knows_copies(&self, slot: &Slot) -> bool {
        self.lane.framing.knows_copies(slot)
    }

    /// The code that reports carry for a stream that does not exist.
    pub(super) fn no_stream_code(&self) -> u32 {
        self.lane.framing.no_stream_code()
    }

    /// The code for a message that nobody took.
    pub(super) fn nobody_code(&self) -> u32 {
        self.lane.framing.nobody_code()
    }

    // ---- Rules ----

    #[inline(always)]
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    #[inline(always)]
    pub(super) fn rule(&self, rule: u32) -> &Rule {
        self.rules.get(rule)
    }

    /// Whether the rule names the stream that takes its messages.
    #[inline(always)]
    pub(super) fn names_stream(&self, rule: u32) -> bool {
        self.rules.get(rule).stream.is_some()
    }

    /// Other rules hold from now on. Gives those before.
    pub(super) fn set_rules(&mut self, rules: Arc<Rules>) -> Arc<Rules> {
        std::mem::replace(&mut self.rules, rules)
    }

    // ---- The connection ----

    /// The connection that messages go to, if there is one.
    #[inline(always)]
    pub(super) fn epoch(&self) -> Option<u32> {
        self.epoch
    }

    /// A server can be asked.
    pub(super) fn is_online(&self) -> bool {
        self.online
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A server answers. Gives the number of times that this was so.
    pub(super) fn go_online(&mut self, server: &str, limits: Limits) -> u32 {
        self.online = true;
        self.connects += 1;
        server.clone_into(&mut self.server);
        self.limits = limits;
        self.connects
    }

    /// Nobody answers any more.
    pub(super) fn go_offline(&mut self) {
        self.online = false;
    }

    /// A new connection. Gives the one before, if that still stands.
    pub(super) fn begin_epoch(&mut self, epoch: u32) -> Option<u32> {
        self.epoch.replace(epoch)
    }

    /// A connection is gone.
    pub(super) fn end_epoch(&mut self, epoch: u32) {
        if self.epoch == Some(epoch) {
            self.epoch = None;
        }
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// A server that was tried in vain is the one that is told of.
    pub(super) fn set_server(&mut self, server: &str) {
        server.clone_into(&mut self.server);
    }
}
