//! The bus: what the threads of one publisher share.

pub(crate) mod lane;
pub(crate) mod shared;
pub(crate) mod standing;
