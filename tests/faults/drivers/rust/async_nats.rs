//! The fault driver of async-nats, with the options that its documentation (docs.rs, `ConnectOptions` and `jetstream::context::ContextBuilder`) has for who wants
//! to know the outcome of every message:
//!
//! * `max_ack_inflight` and `backpressure_on_inflight`: a full window waits. `timeout`: how long an ack may take.
//! * Each `PublishAckFuture` is awaited, by a task of its own; the documentation warns of dropping them.
//! * `max_reconnects(None)`: for ever; `reconnect_delay_callback` short, since the default grows to seconds; `ping_interval` 5 s: a dead peer is noticed as soon
//!   as ackbus notices it.
//! * Closing: await what is in flight, then `drain`.
//!
//! The client calls no code of its user's for an ack, so `block`, `throw`, `republish` and `close` are as `normal`.

mod driver;

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_nats::jetstream::context::{ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context};
use async_nats::{ConnectOptions, Event, HeaderMap, HeaderName, HeaderValue, ServerAddr};
use bytes::Bytes;
use driver::args::Mode;
use driver::{Client, Driver, Message, Outcome, Refused};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;

const NO_RESPONDERS: u32 = 503;
/// For `drain`, which does not come back while there is no server.
const DRAIN: Duration = Duration::from_secs(1);

struct Peer {
    driver: Arc<Driver>,
    runtime: Handle,
    context: Context,
    /// Every task that awaits an ack has a copy. When the last is gone the receiver knows.
    in_flight: Mutex<Option<mpsc::Sender<()>>>,
    done: Mutex<Option<mpsc::Receiver<()>>>,
    closing: Arc<AtomicBool>,
    itself: Weak<Peer>,
}

fn headers(message: &Message<'_>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let id = message.msg_id.map(|id| ("Nats-Msg-Id", id));
    for (name, value) in id.into_iter().chain(message.header) {
        let name = HeaderName::from_str(name).map_err(|error| error.to_string())?;
        headers.insert(name, HeaderValue::from_str(value).map_err(|error| error.to_string())?);
    }
    Ok(headers)
}

fn outcome(error: &PublishError) -> Outcome {
    let text = error.to_string();
    let refusal = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    match (error.kind(), refusal) {
        (PublishErrorKind::TimedOut, _) => Outcome::Not { kind: "in_doubt", code: 0, text },
        (PublishErrorKind::StreamNotFound, _) => Outcome::Not { kind: "refused", code: NO_RESPONDERS, text },
        (_, Some(refusal)) => Outcome::Not { kind: "refused", code: u32::try_from(refusal.error_code().0).unwrap_or(0), text },
        _ => Outcome::Not { kind: "failed", code: 0, text },
    }
}

impl Client for Peer {
    fn publish(&self, message: &Message<'_>) -> Result<(), Refused> {
        let Some(in_flight) = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Err(Refused::Closed("the driver is closing".to_owned()));
        };
        let publish = PublishMessage::build().payload(Bytes::copy_from_slice(message.payload)).headers(headers(message).map_err(Refused::Message)?);
        let sent = self.runtime.block_on(self.context.send_publish(message.subject.to_owned(), publish));
        let ack = sent.map_err(|error| Refused::Message(error.to_string()))?;
        let (k, peer) = (message.k, self.itself.upgrade());
        self.runtime.spawn(async move {
            let told = match ack.await {
                Ok(ack) => Outcome::Acked { seq: ack.sequence, duplicate: ack.duplicate },
                Err(error) => outcome(&error),
            };
            if let Some(peer) = peer {
                peer.driver.outcome(&*peer, k, told);
            }
            drop(in_flight);
        });
        Ok(())
    }

    fn pending(&self) -> Option<u64> {
        None
    }

    fn close(&self, limit: Duration) -> String {
        self.driver.stop_publishing();
        self.closing.store(true, Ordering::Relaxed);
        drop(self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(mut done) = self.done.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return "closed already".to_owned();
        };
        self.runtime.block_on(async {
            let answer = match tokio::time::timeout(limit, done.recv()).await {
                Ok(_) => "OK",
                Err(_) => "acks were missing at the limit",
            };
            let drained = tokio::time::timeout(DRAIN, async {
                let drained = self.context.client().drain().await;
                done.recv().await;
                drained
            });
            match drained.await {
                Ok(Ok(())) => answer.to_owned(),
                Ok(Err(error)) => format!("{answer}; drain: {error}"),
                Err(_) => format!("{answer}; drain did not end in 1 s"),
            }
        })
    }

    fn close_in_handler(&self) -> (bool, String) {
        (true, "there is no handler".to_owned())
    }
}

async fn connect(driver: Arc<Driver>, closing: Arc<AtomicBool>) -> Result<async_nats::Client, String> {
    let servers = driver.args.url.split(',').map(ServerAddr::from_str).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    // What stands before the @ is left to the caller.
    let login = servers.first().and_then(|server| Some((server.username()?.to_owned(), server.password()?.to_owned())));
    let options = match login {
        Some((user, password)) => ConnectOptions::with_user_and_password(user, password),
        None => ConnectOptions::new(),
    };
    let connected_before = AtomicBool::new(false);
    let options = options
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| Duration::from_millis(50).saturating_mul(u32::try_from(attempts).unwrap_or(40)).min(Duration::from_secs(2)))
        .ping_interval(Duration::from_secs(5))
        .event_callback(move |event| {
            match event {
                Event::Connected if connected_before.swap(true, Ordering::Relaxed) => driver.state("reconnected"),
                Event::Disconnected if !closing.load(Ordering::Relaxed) => driver.state("disconnected"),
                Event::Closed if !closing.load(Ordering::Relaxed) => driver.state("failed"),
                Event::ServerError(_) | Event::ClientError(_) | Event::SlowConsumer(_) => driver.error(&event.to_string()),
                _ => {}
            }
            async {}
        });
    options.connect(servers).await.map_err(|error| error.to_string())
}

/// The version that is locked.
fn version() -> &'static str {
    let locked = include_str!("../../../../Cargo.lock").split_once("name = \"async-nats\"\nversion = \"");
    locked.and_then(|(_, rest)| rest.split('"').next()).unwrap_or("unknown")
}

fn main() {
    let driver = Driver::start(&[Mode::Bad]);
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => driver.die(&error.to_string()),
    };
    let closing = Arc::new(AtomicBool::new(false));
    let client = match runtime.block_on(connect(Arc::clone(&driver), Arc::clone(&closing))) {
        Ok(client) => client,
        Err(error) => driver.die(&error),
    };
    let (timeout, window) = (driver.args.ack_timeout, driver.args.max_pending.unwrap_or(10_000));
    let context = runtime
        .block_on(async { ContextBuilder::new().timeout(timeout).ack_timeout(timeout).max_ack_inflight(window).backpressure_on_inflight(true).build(client) });
    let (in_flight, done) = mpsc::channel(1);
    let peer = Arc::new_cyclic(|itself| Peer {
        driver: Arc::clone(&driver),
        runtime: runtime.handle().clone(),
        context,
        in_flight: Mutex::new(Some(in_flight)),
        done: Mutex::new(Some(done)),
        closing,
        itself: Weak::clone(itself),
    });
    driver.run(&format!("async-nats {}", version()), peer)
}
