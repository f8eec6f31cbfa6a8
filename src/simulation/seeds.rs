//! The seeds. `ACKBUS_SIM_SEEDS=n` runs more of them, `ACKBUS_SIM_SEED=n` one alone, and `ACKBUS_SIM_TRACE=1` tells what happens in it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::world::run;

const SEEDS: u64 = 2_500;
/// Seeds beyond these that found a fault once; they always run.
const FOUND: &[u64] = &[4_393, 11_288, 11_340, 13_956];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// One seed; a panic is a failure like any other.
fn outcome(seed: u64) -> Result<(), String> {
    let ran = catch_unwind(AssertUnwindSafe(|| run(seed, number("ACKBUS_SIM_TRACE") == Some(1))));
    let told = ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("seed {seed}: panic: {}", text.unwrap_or_default()))
    });
    told.map(|_| ())
}

/// What was broken, without the numbers that differ from seed to seed.
fn kinds(story: &str) -> impl Iterator<Item = String> {
    // The lines of a story begin with blanks, and another message in it with these words.
    let heads = story.lines().filter(|line| !line.is_empty() && !line.starts_with(' ') && *line != "The other");
    heads.map(|line| {
        let what = line.split_once(" ns: ").map_or(line, |(_, what)| what);
        what.chars().filter(|c| !c.is_ascii_digit()).collect()
    })
}

#[test]
fn the_handler_keeps_its_promises_on_every_seed() {
    if let Some(seed) = number("ACKBUS_SIM_SEED") {
        return outcome(seed).unwrap_or_else(|story| panic!("{story}"));
    }
    let first = number("ACKBUS_SIM_FIRST").unwrap_or(0);
    let last = first + number("ACKBUS_SIM_SEEDS").unwrap_or(SEEDS);
    let seeds: Vec<u64> = (first..last).chain(FOUND.iter().copied().filter(|seed| !(first..last).contains(seed))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failures = Vec::new();
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            failures.extend(outcome(seed).err().map(|story| (seed, story)));
        }
        failures
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut failures: Vec<(u64, String)> =
        std::thread::scope(|scope| (0..workers).map(|_| scope.spawn(work)).collect::<Vec<_>>().into_iter().flat_map(|worker| worker.join().unwrap()).collect());
    failures.sort();
    let mut broken: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (seed, story) in &failures {
        for kind in kinds(story) {
            broken.entry(kind).or_default().push(*seed);
        }
    }
    let broken: Vec<String> = broken.iter().map(|(kind, seeds)| format!("{} times, such as {:?}: {kind}", seeds.len(), &seeds[..seeds.len().min(5)])).collect();
    let list: Vec<&str> = failures.iter().take(30).filter_map(|(_, story)| story.lines().next()).collect();
    assert!(
        failures.is_empty(),
        "{} of {} seeds fail; replay one with ACKBUS_SIM_SEED=n and ACKBUS_SIM_TRACE=1:\n{}\n\n{}\n\nThe first:\n{}",
        failures.len(),
        seeds.len(),
        broken.join("\n"),
        list.join("\n"),
        failures[0].1
    );
}
