//! Base: what every floor above stands on, and what knows none of them.

pub(crate) mod calls;
pub(crate) mod counter;
pub(crate) mod error;
pub(crate) mod jitter;
pub(crate) mod level;
pub(crate) mod names;
pub(crate) mod secret;
pub(crate) mod sync;
pub(crate) mod sys;
pub(crate) mod time;
pub(crate) mod version;
pub(crate) mod wait;
