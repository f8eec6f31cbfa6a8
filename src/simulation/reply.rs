//! The server's words: every byte string that the model sends, honest or damaged.

use super::rng::Rng;

/// An error of the JetStream API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) err_code: u16,
    pub(crate) description: String,
}

impl ApiError {
    pub(crate) fn new(code: u16, err_code: u16, description: impl Into<String>) -> Self {
        Self { code, err_code, description: description.into() }
    }

    /// As it stands in a reply.
    pub(crate) fn json(&self) -> String {
        format!(r#"{{"code":{},"err_code":{},"description":"{}"}}"#, self.code, self.err_code, self.description)
    }
}

/// A message for a subscription of the client: header block and payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) headers: String,
    pub(crate) payload: Vec<u8>,
}

impl Body {
    pub(crate) fn plain(payload: impl Into<Vec<u8>>) -> Self {
        Self { headers: String::new(), payload: payload.into() }
    }

    /// The frame that delivers it.
    pub(crate) fn frame(&self, subject: &str, sid: &str) -> Vec<u8> {
        let (headers, total) = (self.headers.len(), self.headers.len() + self.payload.len());
        let line = if headers == 0 { format!("MSG {subject} {sid} {total}\r\n") } else { format!("HMSG {subject} {sid} {headers} {total}\r\n") };
        [line.as_bytes(), self.headers.as_bytes(), &self.payload, b"\r\n"].concat()
    }
}

