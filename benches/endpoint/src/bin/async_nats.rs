//! `ackbus-bench-async-nats`: the peer. [`Load`] has the arguments; MODE is `future`.
//!
//! async-nats' own `Context::publish` (with Msg-Ids: `send_publish`), its ack futures awaited oldest first, at most a window of them.
//! On tokio's default runtime, as its users run it. At a rate the futures go to a task that awaits them, since the publishing side must not wait for acks.

use std::collections::VecDeque;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ackbus_bench::figures::Stopwatch;
use ackbus_bench::load::Load;
use ackbus_bench::pace::Pace;
use ackbus_bench::{Error, exit};
use async_nats::jetstream::context::{Context, ContextBuilder, PublishAckFuture};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

fn main() -> ExitCode {
    exit("ackbus-bench-async-nats", run())
}

fn run() -> Result<(), Error> {
    let load = Load::from_args(&["future"])?;
    let runtime = Runtime::new()?;
    let publisher = runtime.block_on(Peer::connect(&load))?;
    let pace = Arc::new(Pace::new(&load)?);
    let watch = Stopwatch::start()?;
    let outcome = if load.pace.is_some() { paced(&runtime, &publisher, &load, &pace)? } else { runtime.block_on(windowed(&publisher, &load))? };
    watch.stop(&load, outcome.acked, outcome.failed)?.print()?;
    pace.write(&load)?;
    if load.hold {
        // Nobody acks, and dropping the runtime would wait for the tasks.
        std::process::exit(0);
    }
    Ok(())
}

struct Peer {
    context: Context,
    unique: String,
    payload: Bytes,
}

impl Peer {
    async fn connect(load: &Load) -> Result<Peer, Error> {
        let client = async_nats::connect(&load.address).await?;
        let context = ContextBuilder::new().max_ack_inflight(usize::try_from(load.window)?).build(client);
        let unique = format!("{:016x}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
        Ok(Peer { context, unique, payload: Bytes::from(vec![b'x'; load.size]) })
    }

    async fn publish(&self, load: &Load, number: u64) -> Result<PublishAckFuture, Error> {
        let publish = if load.msg_id {
            let message = PublishMessage::build().payload(self.payload.clone()).message_id(format!("{}-{number:010}", self.unique));
            self.context.send_publish(load.subject.clone(), message).await
        } else {
            self.context.publish(load.subject.clone(), self.payload.clone()).await
        };
        Ok(publish?)
    }
}

async fn windowed(peer: &Peer, load: &Load) -> Result<Outcome, Error> {
    let window = usize::try_from(load.window)?;
    let mut outcome = Outcome::default();
    let mut pending = VecDeque::with_capacity(window);
    for number in 0..load.count {
        if pending.len() == window
            && let Some(oldest) = pending.pop_front()
        {
            outcome.settle(oldest).await;
        }
        pending.push_back(peer.publish(load, number).await?);
    }
    if !load.hold {
        for ack in pending {
            outcome.settle(ack).await;
        }
    }
    Ok(outcome)
}

/// This thread sleeps and publishes; the runtime's threads do the rest. Acks come in the order of the messages, so it costs no time to await them in it.
fn paced(runtime: &Runtime, peer: &Peer, load: &Load, pace: &Arc<Pace>) -> Result<Outcome, Error> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let settled = Arc::clone(pace);
    let collector = runtime.spawn(async move {
        let mut outcome = Outcome::default();
        while let Some(ack) = receiver.recv().await {
            let index = outcome.acked + outcome.failed;
            outcome.settle(ack).await;
            settled.acked(index);
        }
        outcome
    });
    let mut ticks = pace.start()?;
    for number in 0..load.count {
        ticks.sleep(number)?;
        sender.send(runtime.block_on(peer.publish(load, number))?)?;
    }
    drop(sender);
    Ok(runtime.block_on(collector)?)
}

#[derive(Default)]
struct Outcome {
    acked: u64,
    failed: u64,
}

impl Outcome {
    async fn settle(&mut self, ack: PublishAckFuture) {
        match ack.await {
            Ok(_) => self.acked += 1,
            Err(error) => {
                if self.failed == 0 {
                    let _ = writeln!(std::io::stderr(), "ackbus-bench-async-nats: the first failure: {error}");
                }
                self.failed += 1;
            }
        }
    }
}
