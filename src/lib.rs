//! **ackbus**: an event-bus publisher with one unified acknowledgement handler.
//!
//! [`Publisher::publish`] hands a message over and returns; one handler settles the acknowledgement of every message of every topic, whatever happens to the
//! connection, and tells exactly one outcome for each: persisted, proven not persisted, or in doubt. No task, thread, future or timer per message.

#![deny(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::vec_box, reason = "a slot moves between threads as one pointer; its 400 bytes stay where they are, and so do the views that reports give")]

mod base;
mod bus;
mod config;
mod desk;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod ledger;
mod message;
mod publisher;
#[cfg(feature = "rooms")]
#[doc(hidden)]
pub mod rooms;
mod runtime;
#[cfg(test)]
mod simulation;
mod stats;
mod trace;
mod window;
mod wire;

pub use base::calls::in_callback;
pub use base::error::{Error, Persistence, Result, Status};
pub use base::sys::forked;
pub use base::version::{version, version_string};
pub use base::wait::interruptible;
pub use bus::standing::{Info, Purge, State};
pub use config::Config;
pub use desk::callback::{enter_callback, leave_callback};
pub use desk::events::{Event, EventKind};
pub use desk::report::{REPORT_DUPLICATE, REPORT_EPHEMERAL, REPORT_MARK, Report};
pub use desk::sink::{Handlers, Sink};
pub use desk::tickets::{Reports, Ticket};
pub use message::{Message, StallWait};
pub use publisher::{METRICS_CONTENT_TYPE, METRICS_MAX, Publisher, metrics};
pub use stats::{Figure, MetricKind, Stats};

/// Logging: where records go, and how many.
pub mod log {
    pub use crate::base::level::Level;
    pub use crate::trace::{LogSink, flush, set};
}
