//! The fault suite: the same faults and the same checks for ackbus and its peers. See `README.md` beside this crate.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "this is test code: what cannot be set up fails the row, with the text of the panic"
)]
#![allow(clippy::cast_precision_loss, reason = "figures for people: milliseconds and rates")]
#![allow(unreachable_pub, missing_docs, reason = "a program has no readers but its own")]

mod arguments;
mod books;
mod case;
mod checker;
mod clients;
mod driver;
mod load;
mod play;
mod report;
mod rows;
mod soak;

use std::process::ExitCode;

use arguments::{Arguments, Task};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!("ackbus-faults: {text}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let done = match &arguments.task {
        Task::Play => play::play(&arguments),
        Task::Soak { minutes } => soak::soak(&arguments, *minutes),
        Task::List => {
            for row in rows::all() {
                println!("{:6} {:32} {}", row.id, row.name, row.what);
            }
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("ackbus-faults: {text}");
            ExitCode::FAILURE
        }
    }
}
