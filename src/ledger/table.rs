//! The I/O thread's table: who is pending, by slot number.

use crate::ledger::slot::{CHUNK, Slot};

/// Makes a list by slot number long enough for this one, and an eighth longer. Doubled, as vectors grow, it would be empty by half.
pub(crate) fn reach<T>(list: &mut Vec<T>, slot: usize, empty: impl FnMut() -> T) {
    if slot >= list.len() {
        let places = (slot + slot / 8 + 1).next_multiple_of(CHUNK);
        list.reserve_exact(places - list.len());
        list.resize_with(places, empty);
    }
}

/// The I/O thread's side: who is pending, by slot number.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Option<Box<Slot>>>,
    len: usize,
}

impl Table {
    pub(crate) fn insert(&mut self, slot: Box<Slot>) {
        let index = slot.index as usize;
        reach(&mut self.slots, index, || None);
        if let Some(place) = self.slots.get_mut(index) {
            debug_assert!(place.is_none(), "slot {index} is taken");
            *place = Some(slot);
            self.len += 1;
        }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)?.as_deref_mut()
    }

    /// Only the settle room calls this.
    pub(crate) fn take(&mut self, index: u32) -> Option<Box<Slot>> {
        let slot = self.slots.get_mut(index as usize)?.take()?;
        self.len -= 1;
        Some(slot)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter_map(Option::as_deref)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().filter_map(Option::as_deref_mut)
    }
}
