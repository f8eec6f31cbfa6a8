//! The JetStream API: questions about streams as requests, and replies as answers. What is asked for is written with async-nats' types.
//!
//! A reply can come from a server that is older or newer than this library: what is needed of it is read field by field, and nothing else is looked at. What a
//! server does not tell, or tells in a way of its own, is not known, and the rest is an answer all the same.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use serde_json::json;

use super::codes::printable;
use super::json;
use crate::base::names::is_stream_name;
use crate::config::topic::{Creation, Discard, Retention, Rule, Storage};
use crate::wire::{Question, StreamAnswer, codes};

const STREAM_NAME_EXISTS: u32 = 10058;

/// JetStream is not enabled for the account, or not on the server.
const NOT_ENABLED: &[u32] = &[10039, 10076];

/// Errors that mean "ask again later": no meta leader, a server that is not part of the cluster yet, an overloaded API, an offline stream. What is refused
/// for good has codes of 5xx too (10074), so `code` does not help.
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
    let about = |verb: &str, name: &str| is_stream_name(name).then(|| format!("{prefix}.STREAM.{verb}.{name}"));
    match question {
        Question::WhoTakes { topic } => Some((format!("{prefix}.STREAM.NAMES"), json!({ "subject": topic }).to_string().into_bytes())),
        Question::WhoTakesHere { topic } => Some((format!("{}.STREAM.NAMES", api_prefix(None)), json!({ "subject": topic }).to_string().into_bytes())),
        Question::Describe { stream, .. } | Question::Condition { stream } => Some((about("INFO", stream)?, Vec::new())),
        Question::Create { rule } => {
            let config = stream_config(rule)?;
            Some((about("CREATE", &config.name)?, serde_json::to_vec(&config).ok()?))
        }
    }
}

/// What the body of the reply says.
pub(crate) fn answer(question: &Question, body: &[u8]) -> StreamAnswer {
    let reply = std::str::from_utf8(body).ok().and_then(Reply::read);
    let Some(reply) = reply else { return unusable("is not JSON of the JetStream API") };
    if let Some(error) = reply.error {
        return refusal(question, &error);
    }
    match question {
        Question::WhoTakes { .. } | Question::WhoTakesHere { .. } => taker(reply.streams),
        Question::Describe { rule, .. } => described(reply.config, rule.as_deref()),
        Question::Create { rule } => described(reply.config, Some(rule)),
        Question::Condition { stream } => condition(stream, reply.config, reply.cluster),
    }
}

/// Nobody took the question.
pub(crate) fn nobody_answers() -> StreamAnswer {
    let text = "nobody answers JetStream here: it is not enabled on this server or account, or the leaf connection to it is down";
    let any_more = "nobody answers JetStream here any more: the leaf connection to it is down, or it was switched off";
    StreamAnswer::Disabled { text: text.into(), nobody: Some(any_more) }
}

/// The parts of all replies that matter here.
#[derive(Default)]
struct Reply<'a> {
    error: Option<ApiError>,
    config: Option<Described>,
    cluster: Option<Cluster>,
    streams: Option<&'a str>,
}

impl<'a> Reply<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut reply = Reply::default();
        let mut error = None;
        json::members(text, |name, value| match name {
            "error" => error = Some(value),
            "config" => reply.config = Described::read(value),
            "cluster" => reply.cluster = Cluster::read(value),
            "streams" => reply.streams = Some(value),
            _ => {}
        })?;
        if let Some(error) = error.filter(|error| *error != "null") {
            reply.error = Some(ApiError::read(error)?);
        }
        Some(reply)
    }
}

#[derive(Default)]
struct ApiError {
    code: u32,
    err_code: u32,
    description: String,
}

impl ApiError {
    fn read(text: &str) -> Option<Self> {
        let mut error = ApiError::default();
        json::members(text, |name, value| match name {
            "code" => error.code = json::number(value).unwrap_or(0),
            "err_code" => error.err_code = json::number(value).unwrap_or(0),
            "description" => error.description = json::string(value).unwrap_or_default().into_owned(),
            _ => {}
        })?;
        Some(error)
    }
}

/// A stream's configuration, as far as it is needed. `None`: not known.
struct Described {
    name: Option<String>,
    /// Left out when there are none: of a mirror.
    subjects: Option<Vec<String>>,
    storage: Option<String>,
    retention: Option<String>,
    discard: Option<String>,
    replicas: Option<u64>,
    max_messages: Option<i64>,
    max_bytes: Option<i64>,
    max_messages_per_subject: Option<i64>,
    max_age: Option<Duration>,
    /// Left out when it is zero.
    duplicate_window: Option<Duration>,
    no_ack: bool,
    sealed: bool,
    discard_new_per_subject: bool,
}

