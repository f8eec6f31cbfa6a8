//! Whether a thread is inside a callback, and what it may not do there.

use std::cell::Cell;

use ackbus::{Error, Result, Status};

thread_local! {
    /// A finalizer or a log callback runs on this thread. The core knows of its own callbacks only.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs a function of C's that the core does not know to be a callback.
pub(crate) fn inside(run: impl FnOnce()) {
    let outer = INSIDE.replace(true);
    run();
    INSIDE.set(outer);
}

/// Whether this crate, not the core, is calling such a function on this thread.
pub(crate) fn in_call_of_ours() -> bool {
    INSIDE.get()
}

/// Refuses a waiting call from inside a callback (P5).
pub(crate) fn may_wait() -> Result<()> {
    if ackbus::in_callback() || in_call_of_ours() {
        return Err(Error::new(Status::WrongThread, "this call waits, so it may not be made from a callback"));
    }
    Ok(())
}
