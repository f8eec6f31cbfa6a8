//! The ledger: one slot per message, from `publish` to the end of its report.
//!
//! A [`Slot`](slot::Slot) is a box that one thread at a time owns: the publisher fills it, the send queue carries it to the I/O thread, whose [`Table`](table::Table) keeps it until
//! it is settled, the report queue carries it to the user, and the window takes it back. Ownership moves with the box, so no slot needs a lock, and no message an allocation.

pub(crate) mod content;
pub(crate) mod deadline;
pub(crate) mod queue;
pub(crate) mod refusal;
pub(crate) mod slot;
pub(crate) mod table;
