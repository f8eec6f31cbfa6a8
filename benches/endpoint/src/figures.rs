//! What a client measured, and the one line that says it.

use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::Error;
use crate::load::Load;

/// A running measurement: wall clock, and what the whole process used, threads of the client library included.
#[derive(Debug)]
pub struct Stopwatch {
    wall: Instant,
    usage: Usage,
    rss_kb: u64,
}

impl Stopwatch {
    /// Starts it: call right before the first publish.
    ///
    /// # Errors
    /// The system does not tell what the process used.
    pub fn start() -> Result<Stopwatch, Error> {
        Ok(Stopwatch { rss_kb: status_kb("VmRSS:")?, usage: getrusage(UsageWho::RUSAGE_SELF)?, wall: Instant::now() })
    }

    /// Stops it: call when the last ack is in.
    ///
    /// # Errors
    /// The system does not tell what the process used.
    pub fn stop(self, load: &Load, acked: u64, failed: u64) -> Result<Figures, Error> {
        let wall = self.wall.elapsed().as_secs_f64();
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let cpu = cpu_time(&usage)?.saturating_sub(cpu_time(&self.usage)?).as_secs_f64();
        Ok(Figures {
            count: load.count,
            acked,
            failed,
            rate: acked as f64 / wall,
            cpu_us: cpu * 1e6 / load.count as f64,
            rss_start_kb: self.rss_kb,
            rss_kb: status_kb("VmHWM:")?,
            voluntary: usage.voluntary_context_switches() - self.usage.voluntary_context_switches(),
            involuntary: usage.involuntary_context_switches() - self.usage.involuntary_context_switches(),
            hold: load.hold,
        })
    }
}

/// User and system time.
///
/// # Errors
/// The system tells a time below zero.
pub fn cpu_time(usage: &Usage) -> Result<Duration, Error> {
    let micros = |time: TimeVal| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec());
    Ok(Duration::from_micros(micros(usage.user_time())? + micros(usage.system_time())?))
}

/// The number behind a name in what `/proc` says of a process or of a thread.
///
/// # Errors
/// The name is not there, or no number is behind it.
pub fn status_field(status: &str, name: &str) -> Result<u64, Error> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next());
    Ok(value.ok_or_else(|| format!("no {name} in a status of /proc"))?.parse()?)
}

/// A line of `/proc/self/status`, in KiB. Not `ru_maxrss`: a process inherits that from the one that started it.
///
/// # Errors
/// As [`status_field`], and the file cannot be read.
pub fn status_kb(name: &str) -> Result<u64, Error> {
    status_field(&std::fs::read_to_string("/proc/self/status")?, name)
}

/// One run of one client. `Display` gives the line; all clients print the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// How many messages it was to publish.
    pub count: u64,
    /// How many were acked.
    pub acked: u64,
    /// How many were refused or lost.
    pub failed: u64,
    /// Acked messages per second.
    pub rate: f64,
    /// Client CPU per message, user and system, in microseconds.
    pub cpu_us: f64,
    /// Resident memory before the first message, in KiB.
    pub rss_start_kb: u64,
    /// The peak of it.
    pub rss_kb: u64,
    /// How often a thread waited.
    pub voluntary: i64,
    /// How often a thread was interrupted.
    pub involuntary: i64,
    /// Nobody was there to ack.
    pub hold: bool,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { count, acked, failed, rate, cpu_us, rss_start_kb, rss_kb, voluntary, involuntary, hold: _ } = self;
        write!(f, "n={count} acked={acked} failed={failed} msgs_per_s={rate:.1} cpu_us_per_msg={cpu_us:.4} ")?;
        write!(f, "rss_start_kb={rss_start_kb} rss_kb={rss_kb} voluntary={voluntary} involuntary={involuntary}")
    }
}

impl Figures {
    /// Prints the line to stdout.
    ///
    /// # Errors
    /// Stdout is closed, or not every message was acked: such a run is no result.
    pub fn print(&self) -> Result<(), Error> {
        writeln!(std::io::stdout(), "{self}")?;
        if self.hold || self.acked == self.count {
            Ok(())
        } else {
            Err(format!("{} of {} messages were not acked", self.count - self.acked, self.count).into())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Figures, Stopwatch};
    use crate::load::Load;

    fn load() -> Load {
        let (address, subject, mode) = (String::new(), String::new(), String::new());
        Load { address, subject, count: 1, size: 0, window: 1, mode, pace: None, msg_id: true, hold: false }
    }

    #[test]
    fn cpu_time_and_memory_of_this_process_count() {
        let watch = Stopwatch::start().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(50);
        while std::time::Instant::now() < until {}
        let figures = watch.stop(&load(), 1, 0).unwrap();
        assert!(figures.cpu_us > 1_000.0, "{figures}");
        assert!(figures.rate <= 20.0, "{figures}");
        assert!(figures.rss_kb >= figures.rss_start_kb && figures.rss_start_kb > 0, "{figures}");
    }

    #[test]
    fn a_run_with_a_message_missing_is_no_result_unless_nobody_acks() {
        let figures = Figures { acked: 0, ..Stopwatch::start().unwrap().stop(&load(), 1, 0).unwrap() };
        assert!(figures.print().unwrap_err().to_string().contains("1 of 1"));
        Figures { hold: true, ..figures }.print().unwrap();
    }
}