impl Described {
    fn read(text: &str) -> Option<Self> {
        let word = |value| json::string(value).map(|word| word.into_owned());
        let time = |value| json::number(value).map(Duration::from_nanos);
        let mut config = Described {
            name: None,
            subjects: Some(Vec::new()),
            storage: None,
            retention: None,
            discard: None,
            replicas: None,
            max_messages: None,
            max_bytes: None,
            max_messages_per_subject: None,
            max_age: None,
            duplicate_window: Some(Duration::ZERO),
            no_ack: false,
            sealed: false,
            discard_new_per_subject: false,
        };
        json::members(text, |name, value| match (name, value) {
            (_, "null") => {}
            ("name", _) => config.name = word(value),
            ("subjects", _) => config.subjects = json::list(value).map(|all| all.into_iter().filter_map(word).collect()),
            ("storage", _) => config.storage = word(value),
            ("retention", _) => config.retention = word(value),
            ("discard", _) => config.discard = word(value),
            ("num_replicas", _) => config.replicas = json::number(value),
            ("max_msgs", _) => config.max_messages = json::number(value),
            ("max_bytes", _) => config.max_bytes = json::number(value),
            ("max_msgs_per_subject", _) => config.max_messages_per_subject = json::number(value),
            ("max_age", _) => config.max_age = time(value),
            ("duplicate_window", _) => config.duplicate_window = time(value),
            ("no_ack", _) => config.no_ack = json::is_true(value),
            ("sealed", _) => config.sealed = json::is_true(value),
            ("discard_new_per_subject", _) => config.discard_new_per_subject = json::is_true(value),
            _ => {}
        })?;
        Some(config)
    }
}

/// Who keeps the stream. A server of its own leaves it out, or names itself.
#[derive(Default)]
struct Cluster {
    leader: String,
    replicas: Vec<Replica>,
}

impl Cluster {
    fn read(text: &str) -> Option<Self> {
        let mut cluster = Cluster::default();
        json::members(text, |name, value| match name {
            "leader" => cluster.leader = json::string(value).unwrap_or_default().into_owned(),
            "replicas" => cluster.replicas = json::list(value).unwrap_or_default().into_iter().filter_map(Replica::read).collect(),
            _ => {}
        })?;
        Some(cluster)
    }
}

#[derive(Default)]
struct Replica {
    name: String,
    current: bool,
    offline: bool,
    lag: u64,
}

impl Replica {
    fn read(text: &str) -> Option<Self> {
        let mut replica = Replica::default();
        json::members(text, |name, value| match name {
            "name" => replica.name = json::string(value).unwrap_or_default().into_owned(),
            "current" => replica.current = json::is_true(value),
            "offline" => replica.offline = json::is_true(value),
            "lag" => replica.lag = json::number(value).unwrap_or(0),
            _ => {}
        })?;
        Some(replica)
    }
}

fn refusal(question: &Question, error: &ApiError) -> StreamAnswer {
    let text = format!("{} (code {}, error {})", printable(&error.description), error.code, error.err_code);
    match (question, error.err_code) {
        (_, codes::NO_STREAM) => StreamAnswer::None,
        (Question::Condition { stream }, code) if LEADERLESS.contains(&code) => StreamAnswer::Condition { text: leaderless(stream) },
        // Somebody created it in the meantime, with another configuration: ask again, and use it as it is.
        (Question::Create { .. }, STREAM_NAME_EXISTS) => StreamAnswer::Unavailable { text },
        (_, code) if NOT_ENABLED.contains(&code) => StreamAnswer::Disabled { text: format!("JetStream is not enabled here: {text}"), nobody: None },
        (_, code) if LATER.contains(&code) => StreamAnswer::Unavailable { text },
        (_, 0) if (500..600).contains(&error.code) => StreamAnswer::Unavailable { text },
        (_, server_code) => StreamAnswer::Refused { server_code, text },
    }
}

/// The streams of a subject: none or one, since the subjects of streams do not overlap.
fn taker(streams: Option<&str>) -> StreamAnswer {
    let named = match streams {
        // The server writes the list always, `null` when it is empty.
        Some("null") => return StreamAnswer::None,
        Some(streams) => json::list(streams),
        None => None,
    };
    let Some(named) = named else { return unusable("has no list of streams") };
    let Some(first) = named.first() else { return StreamAnswer::None };
    match json::string(first).filter(|name| is_stream_name(name)) {
        None => unusable("names a stream that cannot be"),
        Some(name) => {
            StreamAnswer::Exists { name: name.into_owned(), subjects: Vec::new(), duplicate_window: None, differences: Vec::new(), risks: Vec::new() }
        }
    }
}

