//! What a message carries home: its `tag` and its future, while the core carries a number.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use slab::Slab;

/// What belongs to one message. Empty: it has neither tag nor future.
#[derive(Default)]
pub(crate) struct Luggage {
    pub(crate) tag: Option<Py<PyAny>>,
    pub(crate) future: Option<Py<PyAny>>,
    /// The caller wants the report whatever the option `report` says.
    pub(crate) report_always: bool,
}

impl Luggage {
    fn is_empty(&self) -> bool {
        self.tag.is_none() && self.future.is_none() && !self.report_always
    }
}

/// The luggage of all messages on their way.
#[derive(Default)]
pub(crate) struct Tags(Mutex<Slab<Luggage>>);

impl Tags {
    /// The number to send along; 0 for none.
    pub(crate) fn check_in(&self, luggage: Luggage) -> u64 {
        if luggage.is_empty() { 0 } else { self.lock().insert(luggage) as u64 + 1 }
    }

    /// What was checked in under this number. Dropped by the caller, without the lock: a destructor is user code and may publish.
    pub(crate) fn claim(&self, number: u64) -> Luggage {
        match usize::try_from(number) {
            Ok(number) if number > 0 => self.lock().try_remove(number - 1).unwrap_or_default(),
            _ => Luggage::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Luggage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
