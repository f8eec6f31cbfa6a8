//! The lies that are ready to be told. Those about messages are told when the client publishes.

use super::script::{Script, Step, info};
use crate::chance::Chance;

/// 2^64 − 1, 2^64 and others that do not fit where they go.
const ALL_ONES: &str = "18446744073709551615";
const TOO_LARGE: &str = "18446744073709551616";
/// More than any client should read without an end.
const ENDLESS: usize = 32 << 20;
const DEPTH: usize = 100_000;

pub(super) fn all() -> Vec<(&'static str, Script)> {
    [endings(), greetings(), infos(), errors(), lines(), sizes(), acks(), strays(), floods()].concat()
}

/// Ends where none is expected.
fn endings() -> Vec<(&'static str, Script)> {
    vec![
        ("silence", Script::new([])),
        ("close-at-once", Script::new([Step::Close])),
        ("reset-at-once", Script::new([Step::Reset])),
        ("close-after-greeting", Script::greeted([Step::Close])),
        ("close-on-publish", on_publish([Step::Close])),
        ("reset-on-publish", on_publish([Step::Reset])),
        ("close-in-line", on_publish([send("MSG inb"), Step::Close])),
        ("close-in-payload", on_publish([send("MSG inbox 1 1000\r\n{\"stream\""), Step::Close])),
    ]
}

/// First words. Whoever takes them for a greeting gets good acks.
fn greetings() -> Vec<(&'static str, Script)> {
    let greeting = |bytes: Vec<u8>| Script::greeted_with(bytes, [good_acks()]);
    vec![
        ("greeting-pong", greeting(b"PONG\r\n".to_vec())),
        ("greeting-err", greeting(b"-ERR 'maximum connections exceeded'\r\n".to_vec())),
        ("greeting-tls", greeting(b"\x16\x03\x03\x00\x7a\x02\x00\x00".to_vec())),
        ("greeting-http", greeting(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())),
        ("greeting-empty", greeting(b"INFO \r\n".to_vec())),
        ("greeting-no-json", greeting(b"INFO {\"server_id\":\r\n".to_vec())),
        ("greeting-array", greeting(b"INFO [1,2,3]\r\n".to_vec())),
        ("greeting-wrong-types", greeting(info("\"max_payload\":\"many\",\"headers\":7,\"proto\":{}"))),
        ("greeting-bad-utf8", greeting([info("\"max_payload\":1048576").as_slice(), b"INFO {\"server_name\":\"\xff\xfe\xc0\x80\"}\r\n"].concat())),
        (
            "greeting-name-bad-utf8",
            greeting(b"INFO {\"server_id\":\"\xff\xfe\",\"version\":\"\xc0\x80\",\"max_payload\":1048576,\"headers\":true}\r\n".to_vec()),
        ),
        ("greeting-huge", greeting(info(&format!("\"max_payload\":1048576,\"extra\":\"{}\"", "x".repeat(8 << 20))))),
        ("greeting-nested", greeting(info(&format!("\"max_payload\":1048576,\"extra\":{}", nested())))),
        ("greeting-max-payload-0", greeting(info("\"max_payload\":0"))),
        ("greeting-max-payload-negative", greeting(info("\"max_payload\":-1"))),
        ("greeting-max-payload-2-63", greeting(info("\"max_payload\":9223372036854775808"))),
        ("greeting-nonce", greeting(info("\"max_payload\":1048576,\"auth_required\":true,\"nonce\":\"\\u0000\\r\\nPING\\r\\n\""))),
        ("greeting-tls-required", greeting(info("\"max_payload\":1048576,\"tls_required\":true"))),
        ("greeting-urls-nonsense", greeting(info(&format!("\"max_payload\":1048576,\"connect_urls\":{}", nonsense())))),
        ("greeting-urls-many", greeting(info(&format!("\"max_payload\":1048576,\"connect_urls\":{}", many())))),
    ]
}

