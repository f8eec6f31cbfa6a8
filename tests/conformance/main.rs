//! Runs `scenarios.json`, which every language runs, against the core. README.md beside it defines the format.
//!
//! `ACKBUS_SCENARIO=name` runs one.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod judge;
mod red;
mod scenario;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ackbus::{Config, Event, Handlers, Message, Publisher, Purge, Report, Sink, StallWait};
use ackbus_test_support::{Control, Server};
use serde_json::Value;

use scenario::{Publishing, Scenario, Step};

/// What must happen at all, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn every_scenario_holds() {
    let only = std::env::var("ACKBUS_SCENARIO").ok();
    let mut scenarios = scenario::all();
    scenarios.retain(|scenario| only.as_ref().is_none_or(|name| *name == scenario.name));
    scenarios.retain(|scenario| {
        let runs = scenario.since.is_none_or(|(major, minor)| Server::is_at_least(major, minor));
        if !runs {
            eprintln!("skipped {}: it needs nats-server {:?}, and this is {}", scenario.name, scenario.since, Server::version());
        }
        runs
    });
    assert!(!scenarios.is_empty(), "there is no scenario {only:?}");
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    // A scenario waits more than it works: a few at a time.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let failure = catch_unwind(AssertUnwindSafe(|| run(scenario))).unwrap_or_else(|_| Err("it panicked".into())).err();
                    failures.lock().unwrap().extend(failure.map(|text| format!("{}: {text}\n    ({})", scenario.name, scenario.why)));
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} scenarios failed:\n  {}", failures.len(), scenarios.len(), failures.join("\n  "));
}

/// What the publisher told, in the words of the scenarios.
#[derive(Debug, Default)]
pub(crate) struct Told {
    record: Mutex<Record>,
    changed: Condvar,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) reports: Vec<Value>,
    pub(crate) events: Vec<&'static str>,
}

