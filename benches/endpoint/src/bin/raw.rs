//! `ackbus-bench-raw`: the limit. [`Load`] has the arguments; MODE is `loop`.
//!
//! One thread, one socket: frames are printed into one buffer, acks are counted by scanning. No client can be expected to do less for a message.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackbus_bench::acks::Acks;
use ackbus_bench::figures::Stopwatch;
use ackbus_bench::frame::Frames;
use ackbus_bench::load::Load;
use ackbus_bench::pace::Pace;
use ackbus_bench::{Error, exit};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// How many bytes are gathered before they are written.
const BATCH: usize = 128 << 10;

/// How long the server may be silent while acks are owed.
const SILENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    exit("ackbus-bench-raw", Load::from_args(&["loop"]).and_then(|load| publish(&load)))
}

fn publish(load: &Load) -> Result<(), Error> {
    // Unlike in every run before: the server would take a Msg-Id seen in the last two minutes for a duplicate.
    let unique = format!("{:016x}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
    let inbox = format!("_INBOX.raw000{unique}.");
    let mut socket = Socket::connect(&load.address, &inbox)?;
    let mut frames = Frames::new(&load.subject, &inbox, load.size, load.msg_id.then_some(&unique));
    let pace = Pace::new(load)?;
    let mut acks = Acks::default();
    let (mut printed, mut settled) = (0, 0);
    let watch = Stopwatch::start()?;
    let mut ticks = pace.start()?;
    while settled < load.count {
        let mut wait = None;
        while printed < load.count && printed - settled < load.window && socket.output.len() < BATCH {
            wait = ticks.until(printed)?;
            if wait.is_some() {
                break;
            }
            frames.print(&mut socket.output);
            printed += 1;
        }
        let wrote = socket.write()?;
        let read = socket.read(&mut acks)?;
        // Acks come in the order of the messages: one stream, one connection.
        let before = std::mem::replace(&mut settled, acks.acked + acks.refused);
        (before..settled).for_each(|index| pace.acked(index));
        if load.hold && printed == load.count && socket.output.is_empty() {
            break;
        }
        if !wrote && !read {
            let due = socket.wait(wait).map_err(|error| format!("{settled} of {} messages acked: {error}", load.count))?;
            if due {
                ticks.woke()?;
            }
        }
    }
    watch.stop(load, acks.acked, acks.refused)?.print()?;
    pace.write(load)
}

struct Socket {
    stream: TcpStream,
    output: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    filled: usize,
}

impl Socket {
    fn connect(address: &str, inbox: &str) -> Result<Socket, Error> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let hello = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1,\"lang\":\"raw\",\"version\":\"0\"}";
        write!(stream, "{hello}\r\nSUB {inbox}* 1\r\nPING\r\n")?;
        stream.set_nonblocking(true)?;
        let mut socket = Socket { stream, output: Vec::with_capacity(2 * BATCH), written: 0, input: vec![0; 2 * BATCH], filled: 0 };
        let mut greeting = Acks::default();
        while greeting.pongs == 0 {
            if !socket.read(&mut greeting)? {
                socket.wait(None).map_err(|error| format!("no greeting from {address}: {error}"))?;
            }
        }
        Ok(socket)
    }

    /// Writes what the kernel takes; whether it took anything.
    fn write(&mut self) -> Result<bool, Error> {
        if self.output.is_empty() {
            return Ok(false);
        }
        let count = or_blocked(self.stream.write(&self.output[self.written..]))?;
        self.written += count.unwrap_or(0);
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        Ok(count.is_some())
    }

    /// Counts what there is to read; whether there was anything.
    fn read(&mut self, acks: &mut Acks) -> Result<bool, Error> {
        match or_blocked(self.stream.read(&mut self.input[self.filled..]))? {
            None => return Ok(false),
            Some(0) => return Err("the server closed the connection, or sent a frame that is too large".into()),
            Some(count) => self.filled += count,
        }
        let taken = acks.scan(&self.input[..self.filled])?;
        self.input.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        for _ in 0..std::mem::take(&mut acks.pings) {
            self.output.extend_from_slice(b"PONG\r\n");
        }
        Ok(true)
    }

    /// Waits until the socket can be read, or written when there is something to write, or until a message is due: whether that is so.
    fn wait(&self, due: Option<Duration>) -> Result<bool, Error> {
        let writable = if self.output.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        let timeout = TimeSpec::from_duration(due.unwrap_or(SILENCE));
        match ppoll(&mut [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN | writable)], Some(timeout), None)? {
            0 if due.is_none() => Err(format!("the server was silent for {SILENCE:?}").into()),
            ready => Ok(ready == 0),
        }
    }
}

/// `None` when the socket would block.
fn or_blocked(result: std::io::Result<usize>) -> Result<Option<usize>, Error> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error.into()),
    }
}
