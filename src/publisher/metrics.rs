//! Figures as OpenMetrics 1.0 text. What each means stands in the table of `stats`; what is no figure of [`Stats`] stands in [`FAMILIES`].

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};
use std::sync::Arc;

use crate::base::error::Status;
use crate::base::sys;
use crate::base::version::version_string;
use crate::bus::shared::Shared;
use crate::bus::standing::{Info, State};
use crate::stats::failures::{Exemplar, Failures};
use crate::stats::histogram::Latencies;
use crate::stats::{Counters, Figure, MetricKind, Stats};

/// The `Content-Type` of what [`metrics`](crate::metrics) returns, for those who serve it over HTTP.
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// No publisher's text is longer, in bytes; that of several is no longer than so much for each. For those who need a buffer before they ask: the usual text has
/// 11,000 bytes, that of a publisher whose name is 256 quotes, with failures of all kinds, five times as many.
pub const METRICS_MAX: usize = 131_072;

/// Bounds of the latency histogram: 2^17 ns to 2^36 ns, which is 0.13 ms to 69 s, each twice the one before.
///
/// Powers of two because those are edges of the finer histogram that counts: the numbers are exact, where 0.001 or 0.25 would be guesses. Latencies are whole
/// nanoseconds, cut off: so what lies below a bound is what took no longer. From what a server on the same machine needs to beyond the default delivery deadline.
const BOUNDS: std::ops::RangeInclusive<u32> = 17..=36;

/// What is told beside the figures of [`Stats`].
struct Family {
    /// Without the suffixes of its samples.
    name: &'static str,
    kind: MetricKind,
    /// What the name ends with, if it is a unit.
    unit: &'static str,
    labels: &'static str,
    help: &'static str,
}

const PUBLISHER: Family = Family {
    name: "ackbus_publisher",
    kind: MetricKind::Info,
    unit: "",
    labels: "version, server, server_version",
    help: "The library's version, and the server of the newest connection.",
};
const STATE: Family = Family {
    name: "ackbus_state",
    kind: MetricKind::StateSet,
    unit: "",
    labels: "ackbus_state",
    help: "How the publisher stands: connecting, connected, reconnecting, closing, closed or failed.",
};
const CONNECTED: Family =
    Family { name: "ackbus_connected", kind: MetricKind::Gauge, unit: "", labels: "", help: "1 while every connection of the publisher stands, else 0." };
const START: Family = Family {
    name: "ackbus_start_time_seconds",
    kind: MetricKind::Gauge,
    unit: "seconds",
    labels: "",
    help: "When the publisher was made, in seconds since 1970: its counters began at 0 then.",
};
const LIMIT_MESSAGES: Family = Family {
    name: "ackbus_pending_limit_messages",
    kind: MetricKind::Gauge,
    unit: "messages",
    labels: "",
    help: "The option `max_pending`: the most messages that may be pending.",
};
const LIMIT_BYTES: Family = Family {
    name: "ackbus_pending_limit_bytes",
    kind: MetricKind::Gauge,
    unit: "bytes",
    labels: "",
    help: "The option `max_pending_bytes`: the most that `ackbus_pending_bytes` may be.",
};
const FAILED: Family = Family {
    name: "ackbus_failed_messages",
    kind: MetricKind::Counter,
    unit: "messages",
    labels: "status",
    help: "What `ackbus_publish_error_messages_total` is made of, by the status of the report. An exemplar has the text of a recent failure, at most ten a second.",
};
const LATENCY: Family = Family {
    name: "ackbus_ack_latency_seconds",
    kind: MetricKind::Histogram,
    unit: "seconds",
    labels: "le",
    help: "Acknowledged messages by the time from `publish` to the ack. The bounds are powers of two of nanoseconds, and exact.",
};

/// In the order of the text; the figures of [`Stats`] come after the fourth.
const FAMILIES: [Family; 8] = [PUBLISHER, STATE, CONNECTED, START, LIMIT_MESSAGES, LIMIT_BYTES, FAILED, LATENCY];

/// The figures of these publishers as one text. One that is listed twice is told once.
pub(super) fn text(buses: &[&Arc<Shared>]) -> String {
    let mut once: Vec<&Arc<Shared>> = Vec::with_capacity(buses.len());
    for bus in buses {
        if !once.iter().any(|known| Arc::ptr_eq(known, bus)) {
            once.push(bus);
        }
    }
    // A lock may be held for ever there.
    if sys::forked() { write(&[]) } else { write(&snapshots(&once)) }
}

