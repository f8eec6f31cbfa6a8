//! `ackbus-bench-stream HOST:PORT fresh memory|file`, `ackbus-bench-stream HOST:PORT count`: the stream on the real server.
//!
//! `fresh` deletes and creates it: a purge would leave the Msg-Ids of the last two minutes in the server's memory, and the later runs of a round would pay for
//! the earlier ones. `count` prints how many messages it holds.

use std::io::Write;
use std::process::ExitCode;

use ackbus_bench::{Error, STREAM, SUBJECTS, exit};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::{Config, StorageType};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    exit("ackbus-bench-stream", run())
}

fn run() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    match args.as_slice() {
        [address, "fresh", "memory"] => runtime.block_on(fresh(address, StorageType::Memory)),
        [address, "fresh", "file"] => runtime.block_on(fresh(address, StorageType::File)),
        [address, "count"] => runtime.block_on(count(address)),
        _ => Err(format!("{args:?}; wanted: HOST:PORT fresh memory|file, or HOST:PORT count").into()),
    }
}

async fn connect(address: &str) -> Result<Context, Error> {
    Ok(async_nats::jetstream::new(async_nats::connect(address).await?))
}

async fn fresh(address: &str, storage: StorageType) -> Result<(), Error> {
    let context = connect(address).await?;
    if context.get_stream(STREAM).await.is_ok() {
        context.delete_stream(STREAM).await?;
    }
    context.create_stream(Config { name: STREAM.to_owned(), subjects: vec![SUBJECTS.to_owned()], storage, ..Config::default() }).await?;
    Ok(())
}

async fn count(address: &str) -> Result<(), Error> {
    let messages = connect(address).await?.get_stream(STREAM).await?.cached_info().state.messages;
    writeln!(std::io::stdout(), "{messages}")?;
    Ok(())
}
