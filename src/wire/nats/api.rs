//! The JetStream API: questions about streams as requests, and replies as answers. The types of stream configurations are async-nats', the JSON is serde's.
//!
//! A reply can come from a server that is newer than this library, so a configuration that is not understood in full is still an answer.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use serde::Deserialize;
use serde_json::{Value, json};

use super::codes::printable;
use crate::error::Status;
use crate::topic::{Creation, Discard, Retention, Rule, Storage, check_stream_name};
use crate::wire::{Question, StreamAnswer};

const STREAM_NOT_FOUND: u32 = 10059;
const STREAM_NAME_EXISTS: u32 = 10058;

/// Errors that mean "ask again later": no meta leader, a server that is not part of the cluster yet, an overloaded API, an offline stream. What is refused
/// for good has codes of 5xx too (10074, 10076), so `code` does not help.
const LATER: &[u32] = &[10004, 10006, 10007, 10008, 10009, 10041, 10063, 10075, 10118, 10167, 10194];

/// What a server says of a stream that has no leader (server/jetstream_api.go, jsStreamInfoRequest): nobody to ask, not available, offline.
const LEADERLESS: &[u32] = &[10008, 10009, 10118];

/// Slower than this, a limit is said to be tight: messages, and bytes, per second.
const MODEST_RATE: u64 = 100;
const MODEST_BYTE_RATE: u64 = 100 * 1024;

/// Where requests go: `$JS.API`, or a domain's.
pub(crate) fn api_prefix(domain: Option<&str>) -> String {
    match domain {
        Some(domain) => format!("$JS.{domain}.API"),
        None => "$JS.API".to_owned(),
    }
}

/// The subject and the body of the request. `None` if the stream's name, which can come from a server or from a forged ack, is one that no stream can have:
/// it would break the protocol's line.
pub(crate) fn request(prefix: &str, question: &Question) -> Option<(String, Vec<u8>)> {
    let about = |verb: &str, name: &str| check_stream_name("", name, Status::ProtocolError).is_ok().then(|| format!("{prefix}.STREAM.{verb}.{name}"));
    match question {
        Question::WhoTakes { topic } => Some((format!("{prefix}.STREAM.NAMES"), json!({ "subject": topic }).to_string().into_bytes())),
        Question::Describe { stream, .. } | Question::Condition { stream } => Some((about("INFO", stream)?, Vec::new())),
        Question::Create { rule } => {
            let config = stream_config(rule)?;
            Some((about("CREATE", &config.name)?, serde_json::to_vec(&config).ok()?))
        }
    }
}

/// What the body of the reply says.
pub(crate) fn answer(question: &Question, body: &[u8]) -> StreamAnswer {
    let Ok(reply) = serde_json::from_slice::<Reply>(body) else { return unusable("is not JSON of the JetStream API") };
    if let Some(error) = reply.error {
        return refusal(question, &error);
    }
    match question {
        Question::WhoTakes { .. } => taker(reply.streams),
        Question::Describe { rule, .. } => described(reply.config, rule.as_deref()),
        Question::Create { rule } => described(reply.config, Some(rule)),
        Question::Condition { stream } => condition(stream, reply.config, reply.cluster),
    }
}

