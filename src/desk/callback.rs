//! Callbacks of users' own: a thread that handles reports as a callback would.

use std::cell::RefCell;
use std::sync::Arc;

use crate::base::calls::{enter_callback_thread, leave_callback_thread, may_enter};
use crate::base::error::Result;
use crate::base::sys;
use crate::desk::dispatch::Desk;
use crate::ledger::slot::Slot;

/// How the user made this thread one inside a callback.
enum Entered {
    WithoutReports,
    /// With this desk's places.
    Lent(Arc<Desk>),
}

thread_local! {
    static ENTERED: RefCell<Option<Entered>> = const { RefCell::new(None) };
}

/// Makes the calling thread one that is inside a callback, until [`leave_callback`]: publishes never wait, waiting calls return `WrongThread`. For handlers that
/// run on threads of the user's; with polled reports use [`Reports::enter_callback`](crate::Reports::enter_callback), which lends their places too.
///
/// # Errors
/// `InvalidState` inside a callback; `Forked`.
pub fn enter_callback() -> Result<()> {
    may_enter()?;
    enter_callback_thread();
    ENTERED.set(Some(Entered::WithoutReports));
    Ok(())
}

/// Ends what [`enter_callback`] or [`Reports::enter_callback`](crate::Reports::enter_callback) began on this thread: lent places that were not used go back to
/// the window. Where neither began anything it does nothing.
pub fn leave_callback() {
    let Some(entered) = ENTERED.take() else { return };
    if let Entered::Lent(desk) = entered
        // In a forked child the window's lock may be held for ever (P8).
        && !sys::forked()
    {
        desk.end_loan();
    }
    leave_callback_thread();
}

/// The user handles these reports on this thread as a callback would: their places become the thread's own (P3).
pub(crate) fn enter_with_reports(desk: &Arc<Desk>, slots: &[Box<Slot>]) {
    desk.lend(slots);
    ENTERED.set(Some(Entered::Lent(Arc::clone(desk))));
}
