//! What callers give: messages, topics, options.

use std::collections::BTreeMap;
use std::time::Duration;

use super::input::Input;
use super::presentable::is_presentable;
use crate::base::error::Status;
use crate::config::Config;
use crate::config::servers::Servers;
use crate::config::settings::MsgIdMode;
use crate::config::topic::{Rules, TOPIC_KEYS};
use crate::ledger::slot::Slot;
use crate::message::{Message, check_topic};
use crate::wire::nats::auth::Authenticator;
use crate::wire::nats::frame::{Encoder, TOKEN_LEN, read_token};
use crate::wire::{Token, msg_id};

/// The checks of a message and its encoding: whatever passes the checks is one frame to the letter, and shows the message as it was given.
pub fn message(data: &[u8]) {
    let mut input = Input::new(data);
    let given = input.byte();
    let (mode, ephemeral) = (input.pick(&[MsgIdMode::Auto, MsgIdMode::Caller, MsgIdMode::None]), input.flag());
    let (seq, millis) = (input.number(), input.number());
    let texts: Vec<_> = (0..4).map(|_| input.text()).collect();
    let owned: Vec<_> = (0..input.byte() % 8).map(|_| (input.text(), input.text())).collect();
    let headers: Vec<(&str, &str)> = owned.iter().map(|(name, value)| (&**name, &**value)).collect();
    let has = |bit: u8| given & (1 << bit) != 0;
    let message = Message {
        headers: &headers,
        msg_id: has(0).then_some(&*texts[1]),
        expected_stream: has(1).then_some(&*texts[2]),
        expected_last_msg_id: has(2).then_some(&*texts[3]),
        expected_last_seq: has(3).then_some(seq),
        expected_last_subject_seq: has(4).then_some(seq.rotate_left(32)),
        traceparent: has(7).then_some(&*texts[2]),
        tracestate: has(7).then_some(&*texts[3]),
        ttl: has(5).then(|| Duration::from_millis(millis)),
        delivery_timeout: has(6).then(|| Duration::from_millis(millis >> 16)),
        ..Message::new(&texts[0], input.rest())
    };
    let encoder = Encoder::new("_INBOX", mode, &[7; 32]);
    let plan = match message.check().and_then(|()| encoder.plan(&message, ephemeral)) {
        Ok(plan) => plan,
        Err(error) => return is_presentable(error.message()),
    };
    let mut slot = Slot::new(5);
    encoder.fill(&mut slot, &message, plan);
    (slot.id, slot.ephemeral) = (seq, ephemeral);
    msg_id::stamp(&mut slot);
    let mut frame = written(&encoder, &mut slot, 1);
    assert_eq!(frame.len() as u32, plan.bytes);
    assert_eq!((slot.topic(), slot.payload()), (message.topic, message.payload));
    let automatic = mode == MsgIdMode::Auto && message.msg_id.is_none() && !ephemeral;
    read_back(&frame, &message, &slot, automatic);
    if !ephemeral {
        let again = written(&encoder, &mut slot, 9);
        let at = frame.iter().zip(&again).position(|(a, b)| a != b).expect("another attempt") - (TOKEN_LEN - 2);
        assert_eq!(read_token(&again[at..at + TOKEN_LEN]), Some(Token { slot: 5, id: seq & ((1 << 48) - 1), attempt: 9 }));
        frame[at..at + TOKEN_LEN].copy_from_slice(&again[at..at + TOKEN_LEN]);
        assert_eq!(frame, again, "nothing else differs");
    }
}

fn written(encoder: &Encoder, slot: &mut Slot, attempt: u32) -> Vec<u8> {
    slot.attempt = attempt;
    let mut frame = Vec::new();
    encoder.write_head(&mut frame, slot);
    frame.extend_from_slice(slot.payload());
    frame.extend_from_slice(b"\r\n");
    frame
}

