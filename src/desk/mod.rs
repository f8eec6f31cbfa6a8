//! The desk: from settled slots to the user.

pub(crate) mod dispatch;
pub(crate) mod events;
pub(crate) mod report;
pub(crate) mod tickets;
