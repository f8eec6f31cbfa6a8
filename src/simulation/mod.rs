//! The deterministic simulation: a scripted model server, what it knows, and the promises that the publisher's reports are held against.
//!
//! | room | what it holds |
//! |---|---|
//! | `rng` | reproducible randomness |
//! | `frame` | the client's bytes, read strictly |
//! | `reply`, `api` | the server's words |
//! | `store` | streams: duplicates, expectations, limits |
//! | `link` | one connection: latency, partial writes, cuts |
//! | `model`, `answers`, `books` | the server |
//! | `script`, `draw` | what goes wrong, when |
//! | `truth` | what really happened |
//! | `check` | P1–P4 and P10 against it |
//! | `plan` | what a seed configures |
//! | `world`, `network`, `users` | the real handler: its time, its connections, its callers |
//! | `seeds` | all of it, seed by seed |
//! | `reference` | a small publisher, right or wrong in one way, that tests all of these |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod absence;
mod answers;
mod api;
mod book;
mod books;
mod changes;
mod check;
mod check_tests;
mod contract_tests;
mod draw;
mod frame;
mod link;
mod model;
mod model_tests;
mod network;
mod order;
mod plan;
mod reference;
mod reply;
mod rng;
mod scene;
mod script;
mod seeds;
mod store;
mod takers;
mod truth;
mod users;
mod weather;
mod windows;
mod words;
mod world;
