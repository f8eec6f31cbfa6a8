//! `make bench-micro`: the pure rooms of the core, one at a time.
//!
//! Nanoseconds here are of a warm cache and a branch predictor that knows the way: they say which room grew, not what a message costs. For that see `make bench`.
#![allow(missing_docs, reason = "criterion's macros")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use ackbus::Message;
use ackbus::rooms::{Admission, BURST, Bus, Framing, Line, Reading, TopicRules, ack_body, check};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const PAYLOAD: [u8; 128] = [b'x'; 128];
const HEADERS: [(&str, &str); 2] = [("Content-Type", "application/json"), ("Trace-Id", "4bf92f3577b34da6a3ce929d0e0e4736")];

fn plain() -> Message<'static> {
    Message::new("orders.eu.created", &PAYLOAD)
}

fn with_headers() -> Message<'static> {
    Message { headers: &HEADERS, msg_id: Some("order-1234567"), ..plain() }
}

fn message(c: &mut Criterion) {
    let mut group = c.benchmark_group("message");
    group.bench_function("check", |b| b.iter(|| check(black_box(&plain()))));
    group.bench_function("check, headers and Msg-Id", |b| b.iter(|| check(black_box(&with_headers()))));
}

fn topic(c: &mut Criterion) {
    let mut group = c.benchmark_group("topic");
    for count in [0, 10, 1000] {
        let patterns: Vec<String> = (0..count).map(|i| format!("area{i}.*.created")).collect();
        let rules = TopicRules::new(patterns.iter().map(String::as_str));
        group.bench_function(format!("no match among {count} rules"), |b| b.iter(|| rules.matching(black_box("orders.eu.created"))));
    }
    let rules = TopicRules::new(["orders.>", "orders.*.created", "orders.eu.created", "payments.>"]);
    group.bench_function("a literal among 4 rules", |b| b.iter(|| rules.matching(black_box("orders.eu.created"))));
    group.bench_function("a wildcard among 4 rules", |b| b.iter(|| rules.matching(black_box("orders.us.created"))));
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    let large = vec![b'x'; 16 << 10];
    let mut framing = Framing::default();
    for (name, message) in [("128 bytes", plain()), ("128 bytes, headers and Msg-Id", with_headers()), ("16 KiB", Message::new("orders.eu.created", &large))] {
        group.bench_function(format!("{name}: into the slot"), |b| b.iter(|| framing.fill(black_box(&message))));
        assert_eq!(framing.fill(&message), framing.write_head() + message.payload.len() + 2);
        group.bench_function(format!("{name}: head of the frame"), |b| b.iter(|| framing.write_head()));
    }
}

fn replies(c: &mut Criterion) {
    let mut group = c.benchmark_group("reply");
    group.throughput(Throughput::Elements(BURST as u64));
    let mut reading = Reading::default();
    assert_eq!(reading.read(), BURST as u64);
    group.bench_function(format!("{BURST} acks from a connection"), |b| b.iter(|| reading.read()));
    group.finish();

    let mut group = c.benchmark_group("ack body");
    for (name, body, expected) in [
        ("stored", r#"{"stream":"ORDERS","seq":123456}"#, Some(true)),
        ("stored, in another order", r#"{"seq":123456,"stream":"ORDERS","domain":"hub"}"#, Some(true)),
        ("an error", r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 22"},"stream":"ORDERS","seq":0}"#, Some(false)),
        ("none", r#"{"type":"io.nats.jetstream.api.v1.unknown"}"#, None),
    ] {
        assert_eq!(ack_body(body.as_bytes()), expected, "{name}");
        group.bench_function(name, |b| b.iter(|| ack_body(black_box(body.as_bytes()))));
    }
}

fn queues(c: &mut Criterion) {
    let mut group = c.benchmark_group("queues");
    group.throughput(Throughput::Elements(BURST as u64));
    let mut admission = Admission::default();
    group.bench_function(format!("{BURST} times admission, enter and leave"), |b| b.iter(|| admission.enter_and_leave()));
    let mut line = Line::default();
    group.bench_function(format!("{BURST} times send queue, push and take"), |b| b.iter(|| line.push_and_take()));
}

/// A step of a burst's walk: its name, and what it does.
type Step = (&'static str, fn(&mut Bus));

const WALK: [Step; 4] = [
    ("accept: checks, window, frame, line", |bus| bus.accept(&plain())),
    ("send: intake, gates, wire", Bus::send),
    ("settle: attempt, verdict, desk", Bus::settle),
    ("report: callback, places", Bus::report),
];

/// One step is timed, and the others are walked between.
fn walk(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("a burst of {BURST} messages"));
    group.throughput(Throughput::Elements(BURST as u64));
    let mut bus = Bus::default();
    for (timed, (name, _)) in WALK.iter().enumerate() {
        group.bench_function(*name, |b| {
            b.iter_custom(|times| {
                let mut sum = Duration::ZERO;
                for _ in 0..times {
                    for (step, (_, run)) in WALK.iter().enumerate() {
                        let begin = Instant::now();
                        run(&mut bus);
                        if step == timed {
                            sum += begin.elapsed();
                        }
                    }
                }
                sum
            });
        });
    }
}

fn short() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group! { name = rooms; config = short(); targets = message, topic, frames, replies, queues, walk }
criterion_main!(rooms);
