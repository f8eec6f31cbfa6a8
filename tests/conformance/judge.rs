//! What is expected, compared with what was told, counted and stored.

use std::collections::{BTreeMap, HashSet};

use ackbus::{Error, Persistence, REPORT_DUPLICATE, REPORT_EPHEMERAL, Report, Reports, Stats};
use ackbus_test_support::Control;
use serde_json::{Map, Value, json};

use crate::scenario::{Expect, Fails, Step, Stored};
use crate::{Record, ask};

/// A report in the words of the scenarios.
pub(crate) fn in_words(report: &Report<'_>) -> Value {
    let persistence = match report.persistence() {
        Persistence::Persisted => "PERSISTED",
        Persistence::NotPersisted => "NOT_PERSISTED",
        Persistence::PossiblyPersisted => "POSSIBLY_PERSISTED",
        other => panic!("{other:?}"),
    };
    let names = [(REPORT_DUPLICATE, "DUPLICATE"), (REPORT_EPHEMERAL, "EPHEMERAL")];
    let flags: Vec<&str> = names.iter().filter(|(bit, _)| report.flags() & bit != 0).map(|(_, name)| *name).collect();
    json!({
        "tag": report.tag(), "status": report.status().name(), "persistence": persistence, "flags": flags, "server_code": report.server_code(),
        "attempts": report.attempts(), "stream": report.stream(), "domain": report.domain(), "stream_seq": report.stream_seq(), "msg_id": report.msg_id(),
        "topic": report.topic(), "payload": String::from_utf8_lossy(report.payload()), "text": report.text(),
    })
}

/// A call must succeed, or fail as told.
pub(crate) fn result(done: ackbus::Result<()>, fails: Option<&Fails>) -> Result<(), String> {
    match (done, fails) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(fails)) => Err(format!("it succeeded, and should fail with {}", fails.status)),
        (Err(error), None) => Err(error.to_string()),
        (Err(error), Some(fails)) => failure(&error, fails),
    }
}

fn failure(error: &Error, fails: &Fails) -> Result<(), String> {
    let told = fails.not_text.as_ref().is_none_or(|text| !error.message().contains(text));
    let met = told && error.status().name() == fails.status && error.message().contains(&fails.text);
    if met { Ok(()) } else { Err(format!("failed with {error}, not as {fails:?}")) }
}

/// The outcome of a `publish_wait`.
pub(crate) fn outcome(step: &Step, reports: &Reports) -> Result<(), String> {
    let report = reports.get(0).filter(|_| reports.len() == 1).ok_or("there is not one report")?;
    compare(&step.outcome, &in_words(&report))
}

/// One report has all that is expected, and no other flag.
fn compare(expected: &Map<String, Value>, report: &Value) -> Result<(), String> {
    let none = json!([]);
    for (field, wanted) in expected.iter().chain((!expected.contains_key("flags")).then_some((&"flags".to_owned(), &none))) {
        let met = match field.as_str() {
            "tag" | "tags" => true,
            "text" => report["text"].as_str().unwrap_or_default().contains(wanted.as_str().ok_or("text is no text")?),
            "attempts_at_least" => report["attempts"].as_u64() >= wanted.as_u64(),
            other => report.get(other).ok_or(format!("no report has a {other}"))? == wanted,
        };
        if !met {
            return Err(format!("{field} is not {wanted}: {report}"));
        }
    }
    Ok(())
}

/// P1: exactly the expected reports were told, each once; and the events.
pub(crate) fn told(expect: &Expect, record: &Record) -> Result<(), String> {
    let mut left: BTreeMap<u64, &Value> = BTreeMap::new();
    for report in &record.reports {
        if let Some(twice) = left.insert(report["tag"].as_u64().unwrap(), report) {
            return Err(format!("two reports: {twice}, {report}"));
        }
        if (report["status"] == "OK") != (report["persistence"] == "PERSISTED") {
            return Err(format!("status and persistence differ: {report}"));
        }
    }
    for expected in &expect.reports {
        let tags = expected.get("tags").cloned().unwrap_or_else(|| json!([expected["tag"], expected["tag"]]));
        let (Some(first), Some(last)) = (tags[0].as_u64(), tags[1].as_u64()) else { return Err(format!("no tags: {expected:?}")) };
        for tag in first..=last {
            compare(expected, left.remove(&tag).ok_or(format!("no report of {tag}"))?)?;
        }
    }
    if let Some(report) = left.into_values().next() {
        return Err(format!("nobody expected {report}"));
    }
    let missing = expect.events.iter().find(|kind| !record.events.contains(&kind.as_str()));
    let unwanted = expect.no_events.iter().find(|kind| record.events.contains(&kind.as_str()));
    if missing.or(unwanted).is_some() { Err(format!("missing {missing:?}, unwanted {unwanted:?} in {:?}", record.events)) } else { Ok(()) }
}

