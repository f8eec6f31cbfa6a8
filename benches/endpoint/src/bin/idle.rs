//! `ackbus-bench-idle SERVERS PUBLISHERS SECONDS callback|poll`: what publishers cost that have nothing to do.
//!
//! Opens that many publishers in this process, one after the other, and publishes one message through each; then does nothing for so many seconds; then closes them.
//! Prints one line of figures, each for one publisher: the process with all of them, less what it was before, through their number.

use std::fs;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ackbus::{Config, Handlers, Publisher, Sink};
use ackbus_bench::figures::{cpu_time, status_field, status_kb};
use ackbus_bench::{Error, exit};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

fn main() -> ExitCode {
    exit("ackbus-bench-idle", run())
}

struct Ignore;

impl Sink for Ignore {}

/// What the system knows of this process.
#[derive(Clone, Copy)]
struct Process {
    threads: u64,
    descriptors: u64,
    resident_kib: u64,
    /// How often a thread went to sleep, and so was woken.
    sleeps: u64,
    cpu: Duration,
}

impl Process {
    fn now() -> Result<Process, Error> {
        let (mut threads, mut sleeps) = (0, 0);
        for task in fs::read_dir("/proc/self/task")? {
            // Threads end while they are listed.
            let Ok(status) = fs::read_to_string(task?.path().join("status")) else { continue };
            threads += 1;
            sleeps += status_field(&status, "voluntary_ctxt_switches:")?;
        }
        Ok(Process {
            threads,
            descriptors: fs::read_dir("/proc/self/fd")?.count() as u64,
            resident_kib: status_kb("VmRSS:")?,
            sleeps,
            cpu: cpu_time(&getrusage(UsageWho::RUSAGE_SELF)?)?,
        })
    }
}

fn run() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [servers, count, seconds, mode] = words.as_slice() else { return Err("wanted: SERVERS PUBLISHERS SECONDS callback|poll".into()) };
    let number = |name: &str, text: &str| text.parse::<u32>().ok().filter(|&n| n > 0).ok_or_else(|| format!("{name} is {text:?}; allowed: a number from 1"));
    let (count, seconds) = (number("PUBLISHERS", count)?, number("SECONDS", seconds)?);
    let reports: Option<Arc<dyn Sink>> = match mode.as_str() {
        "callback" => Some(Arc::new(Ignore)),
        "poll" => None,
        other => return Err(format!("the mode is {other:?}; allowed: callback, poll").into()),
    };
    // A publisher has five descriptors at most.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let mut config = Config::new();
    config.set("servers", servers)?;

    let bare = Process::now()?;
    let begin = Instant::now();
    let mut publishers = Vec::new();
    for _ in 0..count {
        let bus = Publisher::connect(&config, Handlers { reports: reports.clone(), events: None })?;
        bus.publish("bench.idle", b"one message", 0)?;
        publishers.push(bus);
    }
    for bus in &publishers {
        bus.flush(Some(Duration::from_secs(60)))?;
    }
    let opened = begin.elapsed();
    let open = Process::now()?;
    thread::sleep(Duration::from_secs(u64::from(seconds)));
    let idle = Process::now()?;
    let begin = Instant::now();
    for bus in &publishers {
        bus.close(None)?;
    }
    let closed = begin.elapsed();

    let each = f64::from(count);
    let per = |after: u64, before: u64| after.saturating_sub(before) as f64 / each;
    writeln!(
        std::io::stdout(),
        "threads={:.0} descriptors={:.0} rss_kb={:.1} open_ms={:.3} close_ms={:.3} wakeups_per_s={:.3} cpu_us_per_s={:.2}",
        per(open.threads, bare.threads),
        per(open.descriptors, bare.descriptors),
        per(open.resident_kib, bare.resident_kib),
        opened.as_secs_f64() * 1e3 / each,
        closed.as_secs_f64() * 1e3 / each,
        // This thread's own sleep is in it once.
        (idle.sleeps.saturating_sub(open.sleeps + 1)) as f64 / each / f64::from(seconds),
        (idle.cpu - open.cpu).as_secs_f64() * 1e6 / f64::from(seconds) / each,
    )?;
    Ok(())
}
