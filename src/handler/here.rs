//! Here: what holds for all rooms in this turn: the time, the connection, the rules and the options.

use std::sync::Arc;

use crate::base::time::Nanos;
use crate::bus::lane::Lane;
use crate::bus::shared::Shared;
use crate::config::settings::Settings;
use crate::config::topic::{Rule, Rules};
use crate::wire::Limits;

/// Read by every room, changed by the handler alone.
pub(crate) struct Here {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    rules: Arc<Rules>,
    now: Nanos,
    age: Nanos,
    epoch: Option<u32>,
    /// Connections so far.
    epochs: u32,
    server: String,
    limits: Limits,
}

impl Here {
    pub(super) fn new(shared: Arc<Shared>, lane: Arc<Lane>) -> Self {
        let rules = shared.rules.load_full();
        Here { shared, lane, rules, now: 0, age: 0, epoch: None, epochs: 0, server: String::new(), limits: Limits::of(u64::MAX) }
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

    pub(super) fn set_time(&mut self, now: Nanos, age: Nanos) {
        (self.now, self.age) = (now, age);
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
        self.epoch.is_some()
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A new connection. Gives the epoch of the one before, if that still stands, and the number of this one.
    pub(super) fn connect(&mut self, epoch: u32, server: &str, limits: Limits) -> (Option<u32>, u32) {
        self.epochs += 1;
        server.clone_into(&mut self.server);
        self.limits = limits;
        (self.epoch.replace(epoch), self.epochs)
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// A server that was tried in vain is the one that is told of.
    pub(super) fn set_server(&mut self, server: &str) {
        server.clone_into(&mut self.server);
    }

    /// The connection is gone.
    pub(super) fn disconnect(&mut self) {
        self.epoch = None;
    }
}
