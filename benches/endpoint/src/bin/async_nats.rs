//! `ackbus-bench-async-nats HOST:PORT SUBJECT N SIZE WINDOW [--no-msg-id]`: the peer.
//!
//! async-nats' own `Context::publish` (with Msg-Ids: `send_publish`), its ack futures awaited oldest first, at most a window of them.
//! On tokio's default runtime, as its users run it.

use std::collections::VecDeque;
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use ackbus_bench::figures::{Figures, Stopwatch};
use ackbus_bench::load::Load;
use ackbus_bench::{Error, exit};
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    exit("ackbus-bench-async-nats", run())
}

fn run() -> Result<(), Error> {
    let load = Load::from_args()?;
    Runtime::new()?.block_on(publish(&load))?.print()
}

async fn publish(load: &Load) -> Result<Figures, Error> {
    let window = usize::try_from(load.window)?;
    let client = async_nats::connect(&load.address).await?;
    let context = ContextBuilder::new().max_ack_inflight(window).build(client);
    let unique = format!("{:016x}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
    let payload = Bytes::from(vec![b'x'; load.size]);
    let mut outcome = Outcome::default();
    let mut pending = VecDeque::with_capacity(window);
    let watch = Stopwatch::start()?;
    for number in 0..load.count {
        if pending.len() == window
            && let Some(oldest) = pending.pop_front()
        {
            outcome.settle(oldest).await;
        }
        let publish = if load.msg_id {
            let message = PublishMessage::build().payload(payload.clone()).message_id(format!("{unique}-{number:010}"));
            context.send_publish(load.subject.clone(), message).await
        } else {
            context.publish(load.subject.clone(), payload.clone()).await
        };
        pending.push_back(publish?);
    }
    for ack in pending {
        outcome.settle(ack).await;
    }
    watch.stop("async-nats", load, outcome.acked, outcome.failed)
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
