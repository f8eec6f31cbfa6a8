//! The JetStream API of the model server: the four requests that a publisher makes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::reply::ApiError;
use super::script::Script;
use super::store::{Store, Stream, StreamSpec};
use super::truth::{Says, matches};

/// The words behind `$JS.API.` (or `$JS.<domain>.API.`) of a request's subject.
pub(crate) fn request(subject: &str) -> Option<&str> {
    let rest = subject.strip_prefix("$JS.")?;
    rest.strip_prefix("API.").or_else(|| rest.split_once(".API.").map(|(_, words)| words))
}

/// The reply to a request of a server that cannot serve it.
pub(crate) fn failure(words: &str, error: &ApiError) -> Value {
    let kind = words.split('.').take(2).collect::<Vec<_>>().join("_").to_ascii_lowercase();
    failed(&kind, error)
}

fn failed(kind: &str, error: &ApiError) -> Value {
    json!({
        "type": format!("io.nats.jetstream.api.v1.{kind}_response"),
        "error": {"code": error.code, "err_code": error.err_code, "description": error.description},
    })
}

/// What a reply says of the stream that was asked for.
pub(crate) fn says(reply: &Value) -> Says {
    match reply["error"]["err_code"].as_u64() {
        Some(10059) => Says::Absent,
        Some(_) => Says::Refuses,
        None if reply["streams"].is_null() && reply["config"].is_null() => Says::Absent,
        None => Says::Exists,
    }
}

/// The reply to a request, as the script's server gives it.
pub(crate) fn respond(store: &mut Store, now: u64, words: &str, body: &[u8], script: &Script) -> Value {
    let (refuse_create, imported) = (script.refuse_create.as_ref(), &script.land.imported);
    let kind = words.to_ascii_lowercase();
    let result = if words == "INFO" {
        Ok(("account_info", account()))
    } else if words == "STREAM.NAMES" {
        Ok(("stream_names", names(store, body, imported)))
    } else if let Some(name) = words.strip_prefix("STREAM.INFO.") {
        let found = store
            .streams
            .get(name)
            .filter(|stream| stream.own || !imported.contains(name))
            .map(|stream| info(stream, now))
            .ok_or_else(|| ApiError::new(404, 10059, "stream not found"));
        found.map(|info| ("stream_info", info)).map_err(|e| ("stream_info", e))
    } else if let Some(name) = words.strip_prefix("STREAM.CREATE.") {
        create(store, now, name, body, refuse_create).map(|info| ("stream_create", info)).map_err(|e| ("stream_create", e))
    } else {
        Err((kind.as_str(), ApiError::new(404, 10024, "no such request")))
    };
    match result {
        Ok((kind, mut reply)) => {
            reply["type"] = json!(format!("io.nats.jetstream.api.v1.{kind}_response"));
            reply
        }
        Err((kind, error)) => failed(kind, &error),
    }
}

fn names(store: &Store, body: &[u8], imported: &BTreeSet<String>) -> Value {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let wanted = request["subject"].as_str();
    let takes = |stream: &&Stream| wanted.is_none_or(|wanted| stream.spec.subjects.iter().any(|own| matches(own, wanted) || matches(wanted, own)));
    let names: Vec<&str> = store
        .streams
        .values()
        .filter(|stream| stream.own || !imported.contains(&stream.spec.name))
        .filter(takes)
        .map(|stream| stream.spec.name.as_str())
        .collect();
    // The server says null, not [], when there is none.
    let list = if names.is_empty() { Value::Null } else { json!(names) };
    json!({"total": names.len(), "offset": 0, "limit": 1024, "streams": list})
}

fn create(store: &mut Store, now: u64, name: &str, body: &[u8], refuse: Option<&ApiError>) -> Result<Value, ApiError> {
    if let Some(error) = refuse {
        return Err(error.clone());
    }
    let config: Value = serde_json::from_slice(body).map_err(|_| ApiError::new(400, 10025, "invalid JSON"))?;
    if config["name"].as_str() != Some(name) {
        return Err(ApiError::new(400, 10056, "stream name in subject does not match request"));
    }
    let limit = |key: &str| config[key].as_u64().filter(|&n| n > 0);
    let subjects = config["subjects"].as_array().map(|list| list.iter().filter_map(|s| s.as_str().map(Into::into)).collect());
    let spec = StreamSpec {
        name: name.into(),
        subjects: subjects.unwrap_or_else(|| vec![name.into()]),
        duplicate_window: limit("duplicate_window").unwrap_or(120_000_000_000),
        max_msgs: limit("max_msgs"),
        max_msg_size: limit("max_msg_size").map(|n| n as usize),
        replicas: limit("num_replicas").unwrap_or(1) as usize,
        sealed: false,
    };
    store.create(now, spec)?;
    if let Some(stream) = store.streams.get_mut(name) {
        stream.own = true;
    }
    let mut reply = store.streams.get(name).map(|stream| info(stream, now)).unwrap_or_default();
    reply["did_create"] = json!(true);
    Ok(reply)
}

