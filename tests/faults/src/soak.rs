//! Random faults for as long as wanted, one after the other, on a cluster behind proxies; with the driver's memory and descriptors over time.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use ackbus_test_support::choose::{corrupt, is_ack};
use ackbus_test_support::{Action, Cluster, Link, Proxy, Reader, StreamConfig, Verb};
use serde::Serialize;

use crate::arguments::{Arguments, duration};
use crate::case::{Case, stream};
use crate::clients::CLIENTS;
use crate::load::STREAM;
use crate::report;

/// The first part of the run does not count: tables grow to what they need.
const WARM: f64 = 0.25;
/// What memory may grow by after that: the window's own tables, when a long fault fills it for the first time.
const GROWTH_KB: u64 = 16 * 1024;

/// One second.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    second: f64,
    rss_kb: u64,
    descriptors: u64,
    pending: u64,
    acked: u64,
}

/// One fault.
#[derive(Clone, Debug, Serialize)]
struct Fault {
    from: f64,
    to: f64,
    what: String,
}

#[derive(Debug, Serialize)]
struct Soak<'a> {
    client: &'a str,
    seed: u64,
    minutes: u64,
    samples: &'a [Sample],
    faults: &'a [Fault],
}

/// True if everything held.
///
/// # Errors
/// When the driver is missing, or the result cannot be written.
pub fn soak(arguments: &Arguments, minutes: u64) -> Result<bool, String> {
    let client = arguments.clients.first().copied().unwrap_or(&CLIENTS[0]);
    client.program(&arguments.drivers)?;
    let mut case = Case::new(client, "soak", arguments.seed, false, arguments.drivers.clone());
    let world = World::start();
    // Discovered servers would be reached beside the proxies.
    let mut load = case.load().endless().word("set:discover_servers=false");
    (load.rate, load.sizes) = (1_000, vec![64]);
    let mut run = case.start(&world.url(), load);
    let (start, over, samples) = (Instant::now(), AtomicBool::new(false), Mutex::new(Vec::new()));
    let mut faults = Vec::new();
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let pages = run.driver.books.read();
                let (pending, acked) = (pages.open(), pages.acked);
                drop(pages);
                let (rss_kb, descriptors) = (memory(run.driver.pid()), descriptors(run.driver.pid()));
                let sample = Sample { second: start.elapsed().as_secs_f64(), rss_kb, descriptors, pending, acked };
                samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                sleep(Duration::from_secs(1));
            }
        });
        while start.elapsed() < Duration::from_secs(minutes * 60) && !run.driver.books.read().closed {
            sleep(Duration::from_millis(case.between(500, 4_000)));
            let from = start.elapsed().as_secs_f64();
            let what = world.hurt(&mut case.rng);
            println!("{} {what}", duration(start.elapsed()));
            faults.push(Fault { from, to: start.elapsed().as_secs_f64(), what });
        }
        over.store(true, Ordering::Relaxed);
        let _ = sampler.join();
    });
    run.stop();
    let mut figures = case.finish(run, &world.reader);
    figures.all_persisted();
    let samples = samples.into_inner().unwrap_or_else(PoisonError::into_inner);
    let warm = samples.split_at(((samples.len() as f64) * WARM) as usize);
    let most = |part: &[Sample], of: fn(&Sample) -> u64| part.iter().map(of).max().unwrap_or(0);
    let (early, late) = (most(warm.0, |sample| sample.rss_kb), samples.last().map_or(0, |last| last.rss_kb));
    figures.note(format!(
        "{} faults; RSS {early} KiB at most in the first quarter, {late} KiB at the end; at most {} descriptors",
        faults.len(),
        most(&samples, |s| s.descriptors)
    ));
    figures.must(late <= early + GROWTH_KB, &format!("memory grew from {early} to {late} KiB"));
    let (first, last) = (samples.first().map_or(0, |s| s.descriptors), samples.last().map_or(0, |s| s.descriptors));
    figures.must(last <= first + 1, &format!("descriptors grew from {first} to {last}"));
    println!("{}", report::line(&figures));
    figures.notes.iter().chain(&figures.problems).for_each(|text| println!("  {text}"));
    if let Some(out) = &arguments.out {
        let data = Soak { client: client.name, seed: arguments.seed, minutes, samples: &samples, faults: &faults };
        let text = serde_json::to_vec(&data).map_err(|error| error.to_string())?;
        fs::create_dir_all(out).and_then(|()| fs::write(out.join("soak.json"), text)).map_err(|error| format!("{}: {error}", out.display()))?;
    }
    Ok(figures.problems.is_empty())
}