/// Reads the frame as a server does.
fn read_back(frame: &[u8], message: &Message<'_>, slot: &Slot, automatic: bool) {
    let line_end = frame.windows(2).position(|pair| pair == b"\r\n").expect("a control line");
    let line = std::str::from_utf8(&frame[..line_end]).expect("UTF-8");
    let words: Vec<&str> = line.split([' ', '\t']).collect();
    assert_eq!(words[1], message.topic, "the topic is one word");
    let numbers = if words[0] == "HPUB" { 2 } else { 1 };
    let with_reply = !slot.ephemeral;
    assert_eq!(words.len(), 2 + usize::from(with_reply) + numbers, "{line}");
    if with_reply {
        assert!(read_token(words[2].as_bytes().split_at(words[2].len() - TOKEN_LEN).1).is_some());
    }
    let lengths: Vec<usize> = words[words.len() - numbers..].iter().map(|word| word.parse().expect("a length")).collect();
    let (body, end) = frame[line_end + 2..].split_at(lengths[numbers - 1]);
    assert_eq!((end, body.len() as u32), (&b"\r\n"[..], slot.content.body()));
    let (block, payload) = body.split_at(if numbers == 2 { lengths[0] } else { 0 });
    assert_eq!(payload, message.payload);
    let lines: Vec<&str> = std::str::from_utf8(block).expect("UTF-8").split("\r\n").collect();
    let mut expected: Vec<String> = Vec::new();
    let mut header = |name: &str, value: Option<String>| expected.extend(value.map(|value| format!("{name}: {value}")));
    if automatic {
        let id = lines[1].strip_prefix("Nats-Msg-Id: ").expect("an id");
        assert!(id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')), "{id}");
        header("Nats-Msg-Id", Some(id.to_owned()));
    }
    header("Nats-Msg-Id", message.msg_id.map(str::to_owned));
    message.headers.iter().for_each(|(name, value)| header(name, Some((*value).to_owned())));
    header("Nats-Expected-Stream", message.expected_stream.map(str::to_owned));
    header("Nats-Expected-Last-Msg-Id", message.expected_last_msg_id.map(str::to_owned));
    header("Nats-Expected-Last-Sequence", message.expected_last_seq.map(|seq| seq.to_string()));
    header("Nats-Expected-Last-Subject-Sequence", message.expected_last_subject_seq.map(|seq| seq.to_string()));
    header("Nats-TTL", message.ttl.map(|ttl| ttl.as_secs().to_string()));
    header("traceparent", message.traceparent.map(str::to_owned));
    header("tracestate", message.tracestate.map(str::to_owned));
    if expected.is_empty() {
        assert_eq!(numbers, 1, "no headers, no block");
    } else {
        expected.insert(0, "NATS/1.0".to_owned());
        expected.extend([String::new(), String::new()]);
        assert_eq!(lines, expected);
    }
}

/// Topics, patterns, and which rule a topic gets, beside a slow and plain reading of the rules.
pub fn topic(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rules = Rules::new();
    let mut known = vec![">".to_owned()];
    for _ in 0..input.byte() % 16 {
        let pattern = input.text();
        let set = rules.set(&pattern, "in_flight", "1");
        assert_eq!(set.is_ok(), is_allowed(&pattern, true), "the pattern {pattern:?}");
        match set {
            Ok(()) if known.iter().all(|known| *known != pattern) => known.push(pattern.into_owned()),
            Ok(()) => {}
            Err(error) => is_presentable(error.message()),
        }
    }
    assert_eq!(rules.len(), known.len());
    while !input.is_empty() {
        let topic = input.text();
        let checked = check_topic(&topic);
        assert_eq!(checked.is_ok(), is_allowed(&topic, false), "the topic {topic:?}");
        match checked {
            Ok(()) => assert_eq!(rules.matching(&topic).pattern, *best(&known, &topic), "the rule of {topic:?} among {known:?}"),
            Err(error) => is_presentable(error.message()),
        }
    }
}

fn is_allowed(subject: &str, wildcards: bool) -> bool {
    let tokens: Vec<&str> = subject.split('.').collect();
    let last = tokens.len() - 1;
    let wild = |at: usize, token: &str| wildcards && (token == "*" || (token == ">" && at == last));
    let plain = |token: &str| !token.is_empty() && token != "*" && token != ">" && !token.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
    subject.len() <= 3_800 && !subject.starts_with('$') && tokens.iter().enumerate().all(|(at, token)| wild(at, token) || plain(token))
}

/// The most specific pattern that the topic matches: at the first token in which two differ, a literal beats `*`, and `*` beats `>`.
fn best<'a>(patterns: &'a [String], topic: &str) -> &'a String {
    let rank = |pattern: &String| -> Vec<u8> { pattern.split('.').map(|token| if token == ">" { 2 } else { u8::from(token == "*") }).collect() };
    patterns.iter().filter(|pattern| matches(pattern, topic)).min_by_key(|pattern| rank(pattern)).expect("> matches everything")
}

