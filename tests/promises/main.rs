//! The promises that need threads and mostly no server: P1, P3, P5, P6, P7 and P9 through the public interface.
//!
//! A callback that waits on a latch keeps a window full for as long as a test wants; a publisher without a server keeps messages pending. So nothing here
//! sleeps to be in time, and every number is exact. What needs the inside of the core (forks, signals, the gaps between two locks) is tested there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bus;
mod callbacks;
mod ending;
mod interrupts;
mod polling;
mod refusals;
mod room;
mod stress;
mod waiting;
mod window;
