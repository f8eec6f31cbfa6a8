#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use super::*;
use crate::config::Config;
use crate::desk::sink::Handlers;
use crate::stats::Counters;
use crate::stats::failures::FAILURES;
use crate::{Publisher, metrics};

/// A sample: its name with the labels as they stand, its value, and the exemplar if it has one.
type Samples<'a> = BTreeMap<&'a str, (&'a str, Option<&'a str>)>;

/// Splits at the end of `{…}`, which no quoted brace is.
fn split_labels(text: &str) -> (&str, &str) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return text.split_at(at + 1),
            '\n' => panic!("a newline in {text:?}"),
            _ => {}
        }
    }
    panic!("no end of labels in {text:?}");
}

/// Reads the text as strictly as OpenMetrics 1.0 wants it, with the order of TYPE, UNIT and HELP that we keep. Panics at the first breach.
fn parse(text: &str) -> (Vec<(&str, &str)>, Samples<'_>) {
    let (mut families, mut samples) = (Vec::new(), Samples::new());
    let body = text.strip_suffix("# EOF\n").unwrap();
    let mut described = "";
    for line in body.split_terminator('\n') {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(families.iter().all(|&(known, _)| known != name), "{name} is described twice");
            families.push((name, kind));
            described = "TYPE";
            continue;
        }
        let &(family, kind) = families.last().unwrap();
        if let Some(unit) = line.strip_prefix("# UNIT ") {
            let (name, unit) = unit.split_once(' ').unwrap();
            assert!(described == "TYPE" && name == family && family.ends_with(&format!("_{unit}")) && kind != "info", "{line}");
            described = "UNIT";
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(["TYPE", "UNIT"].contains(&described) && name == family && !help.is_empty(), "{line}");
            described = "HELP";
        } else {
            assert_eq!(described, "HELP", "{line}");
            let (series, rest) = split_labels(line);
            let (value, exemplar) = rest.strip_prefix(' ').unwrap().split_once(" # ").map_or((&rest[1..], None), |(value, exemplar)| (value, Some(exemplar)));
            let suffixes: &[&str] = match kind {
                "counter" => &["_total"],
                "gauge" | "stateset" => &[""],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_count", "_sum"],
                _ => panic!("{line}"),
            };
            let name = series.split_once('{').unwrap().0;
            assert!(suffixes.iter().any(|suffix| name.strip_suffix(suffix) == Some(family)), "{line} in {family}");
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
            assert!(exemplar.is_none() || name.ends_with("_total"), "{line}");
            assert!(samples.insert(series, (value, exemplar)).is_none(), "{series} comes twice");
        }
    }
    (families, samples)
}

fn value(samples: &Samples<'_>, series: &str) -> f64 {
    samples.get(series).unwrap_or_else(|| panic!("no {series} in {samples:#?}")).0.parse().unwrap()
}

fn memory(name: &str) -> Publisher {
    let mut config = Config::new();
    config.set("servers", "memory:").unwrap();
    config.set("name", name).unwrap();
    config.set("max_pending", "77").unwrap();
    Publisher::connect(&config, Handlers::default()).unwrap()
}

fn publish(bus: &Publisher, count: usize) {
    for _ in 0..count {
        bus.publish("a.b", b"x", 0).unwrap();
    }
}

/// What a publisher without a past would tell.
fn blank(label: &str) -> Snapshot {
    Snapshot {
        label: label.to_owned(),
        info: Info { state: State::Connected, server: String::new(), server_version: String::new(), max_payload: 0, last_error: None },
        start_unix_ns: 1_700_000_000_250_000_000,
        limits: (10, 1_024),
        stats: Stats::default(),
        failures: Failures::read([&Failures::default()].into_iter()),
        latencies: Counters::latencies([&Counters::default()].into_iter()),
    }
}