fn matches(pattern: &str, topic: &str) -> bool {
    match (pattern.split_once('.'), topic.split_once('.')) {
        _ if pattern == ">" => true,
        (Some((own, pattern)), Some((token, topic))) => (own == "*" || own == token) && matches(pattern, topic),
        (None, None) => pattern == "*" || pattern == topic,
        _ => false,
    }
}

/// What secrets begin with, so that they can be told apart from everything else.
const SECRET: &str = "S3CR3T";

/// Options and topic rules by key and value, server addresses, credentials: an error or a setting, and no secret in anything that is shown.
pub fn config(data: &[u8]) {
    let mut input = Input::new(data);
    let mut config = Config::new();
    let mut shown = String::new();
    let mut given = BTreeMap::new();
    while !input.is_empty() {
        let (kind, at) = (input.byte(), usize::from(input.byte()));
        let known = Config::keys()[at % Config::keys().len()];
        let key = if kind % 8 == 7 { input.text().into_owned() } else { known.to_owned() };
        let mut value = input.text().into_owned();
        match kind % 4 {
            0 if matches!(known, "token" | "password" | "credentials" | "nkey_seed") => value.insert_str(0, SECRET),
            0 if known == "servers" => value = format!("nats://user:{SECRET}{value}"),
            _ => {}
        }
        let result = if kind % 16 == 9 {
            let topic_key = TOPIC_KEYS[at % TOPIC_KEYS.len()].key;
            config.set_topic(&key, topic_key, &value).err()
        } else {
            config.set(&key, &value).err().or_else(|| given.insert(key, value).and(None))
        };
        if let Some(error) = result {
            assert!(matches!(error.status(), Status::InvalidOption | Status::InvalidTopic), "{error}");
            is_presentable(error.message());
            shown.push_str(error.message());
        }
    }
    for key in Config::keys() {
        let value = config.get(key).expect("a known key");
        // A second config with what is shown of the first stands alike, but for what is hidden.
        if given.contains_key(*key) && !value.contains("***") && !shows_credentials(given.get(*key)) {
            let again = Config::new().set(key, &value).map(|again| again.get(key).expect("a known key"));
            assert_eq!(again.as_ref().ok(), Some(&value), "{key}={value} is shown for {:?}: {again:?}", given.get(*key));
        }
        shown.push_str(&value);
    }
    shown.push_str(&format!("{config:?}"));
    match config.settings() {
        Err(error) => {
            is_presentable(error.message());
            shown.push_str(error.message());
        }
        Ok(settings) => {
            shown.push_str(&format!("{settings:?}"));
            if let Servers::Nats(servers) = &settings.servers {
                let (first, last) = (&servers[0], &servers[servers.len() - 1]);
                if let Some(told) = first.told_of(&last.to_string()) {
                    assert!(told.is_same_place(last) && told.tls == first.tls && told.password == first.password, "discovered servers inherit");
                }
                let files = ["credentials_file", "nkey_seed_file"].iter().any(|key| !config.get(key).unwrap_or_default().is_empty());
                if !files && let Err(error) = Authenticator::new(settings.auth.clone()).connect_fields(first, Some("nonce")) {
                    is_presentable(error.message());
                    shown.push_str(error.message());
                }
            }
        }
    }
    // The input itself may hold the word.
    let said: &[u8] = SECRET.as_bytes();
    assert!(!shown.contains(SECRET) || data.windows(said.len()).any(|part| part == said), "a secret is shown: {shown}");
}

fn shows_credentials(servers: Option<&String>) -> bool {
    servers.is_some_and(|text| text.contains('@'))
}