fn snapshots(buses: &[&Arc<Shared>]) -> Vec<Snapshot> {
    let names: Vec<&str> = buses.iter().map(|shared| shared.settings.name.as_str()).collect();
    buses.iter().zip(labels(&names)).map(|(shared, label)| Snapshot::of(shared, label)).collect()
}

/// A label for each name, all different.
fn labels(names: &[&str]) -> Vec<String> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let known: BTreeSet<&str> = names.iter().copied().collect();
    let mut label = |name: &str| {
        let numbered = (2_usize..).map(|number| format!("{name}#{number}")).filter(|label| !known.contains(label.as_str()));
        let label = std::iter::once(name.to_owned()).chain(numbered).find(|label| !taken.contains(label)).unwrap_or_default();
        taken.insert(label.clone());
        label
    };
    names.iter().map(|name| label(name)).collect()
}

/// One publisher at one moment.
struct Snapshot {
    label: String,
    info: Info,
    start_unix_ns: i64,
    limits: (usize, usize),
    stats: Stats,
    failures: Vec<(Status, u64, Option<Exemplar>)>,
    latencies: Latencies,
}

impl Snapshot {
    fn of(shared: &Shared, label: String) -> Self {
        let counters = || shared.lanes.iter().map(|lane| &*lane.counters);
        Snapshot {
            label,
            info: shared.info(),
            start_unix_ns: shared.start_unix_ns,
            limits: (shared.settings.max_pending, shared.settings.max_pending_bytes),
            failures: Failures::read(counters().map(|lane| &lane.failures)),
            latencies: Counters::latencies(counters()),
            stats: shared.stats(),
        }
    }
}

fn write(buses: &[Snapshot]) -> String {
    let mut text = Text(String::with_capacity(1_024 + buses.len() * 12_288));
    if !buses.is_empty() {
        text.families(buses);
    }
    text.0.push_str("# EOF\n");
    text.0
}

/// The text, line by line. Writing to a String cannot fail.
struct Text(String);

impl Text {
    fn families(&mut self, buses: &[Snapshot]) {
        self.family(&PUBLISHER);
        for bus in buses {
            let (server, version) = (first(&bus.info.server, 255), first(&bus.info.server_version, 63));
            self.sample("ackbus_publisher_info", bus, &[("version", version_string()), ("server", server), ("server_version", version)], 1);
        }
        self.family(&STATE);
        for bus in buses {
            for state in State::ALL {
                self.sample(STATE.name, bus, &[(STATE.name, state.name())], u8::from(state == bus.info.state));
            }
        }
        self.each(&CONNECTED, buses, |bus| u64::from(bus.info.state == State::Connected).to_string());
        self.each(&START, buses, |bus| seconds(u128::try_from(bus.start_unix_ns).unwrap_or(0)));
        for (place, figure) in Stats::FIELDS.iter().enumerate().filter(|(_, figure)| figure.kind != MetricKind::Histogram) {
            let in_seconds = figure.unit == "ns";
            self.describe(family_of(figure), figure.kind, if in_seconds { "seconds" } else { figure.unit }, figure.meaning);
            for bus in buses {
                let value = bus.stats.values()[place];
                if in_seconds { self.sample(figure.metric, bus, &[], seconds(value.into())) } else { self.sample(figure.metric, bus, &[], value) }
            }
        }
        self.each(&LIMIT_MESSAGES, buses, |bus| bus.limits.0.to_string());
        self.each(&LIMIT_BYTES, buses, |bus| bus.limits.1.to_string());
        self.family(&FAILED);
        for bus in buses {
            for (status, count, example) in &bus.failures {
                self.begin("ackbus_failed_messages_total", bus, &[("status", status.name())], count);
                self.exemplar(example.as_ref());
            }
        }
        self.family(&LATENCY);
        for bus in buses {
            for power in BOUNDS {
                self.sample("ackbus_ack_latency_seconds_bucket", bus, &[("le", &seconds(1 << power))], bus.latencies.below_power(power));
            }
            self.sample("ackbus_ack_latency_seconds_bucket", bus, &[("le", "+Inf")], bus.latencies.count());
            self.sample("ackbus_ack_latency_seconds_count", bus, &[], bus.latencies.count());
            self.sample("ackbus_ack_latency_seconds_sum", bus, &[], seconds(bus.latencies.sum_ns));
        }
    }

    fn family(&mut self, family: &Family) {
        self.describe(family.name, family.kind, family.unit, family.help);
    }

    /// A family with one sample for each publisher.
    fn each(&mut self, family: &Family, buses: &[Snapshot], value: impl Fn(&Snapshot) -> String) {
        self.family(family);
        for bus in buses {
            self.sample(family.name, bus, &[], value(bus));
        }
    }