/// What can be hurt.
struct World {
    reader: Reader,
    proxies: Vec<Proxy>,
    cluster: Cluster,
}

impl World {
    fn start() -> Self {
        let cluster = Cluster::start(3);
        let reader = Reader::connect(&cluster.url());
        reader.create_stream_with(StreamConfig { num_replicas: 3, ..stream() });
        let _ = cluster.leader(&reader, STREAM);
        let proxies = cluster.servers().iter().map(|server| Proxy::start(server.address())).collect();
        World { reader, proxies, cluster }
    }

    fn url(&self) -> String {
        self.proxies.iter().map(Proxy::url).collect::<Vec<_>>().join(",")
    }

    /// One fault, from its beginning to its end; says what it was.
    fn hurt(&self, rng: &mut fastrand::Rng) -> String {
        let server = &self.cluster.servers()[rng.usize(0..3)];
        let seed = rng.u64(..);
        match rng.u8(0..10) {
            0 => {
                server.kill();
                let time = wait(rng, 500, 5_000);
                server.restart();
                format!("kill -9 of {} for {time:?}", server.name())
            }
            1 => {
                server.pause();
                let time = wait(rng, 500, 20_000);
                server.resume();
                format!("SIGSTOP of {} for {time:?}", server.name())
            }
            2 => {
                let _ = self.cluster.leader(&self.reader, STREAM);
                self.cluster.step_down(&self.reader, STREAM);
                "step-down".into()
            }
            3 => {
                self.proxies.iter().for_each(Proxy::hold);
                let time = wait(rng, 500, 20_000);
                self.proxies.iter().for_each(Proxy::resume);
                format!("network gone for {time:?}")
            }
            4 => {
                let times = rng.u8(1..10);
                for _ in 0..times {
                    self.proxies.iter().for_each(Proxy::reset);
                    wait(rng, 10, 300);
                }
                format!("{times} resets")
            }
            5 => self.acks(rng, "5 % of acks lost", seed, 0.05, |_, _| Action::Drop),
            6 => self.acks(rng, "20 % of acks twice or late", seed, 0.2, |rng, _| {
                if rng.bool() { Action::Duplicate } else { Action::Delay(Duration::from_millis(rng.u64(1..3_000))) }
            }),
            7 => self.acks(rng, "5 % of acks corrupt", seed, 0.05, |_, frame| Action::Replace(corrupt(frame))),
            8 => {
                self.proxies.iter().for_each(|proxy| proxy.link(Link { bytes_per_second: Some(32 * 1024), ..Link::default() }));
                let time = wait(rng, 1_000, 8_000);
                self.proxies.iter().for_each(|proxy| proxy.link(Link::default()));
                format!("32 KiB/s for {time:?}")
            }
            _ => {
                self.proxies.iter().for_each(Proxy::refuse);
                self.proxies.iter().for_each(Proxy::reset);
                let time = wait(rng, 500, 5_000);
                self.proxies.iter().for_each(Proxy::accept);
                format!("connections refused for {time:?}")
            }
        }
    }

    fn acks(
        &self,
        rng: &mut fastrand::Rng,
        what: &str,
        seed: u64,
        share: f64,
        action: impl Fn(&mut fastrand::Rng, &[u8]) -> Action + Send + Copy + 'static,
    ) -> String {
        for proxy in &self.proxies {
            let mut dice = fastrand::Rng::with_seed(seed);
            proxy.filter(move |verb, frame| if verb == Verb::Msg && is_ack(frame) && dice.f64() < share { action(&mut dice, frame) } else { Action::Pass });
        }
        let time = wait(rng, 500, 5_000);
        self.proxies.iter().for_each(Proxy::no_filter);
        format!("{what} for {time:?}")
    }
}

/// How long a fault lasts.
fn wait(rng: &mut fastrand::Rng, least_ms: u64, most_ms: u64) -> Duration {
    let time = Duration::from_millis(rng.u64(least_ms..=most_ms));
    sleep(time);
    time
}

fn memory(pid: nix::unistd::Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn descriptors(pid: nix::unistd::Pid) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |all| all.count() as u64)
}
