//! The desk: from settled slots to the user.

pub(crate) mod callback;
pub(crate) mod dispatch;
pub(crate) mod events;
pub(crate) mod report;
pub(crate) mod sink;
pub(crate) mod tickets;
