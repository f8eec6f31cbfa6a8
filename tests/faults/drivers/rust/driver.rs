//! What the fault drivers in Rust share: the publishing loop, the commands, and what the modes do. The protocol is tests/faults/README.md.
//!
//! A driver implements [`Client`] and calls [`Driver::run`]. The publishing thread is the one that called it; commands, and so close, are on a thread of their own.

pub(crate) mod args;
pub(crate) mod lines;
mod refused;

use std::io::BufRead;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use args::{Args, Mode};
use lines::{Lines, now_us, text};

const FLUSH_EVERY: Duration = Duration::from_millis(25);
const BLOCK: Duration = Duration::from_secs(10);
const AT_OUTCOME: u64 = 1_000;
const THROW_EVERY: u64 = 100;
const REPUBLISHED: u64 = 100;
const LATE_CALLBACKS: Duration = Duration::from_millis(300);

/// One message. What must be refused has a header or a strange topic too.
#[derive(Debug, Default)]
pub(crate) struct Message<'a> {
    pub(crate) k: u64,
    pub(crate) subject: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) msg_id: Option<&'a str>,
    pub(crate) header: Option<(&'a str, &'a str)>,
}

/// Why publish did not take a message.
#[derive(Debug)]
pub(crate) enum Refused {
    /// This message.
    Message(String),
    /// Every message from now on: the client is closed.
    Closed(String),
}

/// One client.
pub(crate) trait Client: Send + Sync + 'static {
    fn publish(&self, message: &Message<'_>) -> Result<(), Refused>;
    /// What the client says is pending, if it says so.
    fn pending(&self) -> Option<u64>;
    /// Closes as its users do. The answer is for people.
    fn close(&self, limit: Duration) -> String;
    /// Whether close in the handler answers as it should, and the answer.
    fn close_in_handler(&self) -> (bool, String);
}

/// What the client told of a message.
#[derive(Debug)]
pub(crate) enum Outcome {
    Acked {
        seq: u64,
        duplicate: bool,
    },
    /// `kind` is a word of the protocol: `refused`, `failed` or `in_doubt`; `code` the server's, or 0.
    Not {
        kind: &'static str,
        code: u32,
        text: String,
    },
}

#[derive(Deserialize)]
struct Command {
    r#do: String,
    value: u64,
}

/// The frame of a driver.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) args: Args,
    lines: Lines,
    stopped: AtomicBool,
    outcomes: AtomicU64,
    /// The last of the messages that had to be refused and got an outcome instead.
    refused: Mutex<Option<(u64, String)>>,
    changed: Condvar,
}

impl Driver {
    /// Reads the arguments; ends the process if they are wrong. A mode that is not one of `modes` is as `normal`.
    pub(crate) fn start(modes: &[Mode]) -> Arc<Self> {
        let (args, wrong) = match Args::parse(std::env::args().skip(1)) {
            Ok(args) => (args.with_one_of(modes), None),
            Err(wrong) => (Args::default(), Some(wrong)),
        };
        let driver = Driver {
            args,
            lines: Lines::default(),
            stopped: AtomicBool::new(false),
            outcomes: AtomicU64::new(0),
            refused: Mutex::new(None),
            changed: Condvar::new(),
        };
        if let Some(wrong) = wrong {
            driver.die(&format!("arguments: {wrong}"));
        }
        Arc::new(driver)
    }

    /// Ends the process with a line, because the client could not be set up.
    pub(crate) fn die(&self, why: &str) -> ! {
        self.error(why);
        self.lines.flush();
        std::process::exit(1)
    }