/// Later words of the same kind, to a client that is connected.
fn infos() -> Vec<(&'static str, Script)> {
    let later = |bytes: Vec<u8>| Script::greeted([Step::Send(bytes), good_acks()]);
    vec![
        ("info-no-json", later(b"INFO {\"max_payload\":\r\n".to_vec())),
        ("info-bad-utf8", later(b"INFO {\"server_name\":\"\xff\xfe\"}\r\n".to_vec())),
        ("info-nested", later(info(&format!("\"extra\":{}", nested())))),
        ("info-max-payload-0", later(info("\"max_payload\":0"))),
        ("info-max-payload-negative", later(info("\"max_payload\":-1"))),
        ("info-max-payload-2-63", later(info("\"max_payload\":9223372036854775808"))),
        ("info-max-payload-2-64", later(info("\"max_payload\":18446744073709551616"))),
        ("info-lame-duck-alone", later(info("\"max_payload\":1048576,\"ldm\":true"))),
        ("info-urls-nonsense", later(info(&format!("\"connect_urls\":{}", nonsense())))),
        ("info-urls-types", later(info("\"connect_urls\":[7,null,{},[],true]"))),
        ("info-urls-many", later(info(&format!("\"connect_urls\":{}", many())))),
    ]
}

fn errors() -> Vec<(&'static str, Script)> {
    vec![
        ("err-bare", answer("-ERR\r\n")),
        ("err-space", answer("-ERR \r\n")),
        ("err-empty-quotes", answer("-ERR ''\r\n")),
        ("err-one-quote", answer("-ERR '\r\n")),
        ("err-unquoted", answer("-ERR Permissions Violation for Publish to s\r\n")),
        ("err-open-quote", answer("-ERR 'Permissions Violation for Publish to \"s\r\n")),
        ("err-no-subject", answer("-ERR 'Permissions Violation for Publish to \"\"'\r\n")),
        ("err-escapes", answer("-ERR 'Permissions Violation for Publish to \"\\x\\u12\\\"'\r\n")),
        ("err-other-subject", answer("-ERR 'Permissions Violation for Publish to \"never.published\"'\r\n")),
        ("err-payload-violation", answer("-ERR 'Maximum Payload Violation'\r\n")),
        ("err-bad-utf8", Script::greeted([Step::Answer(b"-ERR 'Permissions Violation for Publish to \"\xff\xc0\"'\r\n".to_vec())])),
        ("err-without-end", on_publish([send("-ERR 'Unknown Protocol"), Step::Close])),
        ("err-long", answer(&format!("-ERR '{}'\r\n", "x".repeat(1 << 20)))),
        ("err-auth-at-once", Script::new([Step::Send(info("\"max_payload\":1048576")), send("-ERR 'Authorization Violation'\r\n"), Step::Close])),
    ]
}

/// Lines that are none.
fn lines() -> Vec<(&'static str, Script)> {
    let mut chance = Chance::new(1);
    let garbage: Vec<u8> = (0..64 << 10).map(|_| chance.next().to_be_bytes()[0]).collect();
    vec![
        ("line-unknown", answer("EVAL 1\r\n")),
        ("line-empty", answer("\r\n")),
        ("line-lone-lf", answer("MSG {reply} {sid} 24\n{\"stream\":\"S\",\"seq\":1}  \n")),
        ("line-lone-cr", answer("PONG\r")),
        ("line-nul", answer("PO\0NG\r\n")),
        ("line-endless", on_publish([Step::Flood { bytes: vec![b'x'; 64 << 10], limit: ENDLESS }, Step::Close])),
        ("line-msg-endless", on_publish([send("MSG "), Step::Flood { bytes: vec![b'a'; 64 << 10], limit: ENDLESS }, Step::Close])),
        ("line-err-endless", on_publish([send("-ERR '"), Step::Flood { bytes: vec![b'e'; 64 << 10], limit: ENDLESS }, Step::Close])),
        ("line-greeting-endless", Script::new([send("INFO {\"server_id\":\""), Step::Flood { bytes: vec![b'i'; 64 << 10], limit: ENDLESS }, Step::Close])),
        ("garbage-at-once", Script::new([Step::Send(garbage.clone()), Step::Close])),
        ("garbage-on-publish", on_publish([Step::Send(garbage), Step::Close])),
    ]
}

