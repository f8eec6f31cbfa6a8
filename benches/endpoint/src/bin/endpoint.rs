//! `ackbus-bench-endpoint [--silent]`: a server that stores nothing and acks every publish at once, or, silent, none.
//!
//! Listens on a free port of 127.0.0.1, prints the port, and runs until its stdin closes, so that it cannot outlive the script that started it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

use ackbus_bench::session::{MAX_LINE, MAX_PAYLOAD, Session, info};
use ackbus_bench::{Error, exit};

/// How much one read takes at most: enough for a system call to be cheap, small enough to stay in the cache.
const READ: usize = 128 << 10;

fn main() -> ExitCode {
    exit("ackbus-bench-endpoint", run())
}

fn run() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let acks = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => true,
        ["--silent"] => false,
        other => return Err(format!("{other:?}; allowed: nothing, or --silent").into()),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    writeln!(std::io::stdout(), "{port}")?;
    thread::spawn(move || accept(&listener, port, acks));
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn accept(listener: &TcpListener, port: u16, acks: bool) {
    let sequence = Arc::new(AtomicU64::new(0));
    for connection in listener.incoming().flatten() {
        let session = Session::new(Arc::clone(&sequence), acks);
        thread::spawn(move || {
            if let Err(error) = serve(connection, port, session) {
                // Clients of a benchmark come and go: worth a line, not an end.
                let _ = writeln!(std::io::stderr(), "ackbus-bench-endpoint: a connection ended: {error}");
            }
        });
    }
}

/// Reads, answers, writes. A write waits for a client that does not read; such a client gets no further acks anyway.
fn serve(mut connection: TcpStream, port: u16, mut session: Session) -> Result<(), Error> {
    connection.set_nodelay(true)?;
    connection.write_all(info(port).as_bytes())?;
    let mut input = vec![0; MAX_LINE + MAX_PAYLOAD + READ];
    let mut filled = 0;
    let mut output = Vec::with_capacity(READ);
    loop {
        // A client that nobody acked ends without reading to the end: its reset is an end like any other.
        let count = match connection.read(&mut input[filled..][..READ]) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            count => count?,
        };
        if count == 0 {
            return Ok(());
        }
        filled += count;
        match session.consume(&input[..filled], &mut output) {
            Ok(taken) => {
                input.copy_within(taken..filled, 0);
                filled -= taken;
            }
            Err(text) => {
                write!(output, "-ERR '{text}'\r\n")?;
                connection.write_all(&output)?;
                return Err(text.into());
            }
        }
        connection.write_all(&output)?;
        output.clear();
    }
}