/// The parts of all replies that matter here.
#[derive(Deserialize)]
struct Reply {
    error: Option<ApiError>,
    config: Option<Value>,
    cluster: Option<Cluster>,
    /// `null` when there is none.
    streams: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// Who keeps the stream. A server of its own leaves it out, or names itself.
#[derive(Deserialize)]
struct Cluster {
    #[serde(default)]
    leader: String,
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    #[serde(default)]
    name: String,
    #[serde(default)]
    current: bool,
    #[serde(default)]
    offline: bool,
    #[serde(default)]
    lag: u64,
}

fn refusal(question: &Question, error: &ApiError) -> StreamAnswer {
    let text = format!("{} (code {}, error {})", printable(&error.description), error.code, error.err_code);
    match (question, error.err_code) {
        (_, STREAM_NOT_FOUND) => StreamAnswer::None,
        (Question::Condition { stream }, code) if LEADERLESS.contains(&code) => StreamAnswer::Condition { text: leaderless(stream) },
        // Somebody created it in the meantime, with another configuration: ask again, and use it as it is.
        (Question::Create { .. }, STREAM_NAME_EXISTS) => StreamAnswer::Unavailable { text },
        (_, code) if LATER.contains(&code) => StreamAnswer::Unavailable { text },
        (_, 0) if (500..600).contains(&error.code) => StreamAnswer::Unavailable { text },
        (_, server_code) => StreamAnswer::Refused { server_code, text },
    }
}

/// The streams of a subject: none or one, since the subjects of streams do not overlap.
fn taker(streams: Option<Vec<String>>) -> StreamAnswer {
    match streams.unwrap_or_default().into_iter().next() {
        None => StreamAnswer::None,
        Some(name) if check_stream_name("", &name, Status::ProtocolError).is_err() => unusable("names a stream that cannot be"),
        Some(name) => StreamAnswer::Exists { name, duplicate_window: None, differences: Vec::new(), risks: Vec::new() },
    }
}

fn described(config: Option<Value>, rule: Option<&Rule>) -> StreamAnswer {
    let Some(config) = config else { return unusable("has no stream configuration") };
    let Some(name) = config["name"].as_str().filter(|name| check_stream_name("", name, Status::ProtocolError).is_ok()).map(str::to_owned) else {
        return unusable("has no stream name");
    };
    // Left out when it is zero.
    let duplicate_window = Duration::from_nanos(config["duplicate_window"].as_u64().unwrap_or(0));
    let (differences, risks) = match serde_json::from_value::<Config>(config) {
        Ok(config) => (rule.filter(|rule| rule.create).map(|rule| differences(&rule.creation, &config)).unwrap_or_default(), risks(&config)),
        Err(error) => (Vec::new(), vec![format!("its configuration is not understood in full, and was not checked: {}", printable(&error.to_string()))]),
    };
    StreamAnswer::Exists { name, duplicate_window: Some(duplicate_window), differences, risks }
}

/// Why the stream may not acknowledge, as far as its info tells.
fn condition(stream: &str, config: Option<Value>, cluster: Option<Cluster>) -> StreamAnswer {
    let Some(config) = config else { return unusable("has no stream configuration") };
    let text = if config["no_ack"].as_bool() == Some(true) {
        format!("stream {stream:?} takes it and is configured with no_ack: it stores and never acknowledges")
    } else {
        match cluster {
            Some(cluster) if cluster.leader.is_empty() => leaderless(stream),
            Some(cluster) => format!(
                "stream {stream:?} takes it, has a leader ({}) and acknowledges: the server is alive, and slow{}",
                printable(&cluster.leader),
                stragglers(&cluster)
            ),
            None => format!("stream {stream:?} takes it and acknowledges: the server is alive, and slow"),
        }
    };
    StreamAnswer::Condition { text }
}

fn leaderless(stream: &str) -> String {
    format!("stream {stream:?} takes it and has no leader: its servers elect one, or too many of them are down")
}

/// The replicas without which, or after which, a leader acknowledges.
fn stragglers(cluster: &Cluster) -> String {
    let of = |replica: &Replica| match replica {
        Replica { offline: true, name, .. } => Some(format!("{} is offline", printable(name))),
        Replica { current: false, name, lag, .. } => Some(format!("{} is {lag} operations behind", printable(name))),
        Replica { .. } => None,
    };
    let found: Vec<String> = cluster.replicas.iter().filter_map(of).take(5).collect();
    if found.is_empty() { String::new() } else { format!(" (replicas: {})", found.join(", ")) }
}

fn unusable(why: &str) -> StreamAnswer {
    StreamAnswer::Unavailable { text: format!("the reply to a question about a stream {why}") }
}

/// The stream that the rule creates. `None` if it names none.
fn stream_config(rule: &Rule) -> Option<Config> {
    let creation = &rule.creation;
    Some(Config {
        name: rule.stream.clone()?,
        subjects: creation.subjects.clone(),
        storage: storage(creation.storage),
        num_replicas: creation.replicas.map_or(1, |replicas| replicas as usize),
        retention: retention(creation.retention),
        discard: discard(creation.discard),
        max_messages: creation.max_msgs.unwrap_or(-1),
        max_bytes: creation.max_bytes.unwrap_or(-1),
        max_age: creation.max_age.unwrap_or_default(),
        duplicate_window: creation.duplicate_window.unwrap_or_default(),
        // What the server makes of zero; a strict one takes offence at zero.
        max_messages_per_subject: -1,
        max_consumers: -1,
        ..Config::default()
    })
}

/// Where an existing stream is not what the rule would have created. A setting that the rule leaves to the server cannot differ.
fn differences(creation: &Creation, config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, wanted: Option<String>, actual: String| {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != actual) {
            found.push(format!("{what} is {}, not {}", printable(&actual), printable(&wanted)));
        }
    };
    let missing: Vec<&str> = creation.subjects.iter().filter(|wanted| !config.subjects.iter().any(|own| covers(own, wanted))).map(String::as_str).collect();
    compare("subjects", (!missing.is_empty()).then(|| creation.subjects.join(",")), config.subjects.join(","));
    compare("storage", Some(format!("{:?}", storage(creation.storage)).to_lowercase()), format!("{:?}", config.storage).to_lowercase());
    compare("replicas", creation.replicas.map(|replicas| replicas.to_string()), config.num_replicas.to_string());
    compare("retention", Some(format!("{:?}", retention(creation.retention)).to_lowercase()), format!("{:?}", config.retention).to_lowercase());
    compare("discard", Some(format!("{:?}", discard(creation.discard)).to_lowercase()), format!("{:?}", config.discard).to_lowercase());
    compare("max_msgs", creation.max_msgs.map(limit), limit(config.max_messages));
    compare("max_bytes", creation.max_bytes.map(limit), limit(config.max_bytes));
    compare("max_age", creation.max_age.map(age), age(config.max_age));
    compare("duplicate_window", creation.duplicate_window.map(age), age(config.duplicate_window));
    found
}