/// Announced sizes.
fn sizes() -> Vec<(&'static str, Script)> {
    let msg = |size: &str| answer(&format!("MSG {{reply}} {{sid}} {size}\r\n{{}}\r\n"));
    let hmsg = |headers: &str, total: &str| answer(&format!("HMSG {{reply}} {{sid}} {headers} {total}\r\nNATS/1.0\r\n\r\n{{}}\r\n"));
    vec![
        ("msg-size-2-64-less-1", msg(ALL_ONES)),
        ("msg-size-2-64-less-2", msg("18446744073709551614")),
        ("msg-size-2-64", msg(TOO_LARGE)),
        ("msg-size-2-63", msg("9223372036854775808")),
        ("msg-size-2-63-less-1", msg("9223372036854775807")),
        ("msg-size-2-32", msg("4294967296")),
        ("msg-size-1-gib", msg("1073741824")),
        ("msg-size-negative", msg("-1")),
        ("msg-size-plus", msg("+2")),
        ("msg-size-text", msg("many")),
        ("msg-size-hex", msg("0x2")),
        ("msg-size-missing", answer("MSG {reply} {sid}\r\n{}\r\n")),
        ("msg-size-too-small", msg("1")),
        ("msg-words-missing", answer("MSG\r\n")),
        ("msg-words-many", answer("MSG {reply} {sid} a b c 2\r\n{}\r\n")),
        ("hmsg-total-2-64-less-1", hmsg("12", ALL_ONES)),
        ("hmsg-both-2-64-less-1", hmsg(ALL_ONES, ALL_ONES)),
        ("hmsg-headers-2-64", hmsg(TOO_LARGE, "14")),
        ("hmsg-headers-longer", hmsg("15", "14")),
        ("hmsg-headers-negative", hmsg("-12", "14")),
        ("hmsg-headers-text", hmsg("few", "14")),
        ("hmsg-headers-zero", hmsg("0", "14")),
        ("hmsg-headers-in-middle", hmsg("5", "14")),
        ("hmsg-headers-missing", answer("HMSG {reply} {sid} 14\r\nNATS/1.0\r\n\r\n{}\r\n")),
    ]
}

/// Whole messages to the right place that are no good acks.
fn acks() -> Vec<(&'static str, Script)> {
    vec![
        ("ack-empty", ack(b"")),
        ("ack-no-json", ack(b"stored, I promise")),
        ("ack-open", ack(b"{\"stream\":\"S\",\"seq\":")),
        ("ack-array", ack(b"[\"S\",1]")),
        ("ack-empty-object", ack(b"{}")),
        ("ack-no-stream", ack(b"{\"seq\":1}")),
        ("ack-empty-stream", ack(b"{\"stream\":\"\",\"seq\":1}")),
        ("ack-no-seq", ack(b"{\"stream\":\"S\"}")),
        ("ack-seq-0", ack(b"{\"stream\":\"S\",\"seq\":0}")),
        ("ack-seq-negative", ack(b"{\"stream\":\"S\",\"seq\":-1}")),
        ("ack-seq-2-64", ack(format!("{{\"stream\":\"S\",\"seq\":{TOO_LARGE}}}").as_bytes())),
        ("ack-seq-fraction", ack(b"{\"stream\":\"S\",\"seq\":1.5}")),
        ("ack-seq-exponent", ack(b"{\"stream\":\"S\",\"seq\":1e400}")),
        ("ack-seq-text", ack(b"{\"stream\":\"S\",\"seq\":\"1\"}")),
        ("ack-zero-duplicate", ack(b"{\"stream\":\"S\",\"seq\":0,\"duplicate\": true}")),
        ("ack-bad-utf8", ack(b"{\"stream\":\"\xff\xfe\",\"seq\":1}")),
        ("ack-escapes", ack(b"{\"stream\":\"\\ud800\\u0000\",\"seq\":1}")),
        ("ack-nested", ack(format!("{{\"stream\":\"S\",\"extra\":{},\"seq\":1}}", nested()).as_bytes())),
        ("ack-huge", ack(format!("{{\"stream\":\"{}\",\"seq\":1}}", "S".repeat(1 << 20)).as_bytes())),
        ("ack-and-error", ack(b"{\"stream\":\"S\",\"seq\":1,\"error\":{\"code\":400,\"err_code\":10060,\"description\":\"no\"}}")),
        ("ack-error-empty", ack(b"{\"error\":{}}")),
        ("ack-error-types", ack(b"{\"error\":{\"code\":\"x\",\"err_code\":-1,\"description\":7}}")),
        ("ack-status-text", answer("HMSG {reply} {sid} 16 16\r\nNATS/1.0 abc\r\n\r\n\r\n")),
        ("ack-status-missing", answer("HMSG {reply} {sid} 12 12\r\nNATS/1.0\r\n\r\n\r\n")),
        ("ack-status-large", answer("HMSG {reply} {sid} 33 33\r\nNATS/1.0 18446744073709551616\r\n\r\n\r\n")),
        ("ack-headers-garbage", Script::greeted([Step::Answer(b"HMSG {reply} {sid} 8 10\r\n\xff\xff\r\r\n\n:\0{}\r\n".to_vec())])),
    ]
}

