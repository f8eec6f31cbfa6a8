//! Leaf nodes: a hub, and servers that reach it by one connection.

use std::net::SocketAddr;
use std::time::Duration;

use crate::server::{Options, Server};
use crate::wait_for;

/// A link is made within milliseconds once both sides run; a busy machine makes it slow.
const LINK_LIMIT: Duration = Duration::from_secs(30);

impl Options {
    /// Lets leaf nodes connect: the server is a hub.
    #[must_use]
    pub fn hub(mut self) -> Self {
        self.takes_leaves = true;
        self
    }

    /// Makes it a leaf node of `hub`. Its global account and the hub's are one.
    ///
    /// # Panics
    /// When the other one is no hub.
    #[must_use]
    pub fn leaf_of(self, hub: &Server) -> Self {
        self.leaf_at(&format!("nats://{}", hub.leaf_address()))
    }

    /// The same with the account of this user: see [`Options::account`].
    ///
    /// # Panics
    /// When the other one is no hub.
    #[must_use]
    pub fn leaf_of_user(self, hub: &Server, user: &str) -> Self {
        self.leaf_at(&format!("nats://{user}:pw@{}", hub.leaf_address()))
    }

    fn leaf_at(self, url: &str) -> Self {
        self.config(format!("leafnodes {{ reconnect: \"100ms\", remotes: [{{ url: \"{url}\" }}] }}"))
    }

    /// Names the domain of its JetStream.
    #[must_use]
    pub fn domain(self, name: &str) -> Self {
        self.jetstream(format!("domain: {name}"))
    }
}

impl Server {
    /// Where leaf nodes connect.
    ///
    /// # Panics
    /// When it is no [hub](Options::hub).
    #[must_use]
    pub fn leaf_address(&self) -> SocketAddr {
        self.leaves.as_ref().unwrap_or_else(|| panic!("server {} is no hub", self.name())).address()
    }

    /// Waits until this leaf node knows that its hub wants `subject`, such as the `orders.>` of a stream there.
    ///
    /// # Panics
    /// When it does not within 30 s.
    pub fn wait_wanted(&self, subject: &str) {
        wait_for(&format!("the hub's interest in {subject}"), LINK_LIMIT, || {
            let page = self.monitor("/leafz?subs=1").ok()?;
            let wanted =
                page["leafs"].as_array()?.iter().any(|link| link["subscriptions_list"].as_array().is_some_and(|list| list.iter().any(|one| one == subject)));
            wanted.then_some(())
        });
    }

    /// Waits until this leaf node has lost its hub.
    ///
    /// # Panics
    /// When it has not within 30 s.
    pub fn wait_alone(&self) {
        wait_for("the end of the leaf connection", LINK_LIMIT, || (self.monitor("/leafz").ok()?["leafnodes"].as_u64()? == 0).then_some(()));
    }
}
