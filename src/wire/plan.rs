//! Plans: the lengths of a message, known before it has a place in the window and a slot.

use crate::base::error::{Error, Result, Status};

/// The largest body of a message on any wire: its lengths are kept in 32 bits.
const MOST_BODY: usize = 1 << 30;

/// What a message will take, in its slot and on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Its headers in the slot.
    pub(crate) headers: u32,
    /// Headers and payload, as the server counts them.
    pub(crate) body: u32,
    /// What the window counts, protocol included.
    pub(crate) bytes: u32,
    pub(crate) auto_id: bool,
}

/// Refuses a body that no wire can carry.
#[inline]
pub(crate) fn check_body(body: usize) -> Result<()> {
    if body > MOST_BODY {
        return Err(Error::new(Status::TooLarge, format!("headers and payload have {body} bytes; 1 GiB is the most that fits into a message")));
    }
    Ok(())
}
