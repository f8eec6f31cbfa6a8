#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};

use super::*;

/// What a verdict says, as values that outlive it.
#[derive(Debug, PartialEq)]
enum Said {
    Stored(String, String, u64, bool),
    Refused { code: u32, definite: bool, stream: Option<String>, text: String },
    Alien,
}

fn said(verdict: Verdict<'_>) -> Said {
    match verdict {
        Verdict::Stored { stream, domain, seq, duplicate } => Said::Stored(stream.to_owned(), domain.to_owned(), seq, duplicate),
        Verdict::Refused(Refusal { server_code: code, definite, stream, text, .. }) => Said::Refused { code, definite, stream: stream.map(String::from), text },
        Verdict::Alien => Said::Alien,
    }
}

fn read(body: &[u8]) -> Said {
    said(Acks::default().parse(body))
}

fn stored(stream: &str, domain: &str, seq: u64, duplicate: bool) -> Said {
    Said::Stored(stream.to_owned(), domain.to_owned(), seq, duplicate)
}

fn refused(acks: &mut Acks, body: &str) -> Refusal {
    match acks.parse(body.as_bytes()) {
        Verdict::Refused(refusal) => refusal,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn acks_as_servers_print_them() {
    for (body, expected) in [
        (r#"{"stream":"S","seq":22}"#, stored("S", "", 22, false)),
        (r#"{"stream":"S","seq":22,"duplicate": true}"#, stored("S", "", 22, true)),
        (r#"{"stream":"S","domain":"hub","seq":22}"#, stored("S", "hub", 22, false)),
        (r#"{"stream":"S","domain":"hub","seq":22,"duplicate": true}"#, stored("S", "hub", 22, true)),
        // Before 2.12.
        (r#"{"stream":"S", "seq":22}"#, stored("S", "", 22, false)),
        (r#"{"stream":"S", "domain":"hub", "seq":22,"duplicate": true}"#, stored("S", "hub", 22, true)),
        // A counter, and the end of a batch.
        (r#"{"stream":"S","seq":7,"val":"1"}"#, stored("S", "", 7, false)),
        (r#"{"stream":"S","seq":7,"batch":"B","count":3}"#, stored("S", "", 7, false)),
        (r#"{"stream":"S","seq":18446744073709551615}"#, stored("S", "", u64::MAX, false)),
    ] {
        let mut acks = Acks::default();
        assert_eq!(said(acks.parse(body.as_bytes())), expected, "{body}");
        assert_eq!(said(acks.parse(body.as_bytes())), expected, "again: {body}");
        assert_eq!(said(acks.parse_json(body.as_bytes())), expected, "in full: {body}");
    }
}

#[test]
fn any_legal_json_is_read() {
    let deep = format!(r#"{{"stream":"S","deep":{}{},"seq":22}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for body in [
        r#"{ "seq": 22, "stream": "S", "val": "1" }"#,
        "\r\n\t{\n\"seq\" :\t22 ,\r\n\"stream\":\n\"S\"}\n",
        r#"{"\u0073tream":"\u0053","\u0073eq":22}"#,
        r#"{"stream":"S","seq":22,"duplicate":false}"#,
        r#"{"error":null,"stream":"S","seq":22}"#,
        r#"{"type":"io.nats","x":{"seq":1,"stream":"T","error":{"code":1}},"y":[{"error":1}],"stream":"S","seq":22,"z":null}"#,
        r#"{"stream":"T","stream":"S","seq":1,"seq":22}"#,
        r#"{"stream":"S","\ud800":"\udfff","n":-1.5e+999,"seq":22}"#,
        // What is not needed may have another type than it has today.
        r#"{"stream":"S","domain":7,"seq":22}"#,
        r#"{"stream":"S","domain":null,"seq":22}"#,
        r#"{"stream":"S","domain":["hub"],"seq":22}"#,
        r#"{"stream":"S","domain":"\ud800","seq":22}"#,
        r#"{"stream":"S","domain":"a\u0000b","seq":22}"#,
        r#"{"stream":"S","domain":1e999,"seq":22}"#,
        r#"{"stream":"S","duplicate":"yes","seq":22}"#,
        r#"{"stream":"S","duplicate":null,"seq":22}"#,
        r#"{"stream":"S","val":1,"batch":2,"count":"x","seq":22}"#,
        &deep,
        &format!(r#"{{"stream":"S","domain":"{}","seq":22}}"#, "d".repeat(256)),
    ] {
        assert_eq!(read(body.as_bytes()), stored("S", "", 22, false), "{}", body.get(..100).unwrap_or(body));
    }
}

#[test]
fn streams_have_the_names_that_servers_allow() {
    // What Go's %q makes of each: it escapes what it does not print, and not as JSON would.
    for (name, quoted) in [
        ("a\"b", r#"a\"b"#),
        ("ORDERS\u{a0}EU", r"ORDERS\u00a0EU"),
        ("ORDERS🚀", "ORDERS🚀"),
        ("日本語-ü", "日本語-ü"),
        ("'`{}[],:;#$%&()=+~@!?|^<", "'`{}[],:;#$%&()=+~@!?|^<"),
        ("👩\u{200d}🚀", r"👩\u200d🚀"),
        ("\u{1fae9}", r"\U0001fae9"),
        ("x\u{e0001}\"\u{feff}", r#"x\U000e0001\"\ufeff"#),
        ("\u{fffd}", "\u{fffd}"),
    ] {
        for (domain, in_domain) in [("", String::new()), (name, format!(r#""domain":"{quoted}","#))] {
            let body = format!(r#"{{"stream":"{quoted}",{in_domain}"seq":22,"duplicate": true}}"#);
            let mut acks = Acks::default();
            assert_eq!(said(acks.parse(body.as_bytes())), stored(name, domain, 22, true), "{body}");
            // It is known from its first ack on, like any other.
            assert!(body.as_bytes().starts_with(&acks.opening) && acks.opening.ends_with(b"\"seq\":"), "{body}");
            let mut others = Acks::default();
            let _ = others.parse(br#"{"stream":"OTHER","seq":22}"#);
            assert_eq!(said(others.parse(body.as_bytes())), stored(name, domain, 22, true), "{body}");
        }
        // Refusals are JSON of a library: names are escaped in its way, or not at all.
        let plain =
            json!({"error": {"code": 400, "err_code": 10054, "description": "message size exceeds maximum allowed"}, "stream": name, "seq": 0}).to_string();
        let ascii: String = plain.encode_utf16().map(|u| if u < 0x80 { String::from(char::from(u as u8)) } else { format!("\\u{u:04x}") }).collect();
        for body in [plain.replace('<', "\\u003c"), plain, ascii] {
            let refusal = refused(&mut Acks::default(), &body);
            assert_eq!((refusal.stream.as_deref(), refusal.definite), (Some(name), true), "{body}");
        }
    }
}

#[test]
fn the_first_stream_is_known_and_others_are_read_all_the_same() {
    for (opening, domain) in [(r#"{"stream":"ONE","seq":"#, ""), (r#"{"stream":"ONE", "domain":"hub", "seq":"#, "hub")] {
        let mut acks = Acks::default();
        for (end, expected) in [
            ("22}", Some((22, false))),
            ("9223372036854775807,\"duplicate\": true}", Some((u64::MAX / 2, true))),
            ("18446744073709551615}", Some((u64::MAX, false))),
            ("18446744073709551616}", None),
            ("0}", None),
            ("}", None),
            ("22", None),
            ("023}", None),
            ("23 }", Some((23, false))),
            ("23,\"duplicate\":true}", Some((23, true))),
            ("23,\"val\":\"5\"}", Some((23, false))),
        ] {
            let body = format!("{opening}{end}");
            let expected = expected.map_or(Said::Alien, |(seq, duplicate)| stored("ONE", domain, seq, duplicate));
            assert_eq!(said(acks.parse(body.as_bytes())), expected, "{body}");
        }
        assert_eq!(&*acks.opening, opening.as_bytes());
        for (body, expected) in [
            (r#"{"seq":1,"stream":"S"}"#, stored("S", "", 1, false)),
            (r#"{"stream":"TWO","seq":22}"#, stored("TWO", "", 22, false)),
            (r#"{"stream":"ON","seq":22}"#, stored("ON", "", 22, false)),
            (r#"{"stream":"ONE","domain":"leaf","seq":22}"#, stored("ONE", "leaf", 22, false)),
            (r#"{"stream":"ONE","seq":23,"domain":"leaf"}"#, stored("ONE", "leaf", 23, false)),
            ("", Said::Alien),
        ] {
            assert_eq!(said(acks.parse(body.as_bytes())), expected, "{body}");
        }
        assert_eq!((&*acks.stream, &*acks.domain), ("ONE", domain));
    }
    let mut acks = Acks::default();
    assert_eq!(said(acks.parse(br#"{"seq":1,"stream":"S"}"#)), stored("S", "", 1, false));
    assert!(acks.opening.is_empty(), "this is not how servers print acks, so the next one is looked at anew");
}

#[test]
fn what_is_no_ack() {
    for body in [
        "",
        "{",
        "ok",
        "null",
        "[]",
        "22",
        // What ends as an ack does, and is none.
        "22}",
        r#"22,"duplicate": true}"#,
        r#""S""#,
        r#"{"stream":"","seq":1}"#,
        r#"{"stream":"S","seq":0}"#,
        r#"{"stream":"S","seq":0,"duplicate": false}"#,
        r#"{"stream":"S"}"#,
        r#"{"seq":1}"#,
        r#"{"stream":7,"seq":1}"#,
        r#"{"stream":null,"seq":1}"#,
        r#"{"stream":"S","seq":-1}"#,
        r#"{"stream":"S","seq":-1,"duplicate": true}"#,
        r#"{"stream":"S","seq":"1"}"#,
        r#"{"stream":"S","seq":1.5}"#,
        r#"{"stream":"S","seq":18446744073709551616}"#,
        r#"{"stream":"S","seq":1}}"#,
        r#"{"stream":"S","seq":1}{"#,
        r#"{"stream":"S","seq":0022}"#,
        r#"{"stream":"S","seq":1,"error":"full"}"#,
        r#"{"stream":"S","seq":1,"error":1}"#,
        // No JSON.
        "{\"stream\":\"S\u{1b}[31m\",\"seq\":1}",
        "{\"stream\":\"S\",\"k\u{0}\":1,\"seq\":1}",
        "{\"stream\":\"S\",\"k\t\":1,\"seq\":1}",
        r#"{"stream":"S","domain":"\x4g","seq":1}"#,
        r#"{"stream":"S\q","seq":1}"#,
        r#"{"stream":"S","domain":"d"seq":1}"#,
        // Names that no stream can have: whoever sends them would have them kept, and shown.
        r#"{"stream":"S\u001b[31m","seq":1}"#,
        r#"{"stream":"S\x1b[31m","seq":1}"#,
        r#"{"stream":"S\u0000","seq":1}"#,
        r#"{"stream":"S\ud800","seq":1}"#,
        r#"{"stream":"S.T","seq":1}"#,
        r#"{"stream":"S\u002eT","seq":1}"#,
        r#"{"stream":"S T","seq":1}"#,
        r#"{"stream":"S\\T","seq":1}"#,
        r#"{"stream":"S/T","seq":1}"#,
        r#"{"stream":"S*","seq":1}"#,
        r#"{"stream":">","seq":1}"#,
        &format!(r#"{{"stream":"{}","seq":1}}"#, "S".repeat(256)),
    ] {
        assert_eq!(read(body.as_bytes()), Said::Alien, "{body}");
    }
    for body in [&br#"{"stream":"S","seq":22}"#[..], br#"{"stream":"\U0001fae9","domain":"hub","seq":22,"duplicate": true}"#, br#" {"seq":1,"stream":"S\""}"#] {
        for cut in 0..body.len() {
            assert_eq!(read(&body[..cut]), Said::Alien, "{cut}");
        }
    }
    for body in
        [&b"{\"stream\":\"S\xff\",\"seq\":22}"[..], b"{\"stream\":\"S\",\"domain\":\"\xff\",\"seq\":22}", b"{\"stream\":\"S\",\"x\":\"\xff\",\"seq\":22}"]
    {
        assert_eq!(read(body), Said::Alien);
    }
}

#[test]
fn refusals() {
    let mut acks = Acks::default();
    let refusal = refused(&mut acks, r#"{"stream":"S","seq":0,"duplicate": true}"#);
    assert!(!refusal.definite && refusal.retry == Retry::Backoff && refusal.stream.as_deref() == Some("S"));
    let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"S","seq":0}"#;
    let refusal = refused(&mut acks, full);
    assert_eq!((refusal.status, refusal.definite, refusal.server_code, refusal.stream.as_deref()), (Status::StreamFull, true, 10077, Some("S")));
    // The order does not matter, nor what is not needed.
    let refusal = refused(&mut acks, r#"{"seq":"x","stream":"S","error":{"x":[],"description":"maximum messages exceeded","err_code":10077,"code":"?"}}"#);
    assert_eq!((refusal.status, refusal.definite, refusal.server_code, refusal.stream.as_deref()), (Status::StreamFull, true, 10077, Some("S")));
    for other in [r#""stream":"S","#, r#""stream":7,"#, r#""stream":"S.T","#, r#""stream":"","#, ""] {
        let body = format!(r#"{{{other}"error":{{"code":400,"err_code":10054,"description":7}}}}"#);
        let refusal = refused(&mut acks, &body);
        let stream = other.contains("\"S\"").then_some("S");
        assert_eq!((refusal.server_code, refusal.stream.as_deref(), refusal.definite), (10054, stream, stream.is_some()), "{body}");
        assert_eq!(refusal.text, "the stream refused the message (code 400, error 10054)");
    }
    // What is no number, or too large, is no code.
    for code in ["\"10054\"", "null", "10054.5", "-1", "4294967296"] {
        let body = format!(r#"{{"stream":"S","error":{{"code":400,"err_code":{code},"description":"x"}}}}"#);
        let refusal = refused(&mut acks, &body);
        assert_eq!((refusal.server_code, refusal.definite), (400, false), "{body}");
    }
}

#[test]
fn replies_with_headers() {
    let mut acks = Acks::default();
    for headers in ["NATS/1.0 503\r\n\r\n", "NATS/1.0 503\r\nNats-Subject: a\r\n\r\n", "NATS/1.0 503 No Responders\r\n\r\n"] {
        let Verdict::Refused(refusal) = acks.parse_with_headers(headers.as_bytes(), b"") else { unreachable!() };
        assert_eq!((refusal.definite, refusal.retry, refusal.server_code), (true, Retry::Hold(Trouble::NobodyThere), 503));
    }
    let Verdict::Stored { seq: 5, .. } = acks.parse_with_headers(b"NATS/1.0\r\nA: b\r\n\r\n", br#"{"stream":"S","seq":5}"#) else { unreachable!() };
    let too_many = b"NATS/1.0 429 Too Many Requests\r\n\r\n";
    let body = br#"{"error":{"code":429,"err_code":10167,"description":"too many requests"},"stream":"S","seq":0}"#;
    for (body, definite, stream) in [(&body[..], true, Some("S")), (b"", false, None)] {
        let Verdict::Refused(refusal) = acks.parse_with_headers(too_many, body) else { unreachable!() };
        assert_eq!((refusal.status, refusal.server_code, refusal.definite, refusal.stream.as_deref()), (Status::Overloaded, 10167, definite, stream));
        assert_eq!((refusal.retry, &*refusal.text), (Retry::Hold(Trouble::Overloaded), "too many requests"));
    }
    for (headers, body) in [("NATS/1.0 404\r\n\r\n", ""), ("NATS/1.0\r\nNats-Service-Error: x\r\n\r\n", ""), ("", ""), ("NATS/1.0 503\r\n\r\n", "busy")] {
        assert_eq!(said(acks.parse_with_headers(headers.as_bytes(), body.as_bytes())), Said::Alien, "{headers}");
    }
}

/// A plain reading of the same JSON, by a parser that wants all of it in memory.
fn plainly(body: &str) -> Said {
    let Ok(Value::Object(reply)) = serde_json::from_str(body) else { return Said::Alien };
    let name = reply.get("stream").and_then(Value::as_str).filter(|name| is_stream_name(name));
    if let Some(error) = reply.get("error").filter(|error| !error.is_null()) {
        let Some(error) = error.as_object() else { return Said::Alien };
        let code = |key| error.get(key).and_then(Value::as_u64).and_then(|code| u32::try_from(code).ok()).unwrap_or(0);
        if code("err_code") == 0 && code("code") == 0 {
            return Said::Alien;
        }
        let description = error.get("description").and_then(Value::as_str).unwrap_or_default();
        return said(Verdict::Refused(codes::refusal(code("err_code"), code("code"), description, name)));
    }
    let seq = reply.get("seq");
    let duplicate = reply.get("duplicate") == Some(&Value::Bool(true));
    match (name, seq.map(Value::as_u64)) {
        (Some(name), Some(Some(seq @ 1..))) => {
            let domain = reply.get("domain").and_then(Value::as_str).filter(|domain| is_domain(domain)).unwrap_or_default();
            stored(name, domain, seq, duplicate)
        }
        (stream, None | Some(Some(0))) if duplicate => {
            let text = "the server is still storing the first copy of this Msg-Id".to_owned();
            Said::Refused { code: 0, definite: false, stream: stream.map(str::to_owned), text }
        }
        _ => Said::Alien,
    }
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// A JSON text of any shape.
    fn value(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 5 } else { 7 }) {
            0 => self.pick(&["null", "true", "false"]).into(),
            1 => self.pick(&["0", "1", "7", "22", "-1", "1.5", "2e3", "429", "503", "10054", "10167", "18446744073709551615", "18446744073709551616"]).into(),
            2..=4 => self.text(),
            5 => format!("[{}]", (0..self.below(4)).map(|_| self.value(depth - 1)).collect::<Vec<_>>().join(",")),
            _ => self.object(depth - 1),
        }
    }

    fn text(&mut self) -> String {
        let word = self.pick(&["", "S", "ORDERS", "hub", "ü🚀", "a\"b", "S.T", "a\u{a0}b", "maximum bytes exceeded", "\\", "a\tb", "\u{1b}"]);
        if self.below(2) == 0 {
            return Value::from(word).to_string();
        }
        format!("\"{}\"", word.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>())
    }

    fn object(&mut self, depth: usize) -> String {
        let mut members = Vec::new();
        for _ in 0..self.below(7) {
            let name = self.pick(&["stream", "stream", "seq", "seq", "domain", "duplicate", "error", "code", "err_code", "description", "val", "x"]);
            let name = if self.below(6) == 0 { name.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect() } else { name.to_owned() };
            let value = match &*name {
                "stream" if self.below(4) > 0 => self.text(),
                "seq" if self.below(4) > 0 => self.pick(&["1", "22", "0"]).into(),
                _ => self.value(depth),
            };
            let (a, b) = (self.pick(&["", "", " ", "\r\n", "\t"]), self.pick(&["", "", " ", "\n"]));
            members.push(format!("{a}\"{name}\"{b}:{a}{value}{b}"));
        }
        format!("{{{}}}", members.join(","))
    }
}

#[test]
fn every_shape_of_json_reads_as_a_plain_reading_does() {
    let mut draw = Draw(14);
    let mut seen = [0; 3];
    let mut acks = Acks::default();
    for _ in 0..60_000 {
        let body = draw.object(3);
        let expected = plainly(&body);
        seen[match expected {
            Said::Stored(..) => 0,
            Said::Refused { .. } => 1,
            Said::Alien => 2,
        }] += 1;
        assert_eq!(read(body.as_bytes()), expected, "{body}");
        // The same by a reader that knows a stream.
        assert_eq!(said(acks.parse(body.as_bytes())), expected, "{body}");
    }
    assert!(seen.iter().all(|&count| count > 300), "{seen:?}");
}