    /// Publishes, obeys and ends the process. The client is connected.
    pub(crate) fn run(self: Arc<Self>, name: &str, client: Arc<dyn Client>) -> ! {
        self.lines.add(format_args!(r#"{{"e":"ready","t":{},"client":{}}}"#, now_us(), text(name)));
        let (driver, sampled) = (Arc::clone(&self), Arc::clone(&client));
        thread::spawn(move || driver.flush_and_sample(&*sampled));
        let (driver, obeying) = (Arc::clone(&self), Arc::clone(&client));
        thread::spawn(move || driver.obey(&*obeying));
        self.publish_all(&*client);
        loop {
            thread::park(); // obey ends the process
        }
    }

    fn publish_all(&self, client: &dyn Client) {
        let start = Instant::now();
        for k in 1..=self.args.count {
            self.keep_pace(start, k);
            if self.is_stopped() || matches!(self.offer(client, k), Err(Refused::Closed(_))) {
                break;
            }
            if k == self.args.count / 2 && self.args.mode == Mode::Bad {
                self.try_what_must_be_refused(client);
            }
        }
        self.lines.add(format_args!(r#"{{"e":"published","t":{}}}"#, now_us()));
    }

    /// Waits until message `k` is due. One that is late goes at once: the load does not slow down because something broke.
    fn keep_pace(&self, start: Instant, k: u64) {
        if self.args.rate <= 0.0 {
            return;
        }
        let due = start + Duration::from_secs_f64((k - 1) as f64 / self.args.rate);
        while !self.is_stopped()
            && let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            thread::sleep(left.min(Duration::from_millis(50))); // to hear of a stop
        }
    }

    fn offer(&self, client: &dyn Client, k: u64) -> Result<(), Refused> {
        let (subject, payload, msg_id) = self.args.message(k);
        let published = client.publish(&Message { k, subject, payload: &payload, msg_id: Some(&msg_id), header: None });
        let t = now_us();
        match &published {
            Ok(()) => self.lines.add(format_args!(r#"{{"e":"accept","id":{k},"t":{t}}}"#)),
            Err(Refused::Message(why) | Refused::Closed(why)) => {
                self.lines.add(format_args!(r#"{{"e":"reject","id":{k},"t":{t},"text":{}}}"#, text(why)));
            }
        }
        published
    }

    /// Tells an outcome, and does what the mode asks of the handler. True: the handler shall throw now.
    pub(crate) fn outcome(&self, client: &dyn Client, k: u64, outcome: Outcome) -> bool {
        if refused::is_one(k) {
            let told = match outcome {
                Outcome::Acked { seq, .. } => format!("acked {seq}"),
                Outcome::Not { kind, text, .. } => format!("{kind} {text}"),
            };
            *self.refused() = Some((k, told));
            self.changed.notify_all();
            return false;
        }
        let t = now_us();
        match &outcome {
            Outcome::Acked { seq, duplicate } => {
                self.lines.add(format_args!(r#"{{"e":"outcome","id":{k},"t":{t},"kind":"acked","seq":{seq},"dup":{duplicate}}}"#));
            }
            Outcome::Not { kind, code: 0, text: why } => {
                self.lines.add(format_args!(r#"{{"e":"outcome","id":{k},"t":{t},"kind":"{kind}","text":{}}}"#, text(why)));
            }
            Outcome::Not { kind, code, text: why } => {
                self.lines.add(format_args!(r#"{{"e":"outcome","id":{k},"t":{t},"kind":"{kind}","text":{},"code":{code}}}"#, text(why)));
            }
        }
        let nth = self.outcomes.fetch_add(1, Ordering::Relaxed) + 1;
        match self.args.mode {
            Mode::Block if nth == AT_OUTCOME => thread::sleep(BLOCK),
            Mode::Republish if nth <= REPUBLISHED => drop(self.offer(client, self.args.count + nth)),
            Mode::Close if nth == AT_OUTCOME => {
                let (ok, answer) = client.close_in_handler();
                self.check("close in the handler", ok, &answer);
            }
            Mode::Throw => return nth.is_multiple_of(THROW_EVERY),
            _ => {}
        }
        false
    }

    pub(crate) fn state(&self, state: &str) {
        self.lines.add(format_args!(r#"{{"e":"state","state":"{state}","t":{}}}"#, now_us()));
    }

    pub(crate) fn error(&self, what: &str) {
        self.lines.add(format_args!(r#"{{"e":"error","text":{},"t":{}}}"#, text(what), now_us()));
    }

    fn check(&self, what: &str, ok: bool, answer: &str) {
        self.lines.add(format_args!(r#"{{"e":"check","what":{},"ok":{ok},"text":{},"t":{}}}"#, text(what), text(answer), now_us()));
    }

    /// No message is published after the one under way.
    pub(crate) fn stop_publishing(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn refused(&self) -> MutexGuard<'_, Option<(u64, String)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_and_sample(&self, client: &dyn Client) {
        for turn in 0_u64.. {
            thread::sleep(FLUSH_EVERY);
            if turn % 2 == 1
                && let Some(pending) = client.pending()
            {
                self.lines.add(format_args!(r#"{{"e":"pending","n":{pending},"t":{}}}"#, now_us()));
            }
            self.lines.flush();
        }
    }

    fn obey(&self, client: &dyn Client) {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(Command { r#do, value }) if r#do == "close" => self.close_and_end(client, Duration::from_millis(value)),
                Ok(Command { r#do, .. }) if r#do == "stop" => self.stop_publishing(),
                _ => self.die(&format!("not a command: {line}")),
            }
        }
        std::process::exit(0) // nobody is there any more
    }

    fn close_and_end(&self, client: &dyn Client, limit: Duration) -> ! {
        self.lines.add(format_args!(r#"{{"e":"close_begin","t":{}}}"#, now_us()));
        let answer = client.close(limit);
        self.lines.add(format_args!(r#"{{"e":"close_end","t":{},"text":{}}}"#, now_us(), text(&answer)));
        thread::sleep(LATE_CALLBACKS);
        let rss_kb = largest_resident_kb().unwrap_or(0);
        self.lines.add_last(format_args!(r#"{{"e":"end","rss_kb":{rss_kb},"t":{}}}"#, now_us()));
        std::process::exit(0)
    }
}

/// Not `getrusage`: what that says includes the process that started this one, as it was at the fork.
fn largest_resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
}
