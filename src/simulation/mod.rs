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
//! | `script`, `draw`, `landscape`, `twist`, `scene` | what goes wrong, when |
//! | `weather` | what goes wrong on the way, and when the client stands still |
//! | `truth` | what really happened |
//! | `history`, `book`, `said`, `check`, `words`, `order`, `windows`, `absence` | P1–P4 and P10 against it |
//! | `plan` | what a seed configures |
//! | `network` | the model as a network: names, addresses, sockets |
//! | `world`, `program`, `users`, `changes` | the real driver and handler: their time, their callers |
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
mod history;
mod landscape;
mod link;
mod model;
mod model_tests;
mod network;
mod order;
mod plan;
mod program;
mod reference;
mod reply;
mod rng;
mod said;
mod scene;
mod script;
mod seeds;
mod store;
mod takers;
mod truth;
mod twist;
mod users;
mod weather;
mod windows;
mod words;
mod world;
