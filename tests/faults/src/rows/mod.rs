//! The matrix: every fault that one machine can do. `docs/faults` says what each row is; its source says how.

mod acks;
mod cluster;
mod connection;
mod handler;
mod liar;
mod limits;
mod process;
mod rights;
mod server;
mod stream;
mod ways;

use crate::case::Case;
use crate::checker::Figures;

/// One fault.
#[derive(Clone, Copy)]
pub struct Row {
    /// As in the table and in `--rows`.
    pub id: &'static str,
    /// A few words for the picture.
    pub name: &'static str,
    /// What happens, and what must hold.
    pub what: &'static str,
    /// Part of `make check`.
    pub short: bool,
    /// Peers play it too. Without: it is about something that only ackbus has, or that cannot be compared.
    pub peers: bool,
    pub play: fn(&mut Case) -> Figures,
}

/// A row that all clients play in the long run.
const fn row(id: &'static str, name: &'static str, what: &'static str, play: fn(&mut Case) -> Figures) -> Row {
    Row { id, name, what, short: false, peers: true, play }
}

impl Row {
    /// It is part of `make check`.
    const fn short(self) -> Self {
        Row { short: true, ..self }
    }

    /// Peers do not play it.
    const fn ours(self) -> Self {
        Row { peers: false, ..self }
    }
}

/// All rows, in the order of the table.
pub fn all() -> Vec<Row> {
    [server::ROWS, connection::ROWS, acks::ROWS, cluster::ROWS, stream::ROWS, limits::ROWS, rights::ROWS, handler::ROWS, process::ROWS, ways::ROWS, liar::ROWS]
        .concat()
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_row_has_an_id_of_its_own() {
        let mut ids: Vec<_> = super::all().iter().map(|row| row.id).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    }
}
