//! **ackbus**: an event-bus publisher with one unified acknowledgement handler.
//!
//! [`Publisher::publish`] hands a message over and returns; one handler settles the acknowledgement of every message of every topic, whatever happens to the
//! connection, and tells exactly one outcome for each: persisted, proven not persisted, or in doubt. No task, thread, future or timer per message.

#![deny(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::vec_box, reason = "a slot moves between threads as one pointer; its 400 bytes stay where they are, and so do the views that reports give")]

mod accept;
mod admission;
mod config;
mod deadline;
mod dispatch;
mod error;
mod events;
mod explain;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod handler;
mod hold;
mod jitter;
mod known;
mod lane;
mod ledger;
mod message;
mod metrics;
mod monitor;
mod passing;
mod publisher;
mod report;
mod resend;
#[cfg(feature = "rooms")]
#[doc(hidden)]
pub mod rooms;
mod rule_state;
mod runtime;
mod seconds;
mod settle;
mod shared;
#[cfg(test)]
mod simulation;
mod stats;
mod sync;
mod sys;
mod topic;
mod trace;
mod wait;
mod wire;

pub use admission::in_callback;
pub use config::Config;
pub use dispatch::{Handlers, Sink, enter_callback, leave_callback};
pub use error::{Error, Persistence, Result, Status};
pub use events::{Event, EventKind};
pub use message::{Message, StallWait};
pub use metrics::{METRICS_CONTENT_TYPE, METRICS_MAX, metrics};
pub use publisher::Publisher;
pub use report::{REPORT_DUPLICATE, REPORT_EPHEMERAL, REPORT_MARK, Report, Reports, Ticket};
pub use shared::{Info, Purge, State};
pub use stats::{Figure, MetricKind, Stats};
pub use sys::forked;
pub use wait::interruptible;

/// Logging: where records go, and how many.
pub mod log {
    pub use crate::trace::{Level, LogSink, flush, set};
}

/// The version as `0x00MMmmpp`: major, minor, patch.
#[must_use]
pub const fn version() -> u32 {
    const fn part(text: &str) -> u32 {
        let bytes = text.as_bytes();
        let (mut value, mut i) = (0, 0);
        while i < bytes.len() {
            value = value * 10 + (bytes[i] - b'0') as u32;
            i += 1;
        }
        value
    }
    part(env!("CARGO_PKG_VERSION_MAJOR")) << 16 | part(env!("CARGO_PKG_VERSION_MINOR")) << 8 | part(env!("CARGO_PKG_VERSION_PATCH"))
}

/// The version as text.
#[must_use]
pub const fn version_string() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