/// All that a client's types ask of a stream's info.
fn info(stream: &Stream, now: u64) -> Value {
    let spec = &stream.spec;
    let unlimited = |n: Option<u64>| n.map_or(-1, |n| n as i64);
    json!({
        "config": {
            "name": spec.name, "subjects": spec.subjects, "retention": "limits", "max_consumers": -1, "max_msgs": unlimited(spec.max_msgs),
            "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": unlimited(spec.max_msg_size.map(|n| n as u64)),
            "discard": if spec.max_msgs.is_some() { "new" } else { "old" }, "storage": "file", "num_replicas": spec.replicas,
            "duplicate_window": spec.duplicate_window, "compression": "none", "allow_direct": false, "mirror_direct": false, "sealed": spec.sealed,
            "deny_delete": false, "deny_purge": false, "allow_rollup_hdrs": false, "consumer_limits": {}, "allow_msg_ttl": false, "metadata": {},
        },
        "created": timestamp(stream.created),
        "state": {
            "messages": stream.messages, "bytes": stream.bytes, "first_seq": u64::from(stream.messages > 0), "first_ts": timestamp(stream.created),
            "last_seq": stream.last_seq, "last_ts": timestamp(now), "consumer_count": 0,
        },
        "cluster": {"name": "model", "leader": "model"},
        "ts": timestamp(now),
    })
}

fn account() -> Value {
    let limits = json!({
        "max_memory": -1, "max_storage": -1, "max_streams": -1, "max_consumers": -1, "max_ack_pending": -1,
        "memory_max_stream_bytes": -1, "storage_max_stream_bytes": -1, "max_bytes_required": false,
    });
    json!({
        "memory": 0, "storage": 0, "reserved_memory": 0, "reserved_storage": 0, "streams": 0, "consumers": 0, "limits": limits,
        "api": {"level": 4, "total": 0, "errors": 0},
    })
}

/// Virtual time as the server writes it; the simulation begins with the year 2026 and ends within its first weeks.
fn timestamp(nanos: u64) -> String {
    let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (day, in_day) = (1 + seconds / 86_400, seconds % 86_400);
    format!("2026-01-{day:02}T{:02}:{:02}:{:02}.{fraction:09}Z", in_day / 3600, in_day / 60 % 60, in_day % 60)
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::{account::Account, response::Response, stream::Info};

    use super::{ApiError, Script, Store, StreamSpec, request, respond};

    fn store() -> Store {
        let mut store = Store::default();
        store.create(5, StreamSpec::new("ORDERS", &["orders.>"])).unwrap();
        store
    }

    #[test]
    fn the_replies_are_what_the_clients_types_expect() {
        let info: Info = serde_json::from_value(respond(&mut store(), 9, "STREAM.INFO.ORDERS", b"", &Script::calm())).unwrap();
        assert_eq!((info.config.name.as_str(), info.config.duplicate_window.as_secs()), ("ORDERS", 120));
        let account: Account = serde_json::from_value(respond(&mut store(), 9, "INFO", b"", &Script::calm())).unwrap();
        assert_eq!(account.streams, 0);
        let missing: Response<Info> = serde_json::from_value(respond(&mut store(), 9, "STREAM.INFO.X", b"", &Script::calm())).unwrap();
        assert!(matches!(missing, Response::Err { error } if error.code() == 404));
    }

    #[test]
    fn creation_takes_the_clients_configuration() {
        let mut store = store();
        let config = async_nats::jetstream::stream::Config {
            name: "A".into(),
            subjects: vec!["a.*".into()],
            duplicate_window: std::time::Duration::from_secs(7),
            max_messages: 3,
            num_replicas: 1,
            ..Default::default()
        };
        let body = serde_json::to_vec(&config).unwrap();
        let refusing = Script { refuse_create: Some(ApiError::new(500, 10074, "replicas > 1 not supported in non-clustered mode")), ..Script::calm() };
        assert_eq!(respond(&mut store, 9, "STREAM.CREATE.A", &body, &refusing)["error"]["err_code"], 10074);
        let info: Info = serde_json::from_value(respond(&mut store, 9, "STREAM.CREATE.A", &body, &Script::calm())).unwrap();
        assert_eq!((info.config.name.as_str(), info.config.max_messages), ("A", 3));
        assert_eq!(store.streams["A"].spec.duplicate_window, 7_000_000_000);
        assert_eq!(respond(&mut store, 9, "STREAM.CREATE.B", &body, &Script::calm())["error"]["err_code"], 10056);
    }

    #[test]
    fn names_by_subject() {
        let mut store = store();
        assert_eq!(respond(&mut store, 9, "STREAM.NAMES", br#"{"subject":"orders.new"}"#, &Script::calm())["streams"], serde_json::json!(["ORDERS"]));
        assert!(respond(&mut store, 9, "STREAM.NAMES", br#"{"subject":"x"}"#, &Script::calm())["streams"].is_null());
    }

    #[test]
    fn requests_with_and_without_a_domain() {
        assert_eq!((request("$JS.API.INFO"), request("$JS.hub.API.STREAM.NAMES"), request("a.b")), (Some("INFO"), Some("STREAM.NAMES"), None));
    }
}
