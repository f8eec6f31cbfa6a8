//! What a client measured, and the one line that says it.

use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::Error;
use crate::load::Load;

/// A running measurement: wall clock and CPU of the whole process, threads of the client library included.
#[derive(Debug)]
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts it: call right before the first publish.
    ///
    /// # Errors
    /// The system does not tell the process's CPU time.
    pub fn start() -> Result<Stopwatch, Error> {
        Ok(Stopwatch { wall: Instant::now(), cpu: cpu_time()? })
    }

    /// Stops it: call when the last ack is in.
    ///
    /// # Errors
    /// The system does not tell the process's CPU time.
    pub fn stop(self, client: &str, load: &Load, acked: u64, failed: u64) -> Result<Figures, Error> {
        let (wall, cpu) = (self.wall.elapsed().as_secs_f64(), cpu_time()?.saturating_sub(self.cpu).as_secs_f64());
        let count = load.count as f64;
        Ok(Figures {
            client: client.to_owned(),
            msg_id: load.msg_id,
            count: load.count,
            size: load.size,
            window: load.window,
            acked,
            failed,
            rate: acked as f64 / wall,
            cpu_us: cpu * 1e6 / count,
        })
    }
}

/// User and system time of this process so far.
fn cpu_time() -> Result<Duration, Error> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = |time: TimeVal| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec());
    Ok(Duration::from_micros(micros(usage.user_time())? + micros(usage.system_time())?))
}

/// One run of one client. `Display` gives the line that [`Figures::parse`] reads; the C program prints the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Which client.
    pub client: String,
    /// Whether its messages had Msg-Ids.
    pub msg_id: bool,
    /// How many messages it was to publish.
    pub count: u64,
    /// Payload bytes of each.
    pub size: usize,
    /// How many were without ack at a time, at most.
    pub window: u64,
    /// How many were acked.
    pub acked: u64,
    /// How many were refused or lost.
    pub failed: u64,
    /// Acked messages per second.
    pub rate: f64,
    /// Client CPU per message, user and system, in microseconds.
    pub cpu_us: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { client, msg_id, count, size, window, acked, failed, rate, cpu_us } = self;
        let msg_id = if *msg_id { "yes" } else { "no" };
        write!(
            f,
            "client={client} msg_id={msg_id} n={count} size={size} window={window} acked={acked} failed={failed} msgs_per_s={rate:.0} cpu_us_per_msg={cpu_us:.3}"
        )
    }
}

impl Figures {
    /// Reads a line back. Words that it does not know are left to the caller.
    ///
    /// # Errors
    /// A field is missing or is not of its type; the field and the line are named.
    pub fn parse(line: &str) -> Result<Figures, Error> {
        Ok(Figures {
            client: field(line, "client")?,
            msg_id: field::<String>(line, "msg_id")? == "yes",
            count: field(line, "n")?,
            size: field(line, "size")?,
            window: field(line, "window")?,
            acked: field(line, "acked")?,
            failed: field(line, "failed")?,
            rate: field(line, "msgs_per_s")?,
            cpu_us: field(line, "cpu_us_per_msg")?,
        })
    }

    /// Prints the line to stdout.
    ///
    /// # Errors
    /// Stdout is closed, or not every message was acked: such a run is no result.
    pub fn print(&self) -> Result<(), Error> {
        writeln!(std::io::stdout(), "{self}")?;
        if self.acked == self.count { Ok(()) } else { Err(format!("{} of {} messages were not acked", self.count - self.acked, self.count).into()) }
    }
}

/// The value of `name=value` in a line of words.
///
/// # Errors
/// The word is missing, or its value is not of the type wanted.
pub fn field<T: std::str::FromStr>(line: &str, name: &str) -> Result<T, Error> {
    line.split_whitespace()
        .filter_map(|word| word.split_once('='))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok())
        .ok_or_else(|| format!("no valid {name}=… in {line:?}").into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Figures, Stopwatch};
    use crate::load::Load;

    #[test]
    fn a_line_reads_back() {
        let figures = Figures { client: "raw".into(), msg_id: true, count: 100, size: 128, window: 64, acked: 99, failed: 1, rate: 1_800_000.0, cpu_us: 0.45 };
        assert_eq!(Figures::parse(&format!("load=endpoint round=2 {figures}")).unwrap(), figures);
        assert!(Figures::parse("client=raw").unwrap_err().to_string().contains("msg_id"));
    }

    #[test]
    fn cpu_time_counts_this_process() {
        let load = Load { address: String::new(), subject: String::new(), count: 1, size: 0, window: 1, msg_id: true };
        let watch = Stopwatch::start().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(50);
        while std::time::Instant::now() < until {}
        let figures = watch.stop("spin", &load, 1, 0).unwrap();
        assert!(figures.cpu_us > 1_000.0, "{figures}");
        assert!(figures.rate <= 20.0, "{figures}");
    }
}
