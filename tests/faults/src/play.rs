//! Plays rows with clients, some at a time.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::arguments::{Arguments, duration};
use crate::case::Case;
use crate::checker::Figures;
use crate::clients::{CLIENTS, Client};
use crate::report;
use crate::rows::{self, Row};

struct Job {
    row: Row,
    client: &'static Client,
    seed: u64,
}

/// True if every row holds for every client that is ackbus.
///
/// # Errors
/// When a driver is missing, or the report cannot be written.
pub fn play(arguments: &Arguments) -> Result<bool, String> {
    let (start, jobs, unwritten) = (Instant::now(), Mutex::new(jobs(arguments)?), Mutex::new(None));
    let (total, results) = (jobs.lock().unwrap_or_else(PoisonError::into_inner).len(), Mutex::new(Vec::with_capacity(64)));
    thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                loop {
                    let Some(job) = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { return };
                    let figures = one(&job, arguments);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.push(figures.clone());
                    println!("{} {:3}/{total} {}", duration(start.elapsed()), results.len(), report::line(&figures));
                    // Each time: who stops it after half an hour keeps what there is.
                    if let Some(out) = &arguments.out
                        && let Err(error) = report::write(out, &results)
                    {
                        unwritten.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(format!("cannot write to {}: {error}", out.display()));
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed: Vec<&Figures> = results.iter().filter(|figures| !figures.problems.is_empty()).collect();
    for figures in &failed {
        println!("\n{} {} seed {} does not hold:", figures.row, figures.client, figures.seed);
        figures.problems.iter().for_each(|problem| println!("  {problem}"));
    }
    println!("\n{} of {total} hold, in {}", total - failed.len(), duration(start.elapsed()));
    match unwritten.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(failed.is_empty()),
    }
}

/// Who plays what: in the short selection all that is ackbus; else the first client all rows with all seeds, the others of ackbus the short rows, and peers all rows that are theirs.
fn jobs(arguments: &Arguments) -> Result<VecDeque<Job>, String> {
    let (mut jobs, mut missing) = (VecDeque::new(), BTreeSet::new());
    let named = |client: &Client| arguments.clients.iter().any(|one| one.name == client.name);
    for row in rows::all() {
        for (index, client) in CLIENTS.iter().enumerate() {
            let asked_for_row = arguments.rows.iter().any(|id| id == row.id);
            let plays_client = if arguments.clients.is_empty() { !client.peer || arguments.peers && !arguments.short } else { named(client) };
            let by_default = if arguments.short { row.short } else { index == 0 || row.short || client.peer };
            let plays_row = if arguments.rows.is_empty() { by_default } else { asked_for_row };
            if !plays_client || !plays_row || client.peer && !row.peers {
                continue;
            }
            let driver = client.program(&arguments.drivers);
            // C's is always there; others need what the machine may not have, and `make` said so.
            if index > 1 && driver.is_err() {
                missing.insert(client.name);
                continue;
            }
            driver?;
            let seeds = if index == 0 { arguments.seeds } else { 1 };
            jobs.extend((0..seeds).map(|seed| Job { row, client, seed: arguments.seed + seed }));
        }
    }
    missing.iter().for_each(|client| println!("{client} skipped: it has no driver; `make fault-drivers fault-peers` builds them"));
    Ok(jobs)
}

fn one(job: &Job, arguments: &Arguments) -> Figures {
    let mut case = Case::new(job.client, job.row.id, job.seed, arguments.short, arguments.drivers.clone());
    // The support panics when it cannot set something up; the suite goes on with the next row, and fails in the end.
    let played = catch_unwind(AssertUnwindSafe(|| (job.row.play)(&mut case)));
    let mut figures = played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Figures { problems: vec![format!("could not be played: {}", text.unwrap_or_default())], ..Figures::default() }
    });
    figures.row = job.row.id.into();
    figures.client = job.client.name.into();
    figures.peer = job.client.peer;
    figures.seed = job.seed;
    figures
}
