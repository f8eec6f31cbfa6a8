//! The shape of `scenarios.json`. Unknown fields are errors here, so that a typing mistake does not make a scenario prove less.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value};

const FILE: &str = include_str!("scenarios.json");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) why: String,
    /// The first nats-server, major and minor, that has what it needs.
    pub(crate) since: Option<(u32, u32)>,
    #[serde(default)]
    pub(crate) setup: Vec<Value>,
    /// A [`Publishing`], as soon as the set-up's answers are in it.
    pub(crate) publisher: Value,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    #[serde(default)]
    pub(crate) expect: Expect,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publishing {
    pub(crate) options: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) topics: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) fails: Option<Fails>,
}

/// How a call fails.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fails {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) text: String,
    pub(crate) not_text: Option<String>,
}

/// A step, or a message of a batch: all fields that any of them has.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    #[serde(rename = "do")]
    pub(crate) verb: String,
    pub(crate) fails: Option<Fails>,
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) payload_size: Option<usize>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) msg_id: Option<String>,
    pub(crate) expected_stream: Option<String>,
    pub(crate) expected_last_msg_id: Option<String>,
    pub(crate) expected_last_seq: Option<u64>,
    pub(crate) expected_last_subject_seq: Option<u64>,
    pub(crate) traceparent: Option<String>,
    pub(crate) tracestate: Option<String>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) stall_wait_ms: Option<u64>,
    pub(crate) delivery_timeout_ms: Option<u64>,
    pub(crate) tag: u64,
    pub(crate) report_always: bool,
    pub(crate) repeat: Option<u64>,
    pub(crate) messages: Vec<Step>,
    pub(crate) accepted: Option<u64>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) outcome: Map<String, Value>,
    pub(crate) unsent: bool,
    pub(crate) in_flight: bool,
    pub(crate) count: Option<u64>,
    pub(crate) pattern: String,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) kind: String,
    pub(crate) at_least: BTreeMap<String, u64>,
    pub(crate) request: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    pub(crate) reports: Vec<Map<String, Value>>,
    pub(crate) stats: BTreeMap<String, u64>,
    pub(crate) stats_at_least: BTreeMap<String, u64>,
    pub(crate) stats_at_most: BTreeMap<String, u64>,
    pub(crate) events: Vec<String>,
    pub(crate) no_events: Vec<String>,
    /// `None`: there is no such stream.
    pub(crate) streams: BTreeMap<String, Option<Vec<Stored>>>,
    pub(crate) received: BTreeMap<String, Vec<Stored>>,
}

/// One message, or `repeat` of them, in a stream or at a subscriber.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) payload: String,
    pub(crate) repeat: Option<u64>,
    /// The id, or whether there is one.
    pub(crate) msg_id: Option<Value>,
    #[serde(default)]
    pub(crate) headers: Map<String, Value>,
}

/// All scenarios of the file.
pub(crate) fn all() -> Vec<Scenario> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        format: u32,
        scenarios: Vec<Scenario>,
    }
    let file: File = serde_json::from_str(FILE).expect("scenarios.json");
    assert_eq!(file.format, 1);
    let names: HashSet<&str> = file.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    assert_eq!(names.len(), file.scenarios.len(), "each scenario has a name of its own");
    file.scenarios
}

/// One scenario as it is written.
pub(crate) fn raw(name: &str) -> Value {
    let file: Value = serde_json::from_str(FILE).expect("scenarios.json");
    let found = file["scenarios"].as_array().into_iter().flatten().find(|scenario| scenario["name"] == name);
    found.cloned().unwrap_or_else(|| panic!("there is no scenario {name}"))
}
