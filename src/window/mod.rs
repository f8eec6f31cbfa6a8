//! The window: who may enter, and who waits.

pub(crate) mod admission;
pub(crate) mod places;
pub(crate) mod refused;
mod waiting;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod refused_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
