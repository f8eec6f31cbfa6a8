//! The runtime: threads, sockets and time for the handler, which has none of its own.
//!
//! Two threads per publisher: `ackbus-io` runs the handler on a current-thread tokio runtime, `ackbus-report` runs the user's callbacks (none in poll mode). The
//! name resolver may borrow a third for a moment; it runs no code of the user's. Whatever ends the I/O thread, a panic included, its last act settles what is left (P1).

mod dial;
mod drive;
mod rounds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use self::drive::NatsDriver;
use self::rounds::{Drive, MemoryDriver};
use crate::admission::enter_callback_thread;
use crate::dispatch::Handlers;
use crate::error::{Error, Result, Status};
use crate::handler::Core;
use crate::shared::Shared;
use crate::sys;
use crate::trace;
use crate::wire::nats::url::Servers;

fn internal(what: &str, error: impl std::fmt::Display) -> Error {
    Error::new(Status::Internal, format!("{what}: {error}"))
}

/// Starts the publisher's threads.
pub(crate) fn start(shared: &Arc<Shared>, handlers: Handlers) -> Result<()> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| internal("no random numbers", error))?;
    let dialer = match &shared.settings.servers {
        Servers::Memory => None,
        Servers::Nats(_) => Some(dial::Dialer::new(&shared.settings)?),
    };
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
    let for_io = Arc::clone(shared);
    let io = move || {
        let _log = trace::enter_thread();
        let random = u64::from_le_bytes(seed);
        match dialer {
            None => run(&for_io, MemoryDriver::new(&for_io, random)),
            Some(dialer) => run(&for_io, NatsDriver::new(&for_io, dialer, random)),
        }
    };
    if let Err(error) = sys::spawn("ackbus-io", sys::block_all_signals_but_synchronous, io) {
        shared.desk.end();
        return Err(internal("a thread cannot be started", error));
    }
    Ok(())
}

/// The I/O thread.
fn run(shared: &Arc<Shared>, mut driver: impl Drive) {
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
    let mut core = driver.into_core();
    let settled = catch_unwind(AssertUnwindSafe(|| {
        if let Err(error) = ended {
            core.fail(&error);
        }
        last_act(shared, &mut core);
    }));
    if settled.is_err() {
        // Twice: `close` must return all the same, and publishes must not wait.
        shared
            .window
            .shut(Error::new(Status::Internal, "the acknowledgement handler panicked while it settled what was left; please report this").into_fatal());
        shared.queue.shut();
        shared.desk.end();
        shared.io_gone();
    }
}

/// Settles whatever came in meanwhile, and says that nothing more will come.
pub(crate) fn last_act(shared: &Arc<Shared>, core: &mut Core) {
    let error = shared.window.closed().unwrap_or_else(|| Error::new(Status::Closed, "the publisher is closed"));
    for slot in shared.queue.shut() {
        core.table.insert(slot);
    }
    core.end_all(&error);
    core.hand_over();
    core.finish_commands();
    let ended = core.ended_event();
    shared.desk.event(ended);
    shared.desk.end();
    shared.io_gone();
}