    fn describe(&mut self, name: &str, kind: MetricKind, unit: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {}", kind.name());
        // "times" is no unit, and not in the name.
        if !unit.is_empty() && name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')) {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = write!(self.0, "# HELP {name} ");
        self.escaped(&help.replace('`', ""));
        self.0.push('\n');
    }

    fn sample(&mut self, name: &str, bus: &Snapshot, labels: &[(&str, &str)], value: impl Display) {
        self.begin(name, bus, labels, value);
        self.0.push('\n');
    }

    fn begin(&mut self, name: &str, bus: &Snapshot, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "{name}{{publisher=\"");
        self.escaped(&bus.label);
        for (label, text) in labels {
            let _ = write!(self.0, "\",{label}=\"");
            self.escaped(text);
        }
        let _ = write!(self.0, "\"}} {value}");
    }

    /// The rest of a counter's line.
    fn exemplar(&mut self, example: Option<&Exemplar>) {
        if let Some(Exemplar { text, time_unix_ns }) = example {
            self.0.push_str(" # {text=\"");
            self.escaped(text);
            let _ = write!(self.0, "\"}} 1 {}", seconds(u128::try_from(*time_unix_ns).unwrap_or(0)));
        }
        self.0.push('\n');
    }

    /// Text between quotes, or behind `# HELP`. Control characters other than newlines become `?`: C ends a text at a NUL, and terminals obey the others.
    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(if other.is_control() { '?' } else { other }),
            }
        }
    }
}

/// The name of the family: that of the sample, without a counter's suffix.
fn family_of(figure: &Figure) -> &'static str {
    figure.metric.strip_suffix("_total").unwrap_or(figure.metric)
}

/// Nanoseconds as seconds, exactly, with a point: as Go and Python write such a number.
fn seconds(nanos: u128) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// At most so many bytes, in whole characters.
fn first(text: &str, most: usize) -> &str {
    let end = text.char_indices().map(|(at, character)| at + character.len_utf8()).take_while(|&end| end <= most).last();
    &text[..end.unwrap_or(0)]
}

/// What `docs/STATISTICS.md` says of the other families.
fn families() -> String {
    let mut text = String::from(
        "\n## Metrics\n\n\
         The text has these beside the figures. Every sample has the label `publisher`: the option `name`; where several publishers of one text have the same, the\n\
         second is `name#2`. The sum over all `status` is `publish_errors`, and the histogram's count is `published`.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for Family { name, kind, labels, help, .. } in FAMILIES {
        let suffix = match kind {
            MetricKind::Counter => "_total",
            MetricKind::Info => "_info",
            _ => "",
        };
        let labels = labels.split(", ").filter(|label| !label.is_empty()).map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "| `{name}{suffix}` | {} | {labels} | {help} |", kind.name());
    }
    text.push_str("\nStatuses: ");
    text.push_str(&crate::stats::failures::FAILURES.map(|status| format!("`{}`", status.name())).join(", "));
    text.push_str("; `docs/ERRORS.md` says what they mean.\n");
    text
}

impl Stats {
    /// The text of `docs/STATISTICS.md`.
    #[must_use]
    pub fn reference() -> String {
        let mut text = String::from(
            "# Statistics\n\n\
             Generated from the table in `src/stats/mod.rs`; `ACKBUS_BLESS=1 cargo test the_docs_match_the_table` writes it anew.\n\n\
             A snapshot is a few dozen loads and may be taken from any thread at any time. All figures are unsigned 64-bit numbers, per publisher, since it\n\
             connected. `pending`, `pending_bytes` and the two quantiles rise and fall; the others only grow.\n\n\
             At rest, that is while no call and no ack is under way, persistent messages add up:\n\n\
             ```\naccepted == published + publish_errors + pending\n```\n\n\
             Purged, closed and timed-out messages are `publish_errors`. Ephemeral messages are in none of the four.\n\n\
             Known by other names: PublishedCount is `published`, PublishErrorCount is `publish_errors`, PendingAckCount is `pending`, AckTimeoutCount is\n\
             `ack_timeouts`.\n\n\
             The metric is the figure's name in `Publisher::metrics` and its like in every language: OpenMetrics text, times in seconds.\n\n\
             | figure | metric | unit | meaning |\n|---|---|---|---|\n",
        );
        for Figure { name, unit, metric, meaning, .. } in Self::FIELDS {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| `{name}` | `{metric}` | {unit} | {meaning} |");
        }
        text.push_str(&families());
        text
    }
}

#[cfg(test)]
mod tests;
