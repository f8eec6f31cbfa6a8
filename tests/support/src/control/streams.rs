//! Requests about streams and what is in them, as the server itself answers them.

use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::{Fields, Outcome, fields};
use crate::{Reader, StoredMsg, Subscription};

const STREAM_NOT_FOUND: u64 = 10059;

impl Reader {
    /// Creates or changes a stream; the configuration goes to the server as it is.
    pub(super) fn put_stream(&self, verb: &str, config: &Value) -> Outcome {
        let name = config["name"].as_str().ok_or("the config has no name")?;
        self.api(&format!("STREAM.{verb}.{name}"), config).map(|_| Fields::new()).map_err(refusal)
    }

    pub(super) fn delete(&self, stream: &str) -> Outcome {
        self.api(&format!("STREAM.DELETE.{stream}"), &Value::Null).map(|_| Fields::new()).map_err(refusal)
    }

    pub(super) fn purge(&self, stream: &str) -> Outcome {
        let answer = self.api(&format!("STREAM.PURGE.{stream}"), &Value::Null).map_err(refusal)?;
        Ok(fields(json!({ "purged": answer["purged"] })))
    }

    /// What the server says of the stream; null if there is none.
    pub(super) fn info(&self, stream: &str) -> Outcome {
        match self.api(&format!("STREAM.INFO.{stream}"), &Value::Null) {
            Ok(info) => Ok(fields(json!({ "info": info }))),
            Err(error) if error["err_code"] == STREAM_NOT_FOUND => Ok(fields(json!({ "info": null }))),
            Err(error) => Err(refusal(error)),
        }
    }

    pub(super) fn step_down(&self, stream: &str) -> Outcome {
        self.api(&format!("STREAM.LEADER.STEPDOWN.{stream}"), &Value::Null).map(|_| Fields::new()).map_err(refusal)
    }

    pub(super) fn read(&self, stream: &str) -> Outcome {
        // A stream that is not there is told at once: reading waits for one that has no leader yet.
        self.api(&format!("STREAM.INFO.{stream}"), &Value::Null).map_err(refusal)?;
        let messages: Vec<Value> = self.read_all(stream).iter().map(stored).collect();
        Ok(fields(json!({ "messages": messages })))
    }

    /// Waits until the stream holds so many messages.
    pub(super) fn wait_stored(&self, stream: &str, count: u64, limit: Duration) -> Outcome {
        let mut seen = 0;
        let start = Instant::now();
        while start.elapsed() <= limit {
            seen = self.api(&format!("STREAM.INFO.{stream}"), &Value::Null).map_err(refusal)?["state"]["messages"].as_u64().unwrap_or(0);
            if seen >= count {
                return Ok(fields(json!({ "count": seen })));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("after {limit:?} stream {stream} holds {seen} messages, not {count}"))
    }
}

/// Waits for `count` messages, and adds what else has come by then. The caller sees fewer, and more.
pub(super) fn received(subscription: &mut Subscription, count: usize, limit: Duration) -> Fields {
    let start = Instant::now();
    let mut messages = Vec::new();
    while messages.len() < count {
        let Some(message) = subscription.next(limit.saturating_sub(start.elapsed())) else { break };
        messages.push(message);
    }
    messages.extend(subscription.rest());
    let messages: Vec<Value> =
        messages.iter().map(|(subject, payload)| json!({ "subject": subject, "payload": text(payload), "payload_base64": BASE64.encode(payload) })).collect();
    fields(json!({ "messages": messages }))
}

fn stored(message: &StoredMsg) -> Value {
    let headers: Map<String, Value> =
        message.headers.iter().map(|(name, values)| (name.to_string(), values.iter().map(|value| Value::from(value.as_str())).collect())).collect();
    json!({ "seq": message.seq, "subject": message.subject, "payload": text(&message.payload), "payload_base64": BASE64.encode(&message.payload), "headers": headers })
}

/// The payload for readers without base64; null if it is no text.
fn text(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload).ok()
}

fn refusal(error: Value) -> String {
    let text = error["description"].as_str().unwrap_or("the server refused");
    format!("{text} ({})", error["err_code"])
}
