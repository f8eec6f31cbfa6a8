//! Entries: how messages stand in their slots for the streams in memory, which read them there.
//!
//! Expectations stand among the headers, under names that no caller's header can have.

use crate::base::error::Result;
use crate::config::settings::MsgIdMode;
use crate::ledger::content::{Parts, header_len};
use crate::ledger::slot::Slot;
use crate::message::{Message, trace_context};
use crate::wire::msg_id::{MsgIds, PREFIX};
use crate::wire::plan::{self, Plan};

const STREAM: &str = ":stream";
const LAST_ID: &str = ":last-id";
const LAST_SEQ: &str = ":last-seq";
const LAST_TOPIC_SEQ: &str = ":last-topic-seq";

/// What the message asks for, as headers.
fn own_headers(message: &Message<'_>, mut header: impl FnMut(&str, &str)) {
    let mut number = itoa::Buffer::new();
    if let Some(stream) = message.expected_stream {
        header(STREAM, stream);
    }
    if let Some(id) = message.expected_last_msg_id {
        header(LAST_ID, id);
    }
    if let Some(seq) = message.expected_last_seq {
        header(LAST_SEQ, number.format(seq));
    }
    if let Some(seq) = message.expected_last_subject_seq {
        header(LAST_TOPIC_SEQ, number.format(seq));
    }
    trace_context::headers(message.traceparent, message.tracestate, header);
}

/// The framing of the backend in memory. It counts what is kept: there is no protocol around it.
#[derive(Debug)]
pub(crate) struct Entries {
    ids: MsgIds,
}

impl Entries {
    pub(crate) fn new(mode: MsgIdMode, random: &[u8; 32]) -> Self {
        Entries { ids: MsgIds::new(mode, random.split_at(random.len() - PREFIX).1) }
    }

    pub(crate) fn plan(&self, message: &Message<'_>, ephemeral: bool) -> Result<Plan> {
        let auto_id = self.ids.is_automatic(message, ephemeral)?;
        let mut headers = 0;
        for (name, value) in message.headers {
            headers += header_len(name, value);
        }
        own_headers(message, |name, value| headers += header_len(name, value));
        let body = headers + self.ids.of(message, auto_id).len() + message.payload.len();
        plan::check_body(body)?;
        Ok(Plan { headers: headers as u32, body: body as u32, bytes: (message.topic.len() + body) as u32, auto_id })
    }

    pub(crate) fn fill(&self, slot: &mut Slot, message: &Message<'_>, plan: Plan) {
        let msg_id = self.ids.of(message, plan.auto_id);
        let (topic, payload) = (message.topic.as_bytes(), message.payload);
        slot.content.fill(&Parts { topic, headers: plan.headers as usize, payload, msg_id, key: b"", extra: msg_id.len() }, |headers| {
            for (name, value) in message.headers {
                headers.add(name, value);
            }
            own_headers(message, |name, value| headers.add(name, value));
        });
        (slot.auto_id, slot.needs) = (plan.auto_id, 0);
    }
}

/// What a message expects of its stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expected<'a> {
    pub(super) stream: Option<&'a str>,
    pub(super) last_id: Option<&'a str>,
    pub(super) last_seq: Option<u64>,
    pub(super) last_topic_seq: Option<u64>,
}

impl<'a> Expected<'a> {
    pub(super) fn of(slot: &'a Slot) -> Self {
        let mut expected = Expected::default();
        for (name, value) in slot.content.headers() {
            let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else { continue };
            match name {
                STREAM => expected.stream = Some(value),
                LAST_ID => expected.last_id = Some(value),
                LAST_SEQ => expected.last_seq = value.parse().ok(),
                LAST_TOPIC_SEQ => expected.last_topic_seq = value.parse().ok(),
                _ => {}
            }
        }
        expected
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn filled(message: &Message<'_>) -> (Slot, Plan) {
        let entries = Entries::new(MsgIdMode::Auto, &[7; 32]);
        let plan = entries.plan(message, false).unwrap();
        let mut slot = Slot::new(1);
        entries.fill(&mut slot, message, plan);
        (slot, plan)
    }

    #[test]
    fn what_is_expected_is_read_back() {
        let message = Message {
            headers: &[("stream", "no"), ("A", "1")],
            msg_id: Some("mine"),
            expected_stream: Some("S"),
            expected_last_msg_id: Some("L"),
            expected_last_seq: Some(0),
            expected_last_subject_seq: Some(u64::MAX),
            ..Message::new("t", b"p")
        };
        let (slot, plan) = filled(&message);
        let expected = Expected { stream: Some("S"), last_id: Some("L"), last_seq: Some(0), last_topic_seq: Some(u64::MAX) };
        assert_eq!(Expected::of(&slot), expected);
        assert_eq!((slot.content.msg_id(), slot.payload(), slot.content.body()), ("mine", &b"p"[..], plan.body));
        let (slot, _) = filled(&Message { headers: &[("A", "1")], ..Message::new("t", b"p") });
        assert_eq!(Expected::of(&slot), Expected::default());
    }

    #[test]
    fn the_names_are_nobodys_headers() {
        for name in [STREAM, LAST_ID, LAST_SEQ, LAST_TOPIC_SEQ] {
            assert!(Message { headers: &[(name, "S")], ..Message::new("t", b"") }.check().is_err(), "{name}");
        }
    }
}
