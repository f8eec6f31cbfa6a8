//! What the tests of ackbus stand on. Everything is on 127.0.0.1, blocks the calling thread, and is gone when its value is dropped
//! (so keep none of it in a `static`, which never is).
//!
//! * [`Server`]: a real nats-server with JetStream and a store of its own; [`Cluster`]: several that form one.
//! * [`Reader`]: an independent client that says what a stream holds.
//! * [`Proxy`]: a TCP proxy between client and server that holds, slows, resets, refuses, and loses, repeats, delays, tears or replaces single frames.
//! * [`Liar`]: a server that plays a script, and many scripts that no honest server would play.
//! * [`Control`]: all of this by lines of JSON, for tests in other languages.
//! * [`Certs`] and [`Credentials`]: certificates and user credentials made for one test.
//!
//! A failure here is a failure of the test: functions panic and say what was expected, and the server's log is part of the text.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "this is test code: what cannot be set up fails the test")]

mod background;
mod certs;
mod chance;
mod cluster;
mod control;
mod credentials;
mod frames;
mod interest;
mod leaf;
mod liar;
mod port;
mod process;
mod proxy;
mod reader;
mod server;

/// The client under the [`Reader`], for its options.
pub use async_nats;
pub use certs::Certs;
pub use cluster::Cluster;
pub use control::Control;
pub use credentials::Credentials;
pub use frames::Verb;
pub use liar::{Liar, Script, Step};
pub use proxy::{Action, Link, Proxy, choose};
pub use reader::{Reader, Service, StoredMsg, StreamConfig, StreamInfo, Subscription};
pub use server::{Options, Server, server_binary};

use std::time::{Duration, Instant};

/// Calls `probe` every few milliseconds until it returns something, at most for `limit`; panics with `what` if it never does.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
