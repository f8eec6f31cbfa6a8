//! The few JetStream API requests that a client makes before it publishes to a stream.

use crate::STREAM;

const PREFIX: &str = "$JS.API.STREAM.";

/// The answers have a real server's fields, because clients read them into types of their own that miss none.
const NAMES: &str = r#"{"type":"io.nats.jetstream.api.v1.stream_names_response","total":1,"offset":0,"limit":1024,"streams":["BENCH"]}"#;

const NOT_FOUND: &str = concat!(
    r#"{"type":"io.nats.jetstream.api.v1.stream_info_response","#,
    r#""error":{"code":404,"err_code":10059,"description":"stream not found"},"total":0,"offset":0,"limit":0}"#
);

const CONFIG: &str = concat!(
    r#"{"name":"BENCH","subjects":["bench.>"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"#,
    r#""max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"memory","num_replicas":1,"duplicate_window":120000000000,"#,
    r#""compression":"none","allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"#,
    r#""allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false}"#
);

/// The answer to a request to `subject`, or nothing where a server would have no responders. `sequence` is the stream's last one.
#[must_use]
pub fn answer(subject: &[u8], sequence: u64) -> Option<String> {
    let request = std::str::from_utf8(subject).ok()?.strip_prefix(PREFIX)?;
    match request.split_once('.') {
        None if request == "NAMES" => Some(NAMES.to_owned()),
        Some(("INFO", STREAM)) => Some(info(sequence)),
        Some(("INFO", _)) => Some(NOT_FOUND.to_owned()),
        _ => None,
    }
}

fn info(sequence: u64) -> String {
    let head = r#""type":"io.nats.jetstream.api.v1.stream_info_response","total":0,"offset":0,"limit":0"#;
    let time = "2026-01-01T00:00:00Z";
    let first = format!(r#""first_seq":1,"first_ts":"{time}""#);
    let last = format!(r#""last_seq":{sequence},"last_ts":"{time}""#);
    let state = format!(r#"{{"messages":{sequence},"bytes":0,{first},{last},"num_subjects":1,"consumer_count":0}}"#);
    format!(r#"{{{head},"config":{CONFIG},"created":"{time}","state":{state},"ts":"{time}"}}"#)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use async_nats::jetstream::stream::Info;

    use super::{NAMES, NOT_FOUND, answer, info};
    use crate::{STREAM, SUBJECTS};

    #[test]
    fn a_client_can_read_the_stream() {
        let info: Info = serde_json::from_str(&info(7)).unwrap();
        assert_eq!((info.config.name.as_str(), info.config.subjects, info.state.messages), (STREAM, vec![SUBJECTS.to_owned()], 7));
        let names: serde_json::Value = serde_json::from_str(NAMES).unwrap();
        assert_eq!(names["streams"], serde_json::json!([STREAM]));
    }

    #[test]
    fn only_the_one_stream_is_there() {
        assert_eq!(answer(b"$JS.API.STREAM.INFO.OTHER", 0).unwrap(), NOT_FOUND);
        assert_eq!(answer(b"$JS.API.STREAM.CREATE.OTHER", 0), None);
        assert_eq!(answer(b"$SYS.REQ.SERVER.PING", 0), None);
    }
}