fn described(config: Option<Described>, rule: Option<&Rule>) -> StreamAnswer {
    let Some(mut config) = config else { return unusable("has no stream configuration") };
    let Some(name) = config.name.take().filter(|name| is_stream_name(name)) else { return unusable("has no stream name") };
    let differences = rule.filter(|rule| rule.create).map(|rule| differences(&rule.creation, &config)).unwrap_or_default();
    let (risks, duplicate_window) = (risks(&config), config.duplicate_window);
    StreamAnswer::Exists { name, subjects: config.subjects.unwrap_or_default(), duplicate_window, differences, risks }
}

/// Why the stream may not acknowledge, as far as its info tells.
fn condition(stream: &str, config: Option<Described>, cluster: Option<Cluster>) -> StreamAnswer {
    let Some(config) = config else { return unusable("has no stream configuration") };
    let text = if config.no_ack {
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

/// Where an existing stream is not what the rule would have created. A setting that the rule leaves to the server cannot differ, nor one that is not known.
fn differences(creation: &Creation, config: &Described) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, wanted: Option<String>, actual: Option<String>| {
        if let (Some(wanted), Some(actual)) = (wanted, actual)
            && wanted != actual
        {
            found.push(format!("{what} is {}, not {}", printable(&actual), printable(&wanted)));
        }
    };
    let missing = |own: &Vec<String>| creation.subjects.iter().any(|wanted| !own.iter().any(|own| covers(own, wanted)));
    let subjects = config.subjects.as_ref().filter(|own| missing(own));
    compare("subjects", Some(creation.subjects.join(",")), subjects.map(|own| if own.is_empty() { "none".to_owned() } else { own.join(",") }));
    compare("storage", Some(format!("{:?}", storage(creation.storage)).to_lowercase()), config.storage.clone());
    compare("replicas", creation.replicas.map(|replicas| replicas.to_string()), config.replicas.map(|replicas| replicas.to_string()));
    compare("retention", Some(format!("{:?}", retention(creation.retention)).to_lowercase()), config.retention.clone());
    compare("discard", Some(format!("{:?}", discard(creation.discard)).to_lowercase()), config.discard.clone());
    compare("max_msgs", creation.max_msgs.map(limit), config.max_messages.map(limit));
    compare("max_bytes", creation.max_bytes.map(limit), config.max_bytes.map(limit));
    compare("max_age", creation.max_age.map(age), config.max_age.map(age));
    compare("duplicate_window", creation.duplicate_window.map(age), config.duplicate_window.map(age));
    found
}

/// What makes the promises weaker on this stream (P4). What is not known is no risk.
fn risks(config: &Described) -> Vec<String> {
    let mut found = Vec::new();
    if config.no_ack {
        found.push("it sends no acknowledgements (no_ack): every message to it will end in ACK_TIMEOUT".to_owned());
    }
    if config.sealed {
        found.push("it is sealed and takes no messages".to_owned());
    }
    if config.duplicate_window == Some(Duration::ZERO) {
        found.push("it has no duplicate window: what may have been stored is not sent again".to_owned());
        return found;
    }
    // After a restart the server knows the ids of the messages that are still there, and no others.
    let forgets = "if its server restarts inside the duplicate window, a resend can be stored twice";
    match config.retention.as_deref() {
        Some("workqueue") => found.push(format!("it is a work queue, which removes consumed messages: {forgets}")),
        Some("interest") => found
            .push(format!("it keeps messages by interest: without consumers it acknowledges and keeps nothing, and consumed messages are removed: {forgets}")),
        _ => {}
    }
    let Some(window) = config.duplicate_window else { return found };
    let per_second = |limit: Option<i64>| {
        let limit = u64::try_from(limit?).ok().filter(|&limit| limit > 0)?;
        limit.checked_div(window.as_secs().max(1))
    };
    let mut evicts = |how: String| found.push(format!("{how} before the duplicate window of {} ends: {forgets}", age(window)));
    if let Some(max_age) = config.max_age.filter(|max_age| !max_age.is_zero() && *max_age < window) {
        evicts(format!("max_age {} removes messages", age(max_age)));
    }
    if config.discard.as_deref() == Some("old") {
        if let (Some(limit), Some(rate)) = (config.max_messages, per_second(config.max_messages).filter(|&rate| rate < MODEST_RATE)) {
            evicts(format!("max_msgs {limit} removes messages, from a rate of {} per second on,", rate + 1));
        }
        if let (Some(limit), Some(rate)) = (config.max_bytes, per_second(config.max_bytes).filter(|&rate| rate < MODEST_BYTE_RATE)) {
            evicts(format!("max_bytes {limit} removes messages, from a rate of {} bytes per second on,", rate + 1));
        }
    }
    // With discard=new this limit still drops old messages, unless discard_new_per_subject is set too.
    if let Some(limit) = config.max_messages_per_subject.filter(|&limit| !config.discard_new_per_subject && per_second(Some(limit)) == Some(0)) {
        evicts(format!("max_msgs_per_subject {limit} removes messages, from one per second and subject on,"));
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