#[test]
fn a_publisher_tells_all_figures_and_they_add_up_at_rest() {
    let bus = memory("orders");
    publish(&bus, 7);
    bus.flush(None).unwrap();
    bus.close(None).unwrap();
    let (text, stats) = (bus.metrics(), bus.stats());
    let (families, samples) = parse(&text);

    let mut expected: Vec<_> = FAMILIES.iter().map(|family| (family.name, family.kind.name())).collect();
    expected.extend(Stats::FIELDS.iter().filter(|figure| figure.kind != MetricKind::Histogram).map(|figure| (family_of(figure), figure.kind.name())));
    let mut told = families;
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected, "each once, and no other");

    for (figure, exact) in Stats::FIELDS.iter().zip(stats.values()).filter(|(figure, _)| figure.kind != MetricKind::Histogram) {
        let told = value(&samples, &format!("{}{{publisher=\"orders\"}}", figure.metric));
        let exact = if figure.unit == "ns" { exact as f64 / 1e9 } else { exact as f64 };
        assert!((told - exact).abs() < 1e-12, "{}: {told}, not {exact}", figure.name);
    }
    let of = |name: &str| value(&samples, &format!("{name}{{publisher=\"orders\"}}"));
    assert_eq!((of("ackbus_accepted_messages_total"), of("ackbus_published_messages_total")), (7.0, 7.0));
    assert_eq!((of("ackbus_ack_latency_seconds_count"), of("ackbus_connected"), of("ackbus_pending_limit_messages")), (7.0, 0.0, 77.0));
    let (sum, max) = (of("ackbus_ack_latency_seconds_sum"), of("ackbus_ack_latency_max_seconds"));
    assert!(sum >= max && sum <= 7.0 * max, "{sum} of 7, the longest {max}");
    assert_eq!(value(&samples, r#"ackbus_state{publisher="orders",ackbus_state="closed"}"#), 1.0);
    assert_eq!(samples.iter().filter(|(series, sample)| series.starts_with("ackbus_state{") && sample.0 == "1").count(), 1);
    let (version, server) = (crate::version_string(), bus.info().server_version);
    assert_eq!(value(&samples, &format!(r#"ackbus_publisher_info{{publisher="orders",version="{version}",server="memory:",server_version="{server}"}}"#)), 1.0);
}

#[test]
fn buckets_are_cumulative_and_exact() {
    let mut bus = blank("b");
    let counters = Counters::default();
    for ns in [131_071, 131_072, 1_000_000, 68_719_476_735, 68_719_476_736] {
        counters.latency.record(ns);
    }
    bus.latencies = Counters::latencies([&counters].into_iter());
    let text = write(&[bus]);
    let (_, samples) = parse(&text);
    let bucket = |le: &str| value(&samples, &format!(r#"ackbus_ack_latency_seconds_bucket{{publisher="b",le="{le}"}}"#));
    assert_eq!([bucket("0.000131072"), bucket("0.000262144"), bucket("0.001048576"), bucket("68.719476736"), bucket("+Inf")], [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(text.lines().filter(|line| line.starts_with("ackbus_ack_latency_seconds_bucket")).count(), 21);
    assert_eq!(samples[r#"ackbus_ack_latency_seconds_sum{publisher="b"}"#].0, "137.440215614");
    assert_eq!(samples[r#"ackbus_start_time_seconds{publisher="b"}"#].0, "1700000000.25");
}

#[test]
fn failures_have_their_status_and_a_text() {
    let (mut bus, failures) = (blank("b"), Failures::default());
    let text = format!("no stream takes \"a\\b\"\nor {}", "…".repeat(200));
    failures.note(Status::NoStream, Some(&text), 5, || 1_700_000_001_000_000_001);
    failures.note(Status::Closed, Some("bell \u{7}"), 5, || 1_700_000_002_500_000_000);
    bus.failures = Failures::read([&failures].into_iter());
    let text = write(&[bus]);
    let (_, samples) = parse(&text);
    let failed = |status: &str| samples[format!("ackbus_failed_messages_total{{publisher=\"b\",status=\"{status}\"}}").as_str()];
    let (count, exemplar) = failed("NO_STREAM");
    let label = exemplar.unwrap().strip_prefix("{text=\"no stream takes \\\"a\\\\b\\\"\\nor …").unwrap();
    assert_eq!((count, label.split_once("\"}").unwrap().1), ("1", " 1 1700000001.000000001"));
    assert_eq!(failed("CLOSED"), ("1", Some("{text=\"bell ?\"} 1 1700000002.5")));
    assert_eq!(failed("DENIED"), ("0", None), "there from the start");
    assert_eq!(samples.keys().filter(|series| series.starts_with("ackbus_failed_messages_total")).count(), FAILURES.len());
}

/// A metric may be described once only, so several publishers are one text, family by family.
#[test]
fn several_publishers_make_one_text() {
    let buses = [memory("orders"), memory("a \"quoted\\ name"), memory("orders")];
    (0..3).for_each(|n| publish(&buses[n], n));
    buses.iter().for_each(|bus| bus.flush(None).unwrap());
    let text = metrics(&[&buses[0], &buses[1], &buses[2], &buses[0]]);
    let (_, samples) = parse(&text);
    let accepted = |label: &str| value(&samples, &format!("ackbus_accepted_messages_total{{publisher=\"{label}\"}}"));
    assert_eq!([accepted("orders"), accepted(r#"a \"quoted\\ name"#), accepted("orders#2")], [0.0, 1.0, 2.0]);
    assert_eq!(text.matches("ackbus_accepted_messages_total{").count(), 3, "one that is listed twice is told once");
    assert_eq!(metrics(&[]), "# EOF\n");
}

#[test]
fn labels_are_all_different() {
    assert_eq!(labels(&["a", "b", "a", "a"]), ["a", "b", "a#2", "a#3"]);
    assert_eq!(labels(&["a", "a#2", "a"]), ["a", "a#2", "a#3"], "whoever is called so keeps the name");
    assert_eq!(labels(&["a", "a", "a#2", "a#2"]), ["a", "a#3", "a#2", "a#2#2"]);
}

/// What C programs give as a buffer.
#[test]
fn no_text_is_longer_than_it_may_be() {
    let (mut bus, failures) = (blank(&"\"".repeat(256)), Failures::default());
    bus.info.server = "\\".repeat(100_000);
    bus.info.server_version = "\"".repeat(100_000);
    for status in FAILURES {
        failures.note(status, Some(&"\u{1F525}".repeat(1_000)), 5, || i64::MAX);
    }
    bus.failures = Failures::read([&failures].into_iter());
    let text = write(&[bus]);
    let lines = text.lines().count();
    // Every number as long as one of 64 bits can be, and seconds with their point; a label with `#` and a number behind it.
    let longest = text.len() + lines * (20 + 2 + 8);
    // The rest is for later versions: a program keeps the limit that it was compiled with.
    assert!(longest <= METRICS_MAX * 3 / 4, "{longest} bytes in {lines} lines");
}

#[test]
fn numbers_and_cuts() {
    let cases =
        [(0, "0.0"), (1, "0.000000001"), (1_000_000_000, "1.0"), (1 << 17, "0.000131072"), (2_500_000_000, "2.5"), (1 << 70, "1180591620717.411303424")];
    for (nanos, text) in cases {
        assert_eq!(seconds(nanos), text);
    }
    assert_eq!((first("äöü", 3), first("äöü", 4), first("ab", 9), first("", 1)), ("ä", "äö", "ab", ""));
}

#[test]
fn the_docs_match_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/STATISTICS.md");
    let text = Stats::reference();
    if std::env::var_os("ACKBUS_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == text, "docs/STATISTICS.md is out of date; write it anew with ACKBUS_BLESS=1 cargo test the_docs_match_the_table");
}
