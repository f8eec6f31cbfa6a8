//! What a message costs, by counting: allocations by thread, bytes while it is pending, wake-ups of an idle publisher.
//!
//! Counts do not depend on how fast the machine is, so they can be asserted. One test at a time: the counts are the process's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod allocations;
mod counting;
mod idle;
mod memory;

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ackbus::Config;
use ackbus_test_support::wait_for;

/// Far longer than anything takes.
const LONG: Duration = Duration::from_secs(120);

/// The right to count. A test that failed passes it on all the same.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    wait_for("the threads of the test before to end", LONG, || our_threads().is_empty().then_some(()));
    one
}

/// The folders in `/proc` of the library's threads.
fn our_threads() -> Vec<PathBuf> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // Threads end while they are listed.
    tasks.map(|task| task.unwrap().path()).filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("ackbus-"))).collect()
}

/// What makes the server's stream with the first message.
const STREAM: [(&str, &str); 3] = [("stream", "COSTS"), ("create", "if_missing"), ("storage", "memory")];

fn set_topics(config: &mut Config, rule: &[(&str, &str)]) {
    for (key, value) in rule {
        config.set_topic("costs.>", key, value).unwrap();
    }
}

fn config(servers: &str, options: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    config.set("servers", servers).unwrap();
    for (key, value) in options {
        config.set(key, value).unwrap();
    }
    config
}
