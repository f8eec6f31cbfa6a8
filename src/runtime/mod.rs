//! The runtime: threads, sockets and time for the handler, which has none of its own.
//!
//! `ackbus-io` runs the handler on a current-thread tokio runtime, one such thread for each connection; `ackbus-report` runs the user's callbacks (none in poll mode). The
//! name resolver may borrow a third for a moment; it runs no code of the user's. Whatever ends an I/O thread, a panic included, its last act settles what is left (P1).

mod ages;
pub(crate) mod dial;
pub(crate) mod drive;
mod memory;
pub(crate) mod network;
mod reach;
pub(crate) mod rounds;
mod sockets;
mod stream;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use self::drive::NatsDriver;
use self::memory::MemoryDriver;
use self::rounds::Drive;
use self::sockets::Internet;
use crate::base::calls::enter_callback_thread;
use crate::base::error::{Error, Result, Status};
use crate::base::sys;
use crate::bus::lane::Lane;
use crate::bus::shared::Shared;
use crate::config::servers::Servers;
use crate::desk::sink::Handlers;
use crate::handler::Handler;
use crate::trace;

fn internal(what: &str, error: impl std::fmt::Display) -> Error {
    Error::new(Status::Internal, format!("{what}: {error}"))
}

/// Starts the publisher's threads.
pub(crate) fn start(shared: &Arc<Shared>, handlers: Handlers) -> Result<()> {
    let dialer = match &shared.settings.servers {
        Servers::Memory => None,
        Servers::Nats(_) => Some(Arc::new(dial::Dialer::new(&shared.settings)?)),
    };
    // One for each lane, so that no two come back to a server in step.
    let seeds = shared.lanes.iter().map(|_| seed()).collect::<Result<Vec<u64>>>()?;
    if handlers.reports.is_some() || handlers.events.is_some() {
        let desk = Arc::clone(&shared.desk);
        let serve = move || {
            enter_callback_thread();
            desk.serve(handlers);
        };
        sys::spawn("ackbus-report", sys::block_for_report_thread, serve).map_err(|error| internal("a thread cannot be started", error))?;
    } else {
        shared.desk.nobody_serves();
    }
    for (lane, seed) in shared.lanes.iter().zip(seeds) {
        let (for_io, for_lane, dialer) = (Arc::clone(shared), Arc::clone(lane), dialer.clone());
        let io = move || {
            let _log = trace::enter_thread();
            match (dialer, for_lane.framing.nats()) {
                (Some(dialer), Some(encoder)) => run(&for_io, &for_lane, NatsDriver::new(&for_io, &for_lane, encoder, Internet, dialer, seed)),
                _ => run(&for_io, &for_lane, MemoryDriver::new(&for_io, seed)),
            }
        };
        let name = if lane.is_first() { "ackbus-io".to_owned() } else { format!("ackbus-io-{}", lane.index) };
        if let Err(error) = sys::spawn(&name, sys::block_all_signals_but_synchronous, io) {
            let error = internal("a thread cannot be started", error);
            // The threads that run end by themselves; those that never ran have nothing to settle.
            shared.fail(&error);
            for lane in shared.lanes.iter().skip(lane.index) {
                leave(shared, lane, None);
            }
            return Err(error);
        }
    }
    Ok(())
}

fn seed() -> Result<u64> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| internal("no random numbers", error))?;
    Ok(u64::from_le_bytes(seed))
}

/// An I/O thread.
fn run(shared: &Arc<Shared>, lane: &Lane, mut driver: impl Drive) {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(|error| internal("no runtime", error))?;
        let ended = runtime.block_on(driver.run());
        // A name resolver that hangs must not hang `close`.
        runtime.shutdown_background();
        ended
    }));
    let ended = ended.unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        Err(internal("the acknowledgement handler panicked; please report this", what.unwrap_or_default()))
    });
    let mut handler = driver.into_handler();
    let settled = catch_unwind(AssertUnwindSafe(|| {
        if let Err(error) = ended {
            handler.fail(&error);
        }
        last_act(shared, lane, &mut handler);
    }));
    if settled.is_err() {
        // Twice: `close` must return all the same, and publishes must not wait.
        shared
            .window
            .shut(Error::new(Status::Internal, "the acknowledgement handler panicked while it settled what was left; please report this").into_fatal());
        lane.queue.shut();
        leave(shared, lane, None);
    }
}

/// Settles whatever came in meanwhile.
pub(crate) fn last_act(shared: &Shared, lane: &Lane, handler: &mut Handler) {
    let error = shared.window.closed().unwrap_or_else(|| Error::new(Status::Closed, "the publisher is closed"));
    handler.settle_all(&error);
    leave(shared, lane, Some(handler));
}

/// A lane is done. The last one says that nothing more will come.
fn leave(shared: &Shared, lane: &Lane, handler: Option<&Handler>) {
    if !shared.lane_done(lane) {
        return;
    }
    if let Some(handler) = handler {
        shared.desk.event(handler.ended_event());
    }
    shared.desk.end();
    shared.io_gone();
}
