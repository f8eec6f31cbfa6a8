//! A nats-server for a demonstration or for tests in other languages, and a look into its streams.
//!
//! `ackbus-test-server` starts one with JetStream on 127.0.0.1, prints its URL and runs until standard input ends or a signal comes.
//! `ackbus-test-server control` does what lines of JSON on standard input ask for; tests/support/README.md describes them.
//! `ackbus-test-server read URL STREAM` prints the payloads of a stream in its order, one per line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for the command line")]

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use ackbus_test_support::{Control, Reader, Server};

const USAGE: &str = "usage: ackbus-test-server [start]\n       ackbus-test-server control\n       ackbus-test-server read URL STREAM";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] | ["start"] => start(),
        ["control"] => control().map_err(|error| error.to_string()),
        ["read", url, stream] => read(url, stream).map_err(|error| error.to_string()),
        ["-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// A signal ends this process at once; the server's guard then ends the server.
fn start() -> Result<(), String> {
    let server = Server::options().try_start()?;
    println!("{}", server.url());
    io::stdout().flush().and_then(|()| io::stdin().read_to_end(&mut Vec::new())).map_err(|error| error.to_string())?;
    Ok(())
}

/// One answer for each line. When the input ends, all that was started ends.
fn control() -> io::Result<()> {
    // What panics says becomes an answer; standard error is for what nobody expected.
    std::panic::set_hook(Box::new(|_| {}));
    let mut control = Control::default();
    for line in io::stdin().lock().lines() {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", control.answer(&line?))?;
        out.flush()?;
    }
    Ok(())
}

fn read(url: &str, stream: &str) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for message in Reader::connect(url).read_all(stream) {
        out.write_all(&message.payload)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}