/// Whole messages that nobody asked for.
fn strays() -> Vec<(&'static str, Script)> {
    const GOOD: &str = "24\r\n{\"stream\":\"S\",\"seq\":1}  \r\n";
    vec![
        ("stray-sid-unknown", answer(&format!("MSG {{reply}} 99999 {GOOD}"))),
        ("stray-sid-2-64", answer(&format!("MSG {{reply}} {TOO_LARGE} {GOOD}"))),
        ("stray-sid-text", answer(&format!("MSG {{reply}} sid {GOOD}"))),
        ("stray-sid-negative", answer(&format!("MSG {{reply}} -1 {GOOD}"))),
        ("stray-subject", answer(&format!("MSG some.where.else {{sid}} {GOOD}"))),
        ("stray-subject-shorter", answer(&format!("MSG _ {{sid}} {GOOD}"))),
        ("stray-subject-longer", answer(&format!("MSG {{reply}}00 {{sid}} {GOOD}"))),
        ("stray-subject-huge", answer(&format!("MSG {} {{sid}} {GOOD}", "a".repeat(1 << 20)))),
        ("stray-subject-bad-utf8", Script::greeted([Step::Answer([b"MSG \xff\xfe {sid} ".as_slice(), GOOD.as_bytes()].concat())])),
        ("stray-token-bad-utf8", Script::greeted([Step::Answer([b"MSG {reply}\xff {sid} ".as_slice(), GOOD.as_bytes()].concat())])),
        ("stray-four-acks", answer(&format!("MSG {{reply}} {{sid}} {GOOD}").repeat(4))),
    ]
}

/// Good words, far too many of them.
fn floods() -> Vec<(&'static str, Script)> {
    let flood = |text: &str, limit: usize| on_publish([Step::Flood { bytes: text.repeat(1_000).into_bytes(), limit }, Step::Close]);
    vec![
        ("flood-pong", flood("PONG\r\n", 6_000_000)),
        ("flood-ping", flood("PING\r\n", 6_000_000)),
        ("flood-ok", flood("+OK\r\n", 5_000_000)),
        ("flood-err", flood("-ERR 'Permissions Violation for Publish to \"s\"'\r\n", 4_900_000)),
        ("flood-info", flood("INFO {\"max_payload\":1048576}\r\n", 3_000_000)),
        ("flood-stray", flood("MSG stray 99 2\r\n{}\r\n", 4_000_000)),
    ]
}

/// Tells it to each publish.
fn answer(template: &str) -> Script {
    Script::greeted([Step::Answer(template.into())])
}

/// The payload comes as a message to where the ack is waited for.
fn ack(payload: &[u8]) -> Script {
    Script::greeted([Step::Answer(message(payload))])
}

fn good_acks() -> Step {
    Step::Answer(message(b"{\"stream\":\"S\",\"seq\":1}"))
}

fn message(payload: &[u8]) -> Vec<u8> {
    [format!("MSG {{reply}} {{sid}} {}\r\n", payload.len()).as_bytes(), payload, b"\r\n"].concat()
}

/// Waits for the first publish.
fn on_publish(steps: impl Into<Vec<Step>>) -> Script {
    let mut all = vec![Step::Wait(&["PUB", "HPUB"])];
    all.extend(steps.into());
    Script::greeted(all)
}

fn send(text: &str) -> Step {
    Step::Send(text.into())
}

fn nested() -> String {
    "[".repeat(DEPTH) + &"]".repeat(DEPTH)
}

/// Each has a port of its own, and no name that somebody might look up: a client that tries them must not leave this machine, or find another's server.
fn nonsense() -> &'static str {
    r#"[":1",":","127.0.0.1:0","127.0.0.1:65536","127.0.0.1:-1","127.0.0.1:port","[::1:1","127.0.0.1:1:1","%%%:1","\u0000:1","\r\nPING\r\n:1","127.0.0.1:1 127.0.0.1:2","nats://user:pass@127.0.0.1:1"]"#
}

/// 5,000 places on this machine where nobody listens.
fn many() -> String {
    let urls: Vec<String> = (0..5_000).map(|n| format!("\"127.1.{}.{}:1\"", n / 250, n % 250 + 1)).collect();
    format!("[{}]", urls.join(","))
}
