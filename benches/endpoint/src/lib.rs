//! What the benchmark programs share. None of it is part of the product.
//!
//! Every client takes the same arguments ([`load::Load`]), keeps the same pace ([`pace::Pace`]) and prints one line of the same shape ([`figures::Figures`]).
//! [`session`] and [`api`] are the endpoint's side of the protocol, [`frame`] and [`acks`] the raw loop's. `benches/harness` starts them all.

pub mod acks;
pub mod api;
pub mod figures;
pub mod frame;
pub mod load;
pub mod pace;
pub mod session;

use std::io::Write;
use std::process::ExitCode;

/// Any error of a benchmark program: it is printed and the program ends.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The stream that the endpoint pretends to be and that the benchmark creates on a real server.
pub const STREAM: &str = "BENCH";

/// The subjects of [`STREAM`].
pub const SUBJECTS: &str = "bench.>";

/// Turns the result of a program into its exit code; an error goes to stderr as one line.
#[must_use]
pub fn exit(program: &str, result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done when stderr is gone too.
            let _ = writeln!(std::io::stderr(), "{program}: {error}");
            ExitCode::FAILURE
        }
    }
}