impl Sink for Told {
    fn reports(&self, reports: &[Report<'_>]) {
        self.record.lock().unwrap().reports.extend(reports.iter().map(judge::in_words));
        self.changed.notify_all();
    }

    fn event(&self, event: &Event) {
        self.record.lock().unwrap().events.push(event.kind.name());
        self.changed.notify_all();
    }
}

impl Told {
    fn wait(&self, what: &str, met: impl Fn(&Record) -> bool) -> Result<(), String> {
        let (record, late) = self.changed.wait_timeout_while(self.record.lock().unwrap(), PATIENCE, |record| !met(record)).unwrap();
        if late.timed_out() { Err(format!("waited in vain for {what}: {record:#?}")) } else { Ok(()) }
    }
}

fn run(scenario: &Scenario) -> Result<(), String> {
    let mut control = Control::default();
    let mut spec = scenario.publisher.to_string();
    for request in &scenario.setup {
        let answer = ask(&mut control, request)?;
        for kind in ["server", "proxy"] {
            let Some(number) = answer.get(kind) else { continue };
            for (field, value) in answer.as_object().into_iter().flatten().filter_map(|(field, value)| Some((field, value.as_str()?))) {
                spec = spec.replace(&format!("${{{kind}{number}.{field}}}"), value);
            }
        }
    }
    let spec: Publishing = serde_json::from_str(&spec).map_err(|error| error.to_string())?;
    let told = Arc::new(Told::default());
    let connected = connect(&spec, &told);
    let Ok(publisher) = connected else { return judge::result(connected.map(drop), spec.fails.as_ref()) };
    judge::result(Ok(()), spec.fails.as_ref())?;
    for (number, step) in (1..).zip(&scenario.steps) {
        if let Err(text) = walk(step, &publisher, &told, &mut control) {
            // What is pending may wait for what will never happen.
            let _ = publisher.close(Some(Duration::ZERO));
            return Err(format!("step {number} ({}): {text}", step.verb));
        }
    }
    publisher.close(Some(PATIENCE)).map_err(|error| format!("close: {error}"))?;
    let record = told.record.lock().unwrap().clone();
    judge::told(&scenario.expect, &record)?;
    judge::stats(&scenario.expect, &publisher.stats())?;
    judge::stored(&scenario.expect, &mut control)
}

fn ask(control: &mut Control, request: &Value) -> Result<Value, String> {
    let answer: Value = serde_json::from_str(&control.answer(&request.to_string())).map_err(|error| error.to_string())?;
    if answer["ok"] == true { Ok(answer) } else { Err(format!("{request}: {}", answer["error"])) }
}

fn connect(spec: &Publishing, told: &Arc<Told>) -> ackbus::Result<Publisher> {
    let mut config = Config::new();
    for (key, value) in &spec.options {
        config.set(key, value)?;
    }
    for (pattern, rule) in &spec.topics {
        for (key, value) in rule {
            config.set_topic(pattern, key, value)?;
        }
    }
    let sink: Arc<dyn Sink> = told.clone();
    Publisher::connect(&config, Handlers { reports: Some(Arc::clone(&sink)), events: Some(sink) })
}

/// One step: what it does must succeed, or fail as it says.
fn walk(step: &Step, publisher: &Publisher, told: &Told, control: &mut Control) -> Result<(), String> {
    let limit = step.timeout_ms.map(Duration::from_millis);
    let done = match step.verb.as_str() {
        "publish" => (0..step.repeat.unwrap_or(1)).try_for_each(|index| publisher.publish_message(&Parts::of(step, index).message()).map(drop)),
        "publish_batch" => return batch(step, publisher),
        "publish_wait" => match publisher.publish_wait(&Parts::of(step, 0).message(), limit) {
            Ok(reports) if step.fails.is_none() => return judge::outcome(step, &reports),
            done => done.map(drop),
        },
        "flush" => publisher.flush(limit),
        "purge" => {
            let what = Purge { unsent: step.unsent, in_flight: step.in_flight };
            let count = publisher.purge(what).map_err(|error| error.to_string())?;
            return if Some(count) == step.count { Ok(()) } else { Err(format!("{count} were purged, not {:?}", step.count)) };
        }
        "close" => publisher.close(limit),
        "wait_connected" => publisher.wait_connected(limit),
        "set_topic" => publisher.set_topic(&step.pattern, &step.key, &step.value),
        "wait_reports" => return told.wait("reports", |record| record.reports.len() as u64 >= step.count.unwrap_or(1)),
        "wait_event" => return told.wait(&step.kind, |record| record.events.contains(&step.kind.as_str())),
        "wait_stats" => return wait_stats(step, publisher),
        "control" => return ask(control, &step.request).map(drop),
        other => return Err(format!("there is no step {other}")),
    };
    judge::result(done, step.fails.as_ref())
}

/// What a step's message borrows.
struct Parts<'a> {
    step: &'a Step,
    index: u64,
    payload: String,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Parts<'a> {
    fn of(step: &'a Step, index: u64) -> Self {
        let payload = step.payload_size.map_or_else(|| step.payload.replace('#', &index.to_string()), |size| "x".repeat(size));
        let headers = step.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Parts { step, index, payload, headers }
    }

    fn message(&self) -> Message<'_> {
        let step = self.step;
        Message {
            headers: &self.headers,
            msg_id: step.msg_id.as_deref(),
            expected_stream: step.expected_stream.as_deref(),
            expected_last_msg_id: step.expected_last_msg_id.as_deref(),
            expected_last_seq: step.expected_last_seq,
            expected_last_subject_seq: step.expected_last_subject_seq,
            traceparent: step.traceparent.as_deref(),
            tracestate: step.tracestate.as_deref(),
            ttl: step.ttl_ms.map(Duration::from_millis),
            stall_wait: step.stall_wait_ms.map_or(StallWait::Configured, |ms| StallWait::AtMost(Duration::from_millis(ms))),
            delivery_timeout: step.delivery_timeout_ms.map(Duration::from_millis),
            tag: step.tag + self.index,
            report_always: step.report_always,
            ..Message::new(&step.topic, self.payload.as_bytes())
        }
    }
}

fn batch(step: &Step, publisher: &Publisher) -> Result<(), String> {
    let parts: Vec<Parts<'_>> = step.messages.iter().map(|message| Parts::of(message, 0)).collect();
    let mut accepted = 0;
    let done = publisher.publish_batch(parts.iter().map(|parts| Ok(parts.message())), |_| accepted += 1);
    if Some(accepted) != step.accepted {
        return Err(format!("{accepted} were accepted, not {:?}: {done:?}", step.accepted));
    }
    judge::result(done, step.fails.as_ref())
}

fn wait_stats(step: &Step, publisher: &Publisher) -> Result<(), String> {
    let begin = Instant::now();
    while let Err(text) = judge::at_least(&step.at_least, &publisher.stats()) {
        if begin.elapsed() > PATIENCE {
            return Err(text);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
