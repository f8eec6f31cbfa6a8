//! What the program is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use crate::clients::{CLIENTS, Client};

pub const USAGE: &str = "\
usage: ackbus-faults play [--short] [--rows T2,T5] [--clients 'ackbus C,nats.go'] [--peers no] [--seed N] [--seeds 3] [--jobs 2] [--drivers DIR] [--out DIR]
       ackbus-faults soak [--minutes 20] [--seed N] [--clients 'ackbus C'] [--drivers DIR] [--out DIR]
       ackbus-faults list";

#[derive(Debug)]
pub enum Task {
    Play,
    Soak { minutes: u64 },
    List,
}

#[derive(Debug)]
pub struct Arguments {
    pub task: Task,
    /// The rows of `make check`, and one round of what comes in rounds.
    pub short: bool,
    /// Row ids; empty: all.
    pub rows: Vec<String>,
    /// Empty: all.
    pub clients: Vec<&'static Client>,
    pub peers: bool,
    pub seed: u64,
    /// How many seeds the first client plays; all others play one.
    pub seeds: u64,
    pub jobs: usize,
    pub drivers: PathBuf,
    pub out: Option<PathBuf>,
}

impl Arguments {
    /// # Errors
    /// What is wrong, and what is allowed.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Arguments {
            task: Task::Play,
            short: false,
            rows: Vec::new(),
            clients: Vec::new(),
            peers: true,
            seed: 1,
            seeds: 1,
            jobs: 2,
            drivers: PathBuf::from("target/faults"),
            out: None,
        };
        let (mut minutes, mut soak) = (20, false);
        match words.next().as_deref() {
            Some("play") => {}
            Some("soak") => soak = true,
            Some("list") => parsed.task = Task::List,
            Some(other) => return Err(format!("there is no {other}")),
            None => return Err("what to do?".into()),
        }
        while let Some(word) = words.next() {
            if word == "--short" {
                parsed.short = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let number = || value.parse::<u64>().ok().filter(|&number| number > 0).ok_or_else(|| format!("{word} {value}: it is a number from 1"));
            match word.as_str() {
                "--rows" => parsed.rows = value.split(',').map(str::to_owned).collect(),
                "--clients" => parsed.clients = value.split(',').map(client).collect::<Result<_, _>>()?,
                "--peers" => parsed.peers = value != "no",
                "--seed" => parsed.seed = number()?,
                "--seeds" => parsed.seeds = number()?,
                "--jobs" => parsed.jobs = usize::try_from(number()?).unwrap_or(1),
                "--minutes" => minutes = number()?,
                "--drivers" => parsed.drivers = value.into(),
                "--out" => parsed.out = Some(value.into()),
                _ => return Err(format!("there is no {word}")),
            }
        }
        if soak {
            parsed.task = Task::Soak { minutes };
        }
        let known = crate::rows::all();
        if let Some(unknown) = parsed.rows.iter().find(|&id| known.iter().all(|row| row.id != id)) {
            return Err(format!("there is no row {unknown}; `ackbus-faults list` names them"));
        }
        Ok(parsed)
    }
}

fn client(name: &str) -> Result<&'static Client, String> {
    let names: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
    // "ackbus C, poll" has a comma: its short form does for it.
    let found = CLIENTS.iter().find(|client| client.name.replace(", ", " ") == name.trim());
    found.ok_or_else(|| format!("there is no client {name}; allowed: {}", names.join(", ").replace("C, poll", "C poll")))
}

/// In words.
pub fn duration(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}