/// What makes the promises weaker on this stream (P4).
fn risks(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let window = config.duplicate_window;
    let per_second = |limit: i64| u64::try_from(limit).ok().filter(|&limit| limit > 0).and_then(|limit| limit.checked_div(window.as_secs().max(1)));
    if config.no_ack {
        found.push("it sends no acknowledgements (no_ack): every message to it will end in ACK_TIMEOUT".to_owned());
    }
    if config.sealed {
        found.push("it is sealed and takes no messages".to_owned());
    }
    if window.is_zero() {
        found.push("it has no duplicate window: what may have been stored is not sent again".to_owned());
        return found;
    }
    // X1: after a restart the server knows the ids of the messages that are still there, and no others.
    let forgets = "if its server restarts inside the duplicate window, a resend can be stored twice";
    match config.retention {
        RetentionPolicy::WorkQueue => found.push(format!("it is a work queue, which removes consumed messages: {forgets}")),
        RetentionPolicy::Interest => found
            .push(format!("it keeps messages by interest: without consumers it acknowledges and keeps nothing, and consumed messages are removed: {forgets}")),
        RetentionPolicy::Limits => {}
    }
    let mut evicts = |how: String| found.push(format!("{how} before the duplicate window of {} ends: {forgets}", age(window)));
    if !config.max_age.is_zero() && config.max_age < window {
        evicts(format!("max_age {} removes messages", age(config.max_age)));
    }
    if config.discard == DiscardPolicy::Old {
        if let Some(rate) = per_second(config.max_messages).filter(|&rate| rate < MODEST_RATE) {
            evicts(format!("max_msgs {} removes messages, from a rate of {} per second on,", config.max_messages, rate + 1));
        }
        if let Some(rate) = per_second(config.max_bytes).filter(|&rate| rate < MODEST_BYTE_RATE) {
            evicts(format!("max_bytes {} removes messages, from a rate of {} bytes per second on,", config.max_bytes, rate + 1));
        }
    }
    // With discard=new this limit still drops old messages, unless discard_new_per_subject is set too.
    if !config.discard_new_per_subject && per_second(config.max_messages_per_subject).is_some_and(|rate| rate == 0) {
        evicts(format!("max_msgs_per_subject {} removes messages, from one per second and subject on,", config.max_messages_per_subject));
    }
    found
}

/// Whether every topic of the pattern `inner` is one of the pattern `outer`.
fn covers(outer: &str, inner: &str) -> bool {
    let mut outer = outer.split('.');
    let mut inner = inner.split('.');
    loop {
        match (outer.next(), inner.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(own), Some(token)) if own == token => {}
            _ => return false,
        }
    }
}

fn storage(storage: Storage) -> StorageType {
    match storage {
        Storage::File => StorageType::File,
        Storage::Memory => StorageType::Memory,
    }
}

fn retention(retention: Retention) -> RetentionPolicy {
    match retention {
        Retention::Limits => RetentionPolicy::Limits,
        Retention::Interest => RetentionPolicy::Interest,
        Retention::WorkQueue => RetentionPolicy::WorkQueue,
    }
}

fn discard(discard: Discard) -> DiscardPolicy {
    match discard {
        Discard::Old => DiscardPolicy::Old,
        Discard::New => DiscardPolicy::New,
    }
}

/// Zero and negative numbers mean the same.
fn limit(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "unlimited".to_owned() }
}

fn age(age: Duration) -> String {
    if age.is_zero() { "none".to_owned() } else { format!("{age:?}") }
}

#[cfg(test)]
mod tests;