/// The acknowledgement of a stored message or of a duplicate. The blank before `true` is the server's.
pub(crate) fn ack(stream: &str, domain: Option<&str>, seq: u64, duplicate: bool) -> Body {
    let domain = domain.map(|domain| format!(r#","domain":"{domain}""#)).unwrap_or_default();
    Body::plain(format!(r#"{{"stream":"{stream}"{domain},"seq":{seq}{}}}"#, if duplicate { r#","duplicate": true"# } else { "" }))
}

/// A stream's refusal.
pub(crate) fn refused(stream: &str, error: &ApiError) -> Body {
    Body::plain(format!(r#"{{"error":{},"stream":"{stream}","seq":0}}"#, error.json()))
}

/// Nobody listens to the subject. Servers from 2.12 on name it.
pub(crate) fn no_responders(subject: &str, named: bool) -> Body {
    let name = if named { format!("Nats-Subject: {subject}\r\n") } else { String::new() };
    Body { headers: format!("NATS/1.0 503\r\n{name}\r\n"), payload: Vec::new() }
}

/// A line that tells of an error.
pub(crate) fn err(text: &str) -> Vec<u8> {
    format!("-ERR '{text}'\r\n").into_bytes()
}

/// What INFO says about one connection.
pub(crate) fn info(conn: u64, max_payload: usize, lame_duck: bool, domain: Option<&str>) -> Vec<u8> {
    let domain = domain.map(|domain| format!(r#","domain":"{domain}""#)).unwrap_or_default();
    let ldm = if lame_duck { r#","ldm":true"# } else { "" };
    format!(
        concat!(
            r#"INFO {{"server_id":"NMODEL","server_name":"model","version":"2.15.1","proto":1,"go":"go1.25.1","host":"127.0.0.1","port":4222,"headers":true,"#,
            r#""max_payload":{},"jetstream":true,"client_id":{},"client_ip":"127.0.0.1","cluster":"model","connect_urls":["127.0.0.1:4222"]{}{}}} "#,
            "\r\n"
        ),
        max_payload, conn, domain, ldm
    )
    .into_bytes()
}

/// Refusals that a script deals out. What each proves is the question of P2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 503, from the server itself.
    NoResponders,
    /// 429 with 10167: the queue in front of the stream is full.
    TooMany,
    /// 10008.
    Unavailable,
    /// 10158: a message with this id is on its way to the replicas.
    InProcess,
    /// `"seq":0,"duplicate": true`: the id is known, its message is not stored yet.
    StagedDuplicate,
    /// 10023: this node refuses, the others may keep the message.
    Insufficient,
    /// 10077 with a text that tells of no limit.
    OddStoreFailure,
    /// 10077 with one of the texts that do.
    LimitReached,
    /// 10063: cluster trouble.
    SequenceMismatch,
    /// 10002: the account's quota.
    Quota,
    /// 10109: nothing goes into a sealed stream.
    Sealed,
    /// Codes that nobody knows yet.
    Unknown5xx,
    Unknown4xx,
}

impl Refusal {
    /// Whether the message may be stored all the same; a coin then decides.
    pub(crate) fn may_have_stored(self) -> bool {
        use Refusal::{InProcess, Insufficient, OddStoreFailure, SequenceMismatch, Unknown4xx, Unknown5xx};
        matches!(self, InProcess | Insufficient | OddStoreFailure | SequenceMismatch | Unknown5xx | Unknown4xx)
    }

    /// Whether the reply proves that the attempt was not stored.
    pub(crate) fn is_definite(self) -> bool {
        !self.may_have_stored() && self != Refusal::StagedDuplicate
    }

    /// The reply.
    pub(crate) fn body(self, subject: &str, stream: &str, named: bool) -> Body {
        let error = match self {
            Refusal::NoResponders => return no_responders(subject, named),
            Refusal::StagedDuplicate => return ack(stream, None, 0, true),
            Refusal::TooMany => {
                let body = refused(stream, &ApiError::new(429, 10167, "too many requests"));
                return Body { headers: "NATS/1.0 429 Too Many Requests\r\n\r\n".into(), ..body };
            }
            Refusal::Unavailable => ApiError::new(503, 10008, "JetStream system temporarily unavailable"),
            Refusal::InProcess => ApiError::new(409, 10158, "duplicate message id is in process"),
            Refusal::Insufficient => ApiError::new(503, 10023, "insufficient resources"),
            Refusal::OddStoreFailure => ApiError::new(503, 10077, "write /data/msgs/1.blk: no space left on device"),
            Refusal::LimitReached => ApiError::new(503, 10077, "maximum bytes exceeded"),
            Refusal::SequenceMismatch => ApiError::new(503, 10063, "expected stream sequence does not match"),
            Refusal::Quota => ApiError::new(400, 10002, "resource limits exceeded for account"),
            Refusal::Sealed => ApiError::new(400, 10109, "invalid operation on sealed stream"),
            Refusal::Unknown5xx => ApiError::new(500, 19_998, "something new"),
            Refusal::Unknown4xx => ApiError::new(400, 19_999, "something else new"),
        };
        refused(stream, &error)
    }
}

/// Ways to spoil a reply so that it says nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The JSON ends early, perhaps within the sequence's digits.
    Truncated,
    /// One brace, quote or colon is another byte.
    Garbled,
    /// No byte of payload, as a batch's inner message has.
    Empty,
    /// A stream without a name.
    NoStream,
    /// A sequence that is missing, 0, negative, too big or text.
    BadSequence,
    /// A reply of another protocol.
    Foreign,
    /// The reply token is too short, too long or has another slot.
    Token,
    /// A subscription that the client does not have.
    WrongSid,
    /// The name of a stream that the rule does not name. Only for handlers that can know it.
    OtherStream,
}

impl Damage {
    pub(crate) const ALWAYS: &'static [Damage] =
        &[Damage::Truncated, Damage::Garbled, Damage::Empty, Damage::NoStream, Damage::BadSequence, Damage::Foreign, Damage::Token, Damage::WrongSid];

    /// The frame of this reply, spoiled.
    pub(crate) fn frame(self, body: &Body, subject: &str, sid: &str, rng: &mut Rng) -> Vec<u8> {
        let text = String::from_utf8_lossy(&body.payload).into_owned();
        let payload = match self {
            Damage::Token => return body.frame(&damaged_token(subject, rng), sid),
            Damage::WrongSid => return body.frame(subject, "7777"),
            Damage::Empty => String::new(),
            Damage::Truncated => text[..rng.index(text.len())].to_string(),
            Damage::Garbled => garbled(&text, rng),
            Damage::NoStream => r#"{"stream":"","seq":1}"#.into(),
            Damage::OtherStream => r#"{"stream":"ANOTHER","seq":1}"#.into(),
            Damage::BadSequence => {
                let seq = rng.pick(&["", r#","seq":0"#, r#","seq":-1"#, r#","seq":18446744073709551616"#, r#","seq":"7""#, r#","seq":1.5"#, r#","seq":null"#]);
                format!(r#"{{"stream":"S"{seq}}}"#)
            }
            Damage::Foreign => {
                let foreign = [r#"{"type":"ack","seq":10,"msgs":15}"#, "+OK", "[]", "null", "{}", "\0\u{1}\u{2}", r#"{"error":{}}"#, r#"{"error":"no"}"#];
                rng.pick(&foreign).to_string()
            }
        };
        Body { headers: body.headers.clone(), payload: payload.into_bytes() }.frame(subject, sid)
    }
}

/// Spoils one byte of the structure, never a digit: a changed digit would be a valid ack of another message.
fn garbled(text: &str, rng: &mut Rng) -> String {
    let structure: Vec<usize> = text.bytes().enumerate().filter(|(_, b)| b"{}\":,".contains(b)).map(|(at, _)| at).collect();
    let mut bytes = text.as_bytes().to_vec();
    if !structure.is_empty() {
        bytes[rng.pick(&structure)] = b'#';
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Another last token that no living attempt has: an id lives in one slot only, so a changed slot (five digits behind the id) never meets one.
fn damaged_token(subject: &str, rng: &mut Rng) -> String {
    let (prefix, token) = subject.rsplit_once('.').unwrap_or(("", subject));
    let mut token = token.as_bytes().to_vec();
    match rng.below(4) {
        0 => token.truncate(rng.between(1, (token.len() as u64).saturating_sub(1).max(1)) as usize),
        1 => token.push(rng.pick(b"0Az_")),
        2 => {
            let at = rng.index(token.len());
            token[at] = rng.pick(b"!#=");
        }
        _ => {
            let at = 8 + rng.index(5);
            token[at] = if token[at] == b'A' { b'B' } else { b'A' };
        }
    }
    format!("{prefix}.{}", String::from_utf8_lossy(&token))
}

#[cfg(test)]
mod tests {
    use super::{Body, Damage, Refusal, Rng, ack, no_responders};

    #[test]
    fn acks_and_refusals_are_the_servers_bytes() {
        assert_eq!(ack("S", None, 22, false).payload, br#"{"stream":"S","seq":22}"#);
        assert_eq!(ack("S", Some("hub"), 22, true).payload, br#"{"stream":"S","domain":"hub","seq":22,"duplicate": true}"#);
        assert_eq!(no_responders("a", false).frame("_INBOX.t", "1"), b"HMSG _INBOX.t 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
        assert_eq!(no_responders("a", true).frame("_INBOX.t", "1"), b"HMSG _INBOX.t 1 33 33\r\nNATS/1.0 503\r\nNats-Subject: a\r\n\r\n\r\n");
        let full = Refusal::LimitReached.body("a", "S", true);
        assert_eq!(full.payload, br#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"S","seq":0}"#);
        assert!(Refusal::TooMany.body("a", "S", true).frame("r", "1").starts_with(b"HMSG r 1 34 "));
    }

    #[test]
    fn a_damaged_ack_is_never_a_valid_one() {
        let (mut rng, honest) = (Rng::new(1), ack("S", None, 1234, false));
        for &damage in Damage::ALWAYS {
            for _ in 0..200 {
                let frame = damage.frame(&honest, "_INBOX.x.AAAAAAAAAAAAAAA", "1", &mut rng);
                assert_ne!(frame, honest.frame("_INBOX.x.AAAAAAAAAAAAAAA", "1"), "{damage:?} changed nothing");
                if matches!(damage, Damage::Token | Damage::WrongSid) {
                    continue;
                }
                let payload = frame.split(|&b| b == b'\n').nth(1).unwrap();
                let json: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
                let valid = json["stream"].as_str().is_some_and(|s| !s.is_empty()) && json["seq"].as_u64().is_some_and(|seq| seq > 0);
                assert!(!valid, "{damage:?} left a valid ack: {}", String::from_utf8_lossy(&frame));
            }
        }
    }

    #[test]
    fn frames_count_headers_and_payload() {
        assert_eq!(Body::plain("hi").frame("r", "7"), b"MSG r 7 2\r\nhi\r\n");
    }
}
