//! What the tests of the promises share: publishers, sinks and latches.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ackbus::{Config, Event, Handlers, Message, Publisher, Report, Sink};

/// Far longer than anything takes: what is not done by then hangs.
pub(crate) const LONG: Duration = Duration::from_secs(120);

pub(crate) fn config(servers: &str, options: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    config.set("servers", servers).unwrap();
    for (key, value) in options {
        config.set(key, value).unwrap();
    }
    config
}

/// A config for the in-memory backend, which answers at once.
pub(crate) fn memory(options: &[(&str, &str)]) -> Config {
    config("memory:", options)
}

/// A publisher whose server never says a word: its messages stay pending until they are purged or the publisher is closed.
pub(crate) struct Silent {
    pub(crate) bus: Publisher,
    _listener: TcpListener,
}

impl Silent {
    pub(crate) fn connect(options: &[(&str, &str)], handlers: Handlers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = config(&format!("nats://{}", listener.local_addr().unwrap()), options);
        config.set("retry_on_connect", "true").unwrap();
        Silent { bus: Publisher::connect(&config, handlers).unwrap(), _listener: listener }
    }
}

/// A closure as a sink.
struct OnReports<F>(F);

impl<F: Fn(&[Report<'_>]) + Send + Sync + 'static> Sink for OnReports<F> {
    fn reports(&self, reports: &[Report<'_>]) {
        (self.0)(reports);
    }
}

pub(crate) fn on_reports(run: impl Fn(&[Report<'_>]) + Send + Sync + 'static) -> Handlers {
    Handlers { reports: Some(Arc::new(OnReports(run))), events: None }
}

struct OnEvent<F>(F);

impl<F: Fn(&Event) + Send + Sync + 'static> Sink for OnEvent<F> {
    fn event(&self, event: &Event) {
        (self.0)(event);
    }
}

pub(crate) fn on_event(run: impl Fn(&Event) + Send + Sync + 'static) -> Handlers {
    Handlers { reports: None, events: Some(Arc::new(OnEvent(run))) }
}

/// No handlers: reports and events are polled.
pub(crate) fn polled() -> Handlers {
    Handlers::default()
}

/// A message that the stream refuses: its last sequence is never the highest number there is.
pub(crate) fn refused(topic: &str, tag: u64) -> Message<'_> {
    Message { expected_last_seq: Some(u64::MAX), tag, ..Message::new(topic, b"payload") }
}

/// How often each tag was reported.
pub(crate) struct Tally(Vec<AtomicU32>);

impl Tally {
    pub(crate) fn new(tags: u64) -> Arc<Self> {
        Arc::new(Tally((0..tags).map(|_| AtomicU32::new(0)).collect()))
    }

    pub(crate) fn note<'a>(&self, reports: impl IntoIterator<Item = Report<'a>>) {
        for report in reports {
            self.0[usize::try_from(report.tag()).unwrap()].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn assert_each_once(&self) {
        for (tag, count) in self.0.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            assert_eq!(count, 1, "tag {tag} was reported {count} times");
        }
    }
}

/// A door that opens once.
#[derive(Default)]
pub(crate) struct Latch {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub(crate) fn wait(&self) {
        let (open, _) = self.changed.wait_timeout_while(self.open.lock().unwrap(), LONG, |open| !*open).unwrap();
        assert!(*open, "nobody opened the latch");
    }
}

/// Runs `body` on a thread of its own and fails, rather than hangs, when it does not end.
pub(crate) fn within<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = done.send(body());
    });
    match result.recv_timeout(LONG) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().expect_err("it ended without a result")),
    }
}
