//! The C ABI of ackbus. `include/ackbus.h` is generated from this crate by cbindgen; its doc comments are the header's.
//!
//! One file per C type. Nothing is decided here: an entry point converts its arguments, calls the core, and converts the result.
//!
//! * [`handle`] turns C's pointers into references, and nothing else does.
//! * [`panics`] keeps panics inside, and nothing else does.
//! * [`guard`] turns errors into a status and an `ackbus_error`.
//!
//! Every function has the same shape: one [`handle::Call`], which carries C's promise to keep the header's rules, then safe code.

#![allow(non_camel_case_types, reason = "the names are C's")]
#![allow(clippy::missing_safety_doc, reason = "the rules that a C caller keeps are on the header's main page, in cbindgen.toml")]
#![warn(clippy::disallowed_methods)]

pub mod callback;
pub mod config;
pub mod enter;
pub mod error;
pub mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod guard;
mod handle;
pub mod info;
mod inside;
mod layout;
pub mod log;
pub mod message;
pub mod metrics;
pub mod packed;
mod panics;
pub mod poll;
pub mod publish;
pub mod publisher;
pub mod report;
pub mod stats;
pub mod text;
pub mod version;
