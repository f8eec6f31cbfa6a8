//! `ackbus-bench-table < RUNS`: the lines of the runs as Markdown tables with medians, ranges and ratios to the raw loop.

use std::io::{Read, Write};
use std::process::ExitCode;

use ackbus_bench::table::render;
use ackbus_bench::{Error, exit};

fn main() -> ExitCode {
    exit("ackbus-bench-table", run())
}

fn run() -> Result<(), Error> {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    std::io::stdout().write_all(render(&input)?.as_bytes())?;
    Ok(())
}