fn figure(name: &str, stats: &Stats) -> Result<u64, String> {
    let found = Stats::FIELDS.iter().zip(stats.values()).find(|(field, _)| field.name == name);
    found.map(|(_, value)| value).ok_or(format!("there is no figure {name}"))
}

pub(crate) fn at_least(wanted: &BTreeMap<String, u64>, stats: &Stats) -> Result<(), String> {
    wanted.iter().try_for_each(|(name, least)| {
        let value = figure(name, stats)?;
        if value >= *least { Ok(()) } else { Err(format!("{name} is {value}, less than {least}")) }
    })
}

pub(crate) fn stats(expect: &Expect, stats: &Stats) -> Result<(), String> {
    if stats.accepted != stats.published + stats.publish_errors + stats.pending {
        return Err(format!("the books do not balance: {stats:?}"));
    }
    for (name, wanted) in &expect.stats {
        let value = figure(name, stats)?;
        if value != *wanted {
            return Err(format!("{name} is {value}, not {wanted}"));
        }
    }
    for (name, most) in &expect.stats_at_most {
        let value = figure(name, stats)?;
        if value > *most {
            return Err(format!("{name} is {value}, more than {most}"));
        }
    }
    at_least(&expect.stats_at_least, stats)
}

/// P2: streams and subscribers have exactly what is expected, in that order.
pub(crate) fn stored(expect: &Expect, control: &mut Control) -> Result<(), String> {
    for (stream, expected) in &expect.streams {
        let Some(expected) = expected else {
            let info = ask(control, &json!({ "do": "stream_info", "server": 1, "stream": stream }))?;
            if info["info"].is_null() {
                continue;
            }
            return Err(format!("stream {stream} exists"));
        };
        let answer = ask(control, &json!({ "do": "read", "server": 1, "stream": stream }))?;
        messages(expected, &answer["messages"], true).map_err(|text| format!("stream {stream}: {text}"))?;
    }
    for (subscription, expected) in &expect.received {
        let count: u64 = expected.iter().map(|message| message.repeat.unwrap_or(1)).sum();
        let number: u64 = subscription.parse().map_err(|_| "a subscription has a number")?;
        let answer = ask(control, &json!({ "do": "received", "subscription": number, "count": count }))?;
        messages(expected, &answer["messages"], false).map_err(|text| format!("subscription {subscription}: {text}"))?;
    }
    Ok(())
}

fn messages(expected: &[Stored], found: &Value, in_stream: bool) -> Result<(), String> {
    let found = found.as_array().ok_or("no messages")?;
    let mut left = found.iter();
    let mut ids = HashSet::new();
    for wanted in expected {
        for index in 0..wanted.repeat.unwrap_or(1) {
            let message = left.next().ok_or(format!("{} messages are too few", found.len()))?;
            let payload = wanted.payload.replace('#', &index.to_string());
            let mut met = message["subject"] == wanted.subject && message["payload"] == payload;
            met &= wanted.headers.iter().all(|(name, values)| message["headers"][name] == *values);
            if in_stream {
                let id = message["headers"]["Nats-Msg-Id"][0].as_str();
                met &= match &wanted.msg_id {
                    Some(Value::Bool(false)) => id.is_none(),
                    Some(Value::String(wanted)) => id == Some(wanted),
                    _ => id.is_some(),
                };
                met &= id.is_none_or(|id| ids.insert(id));
            }
            if !met {
                return Err(format!("{message} is not {wanted:?} at {index}"));
            }
        }
    }
    left.next().map_or(Ok(()), |more| Err(format!("{} messages are too many, such as {more}", found.len())))
}
