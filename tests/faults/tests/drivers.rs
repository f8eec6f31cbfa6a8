//! Every driver keeps the protocol of tests/faults/README.md, on a day on which nothing breaks: the checker believes what they say.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "this is test code: what is not as it should be fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackbus_test_support::{Reader, Server, StoredMsg};
use serde_json::Value;

/// A driver that is silent for longer hangs.
const SILENCE: Duration = Duration::from_secs(60);
const COUNT: u64 = 500;
const SUBJECTS: [&str; 3] = ["faults.a", "faults.b", "faults.c"];
/// The first is shorter than the number that each payload begins with.
const SIZES: [usize; 4] = [2, 16, 256, 5_000];

/// One way of running a driver.
#[derive(Debug)]
struct Kind {
    program: &'static str,
    arguments: &'static [&'static str],
    /// What `ready` says of the client begins so.
    client: &'static str,
    /// Its client says how much is pending.
    samples: bool,
    /// Of ackbus: it must be there, and refuses what must be refused.
    ours: bool,
    /// Modes with a handler in which it does something.
    modes: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind { program: "ackbus-c", arguments: &[], client: "ackbus ", samples: true, ours: true, modes: &["republish", "close", "fork", "bad"] },
    Kind { program: "ackbus-c", arguments: &["delivery=poll"], client: "ackbus ", samples: true, ours: true, modes: &["republish", "close", "fork", "bad"] },
    Kind { program: "ackbus-rust", arguments: &[], client: "ackbus ", samples: true, ours: true, modes: &["republish", "close", "throw", "bad"] },
    Kind { program: "ackbus-go", arguments: &[], client: "ackbus (Go) ", samples: true, ours: true, modes: &["republish", "close", "throw", "bad"] },
    Kind {
        program: "ackbus-python",
        arguments: &[],
        client: "ackbus (Python) ",
        samples: true,
        ours: true,
        modes: &["republish", "close", "throw", "fork", "bad"],
    },
    Kind { program: "nats-c", arguments: &[], client: "nats.c ", samples: false, ours: false, modes: &["republish"] },
    Kind { program: "async-nats", arguments: &[], client: "async-nats ", samples: false, ours: false, modes: &[] },
];

/// The names of what is tried in mode `bad`.
const BAD: [&str; 13] = [
    "empty subject",
    "space",
    "line end",
    "star",
    "gt",
    "empty token",
    "leading dot",
    "trailing dot",
    "nul",
    "long subject",
    "header line end",
    "header name",
    "msg id line end",
];

/// Where `make fault-drivers` and `make fault-peers` put the drivers.
fn folder() -> PathBuf {
    std::env::var_os("ACKBUS_FAULT_DRIVERS").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../faults"), PathBuf::from)
}

/// The drivers that are there.
fn present() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| {
        let there = folder().join(kind.program).exists();
        // Without Go there is no driver in it, and `make fault-drivers` said so.
        let optional = !kind.ours || kind.program == "ackbus-go" && Command::new("go").arg("version").output().is_err();
        assert!(there || optional, "{} is missing: run `make fault-drivers`", folder().join(kind.program).display());
        if !there {
            println!("{} skipped: `make fault-peers` has not built it", kind.program);
        }
        there
    })
}

/// A driver at work. Dropped, it ends: its standard input does.
struct Running {
    child: Child,
    commands: Option<ChildStdin>,
    lines: Receiver<Value>,
    told: Vec<Value>,
    name: String,
}

impl Running {
    fn start(kind: &Kind, server: &Server, arguments: &[String]) -> Self {
        let mut command = Command::new(folder().join(kind.program));
        command.args([format!("url={}", server.url()), "stream=FAULTS".to_owned(), format!("subjects={}", SUBJECTS.join(","))]);
        command.args(kind.arguments).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or_else(|error| Value::String(format!("{line}: {error}")));
                if sender.send(value).is_err() {
                    break;
                }
            }
        });
        let commands = child.stdin.take();
        Running { child, commands, lines, told: Vec::new(), name: format!("{} {:?} {arguments:?}", kind.program, kind.arguments) }
    }

    /// Reads until this many lines fulfil the condition.
    fn read_until(&mut self, what: &str, count: usize, found: impl Fn(&Value) -> bool) {
        let mut left = count - self.told.iter().filter(|line| found(line)).count().min(count);
        while left > 0 {
            let line =
                self.lines.recv_timeout(SILENCE).unwrap_or_else(|error| panic!("{}: {left} × {what} did not come: {error}\n{:?}", self.name, self.told.last()));
            left -= usize::from(found(&line));
            self.told.push(line);
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.commands.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Closes, and returns all lines.
    fn close(mut self) -> Vec<Value> {
        self.say(r#"{"do":"close","value":10000}"#);
        self.read_until("end", 1, |line| line["e"] == "end");
        let after = self.lines.recv_timeout(SILENCE);
        assert_eq!(after, Err(mpsc::RecvTimeoutError::Disconnected), "{}: something after the end", self.name);
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.name);
        std::mem::take(&mut self.told)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server() -> (Server, Reader) {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("FAULTS", &["faults.>"]);
    (server, reader)
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}

fn arguments(count: u64, mode: &str) -> Vec<String> {
    let sizes = SIZES.map(|size| size.to_string()).join(",");
    vec![format!("count={count}"), format!("sizes={sizes}"), format!("mode={mode}"), "prefix=run".to_owned()]
}

/// The lines of this kind, by the message's number; each message once.
fn by_id<'l>(lines: &'l [Value], event: &str) -> BTreeMap<u64, &'l Value> {
    let mut found = BTreeMap::new();
    for line in lines.iter().filter(|line| line["e"] == event) {
        let id = line["id"].as_u64().unwrap_or_else(|| panic!("no id: {line}"));
        assert!(found.insert(id, line).is_none(), "twice: {line}");
    }
    found
}

fn position(lines: &[Value], event: &str) -> usize {
    let at: Vec<usize> = (0..lines.len()).filter(|&i| lines[i]["e"] == event).collect();
    assert_eq!(at.len(), 1, "{event} must come once");
    at[0]
}

fn checks(lines: &[Value]) -> BTreeMap<&str, (bool, &str)> {
    let checks = lines.iter().filter(|line| line["e"] == "check");
    checks.map(|line| (line["what"].as_str().unwrap(), (line["ok"].as_bool().unwrap(), line["text"].as_str().unwrap()))).collect()
}

fn payload(k: u64, size: usize) -> Vec<u8> {
    let mut payload = format!("{k} ").into_bytes();
    payload.truncate(size);
    while payload.len() < size {
        payload.push(b'a' + u8::try_from((k + payload.len() as u64) % 26).unwrap());
    }
    payload
}

/// Message `k` as it must be stored.
fn is_message(stored: &StoredMsg, k: u64) {
    let nth = usize::try_from(k - 1).unwrap();
    assert_eq!(stored.subject, SUBJECTS[nth % SUBJECTS.len()], "{k}");
    assert_eq!(stored.msg_id.as_deref(), Some(format!("run-{k}").as_str()), "{k}");
    assert_eq!(stored.payload, payload(k, SIZES[nth % SIZES.len()]), "{k}");
}

/// `ids` were accepted and acknowledged, each once, and the stream holds them and nothing else.
fn all_told_and_stored(lines: &[Value], reader: &Reader, ids: &BTreeSet<u64>) {
    let (accepted, outcomes) = (by_id(lines, "accept"), by_id(lines, "outcome"));
    assert_eq!(accepted.keys().copied().collect::<BTreeSet<_>>(), *ids);
    assert_eq!(outcomes.keys().copied().collect::<BTreeSet<_>>(), *ids);
    let stored: BTreeMap<u64, StoredMsg> = reader.read_all("FAULTS").into_iter().map(|message| (message.seq, message)).collect();
    assert_eq!(stored.len(), ids.len());
    for (&id, outcome) in &outcomes {
        assert_eq!(outcome["kind"], "acked", "{outcome}");
        assert_eq!(outcome["dup"], false, "{outcome}");
        is_message(&stored[&outcome["seq"].as_u64().unwrap()], id);
    }
}

#[test]
fn all_is_told_once_and_stored_as_written() {
    for kind in present() {
        let (server, reader) = server();
        let begin = now_us();
        let mut driver = Running::start(kind, &server, &[arguments(COUNT, "normal"), vec!["rate=2000".to_owned()]].concat());
        driver.read_until("outcome", 500, |line| line["e"] == "outcome");
        driver.read_until("published", 1, |line| line["e"] == "published");
        let lines = driver.close();
        assert_eq!(position(&lines, "ready"), 0);
        assert!(lines[0]["client"].as_str().unwrap().starts_with(kind.client), "{}", lines[0]);
        assert_eq!(position(&lines, "end"), lines.len() - 1);
        assert!(lines[lines.len() - 1]["rss_kb"].as_u64().unwrap() > 1_000, "{:?}", lines.last());
        assert!(position(&lines, "published") < position(&lines, "close_begin"));
        assert!(position(&lines, "close_begin") < position(&lines, "close_end"));
        assert_eq!(lines[position(&lines, "close_end")]["text"], "OK");
        for line in &lines {
            let t = line["t"].as_u64().unwrap_or_else(|| panic!("no time: {line}"));
            assert!((begin..=now_us()).contains(&t), "{line}");
            let known = ["ready", "accept", "outcome", "pending", "published", "close_begin", "close_end", "end"];
            assert!(known.iter().any(|event| line["e"] == *event), "{}: {line}", kind.program);
        }
        assert_eq!(lines.iter().any(|line| line["e"] == "pending" && line["n"].is_u64()), kind.samples, "{}", kind.program);
        all_told_and_stored(&lines, &reader, &(1..=COUNT).collect());
        // 500 messages at 2,000 a second take 249.5 ms: not a matter of the machine's speed, as long as the driver is not early.
        let accepted = by_id(&lines, "accept");
        assert!(accepted[&COUNT]["t"].as_u64() >= accepted[&1]["t"].as_u64().map(|first| first + 240_000), "{}: no pace", kind.program);
    }
}

#[test]
fn a_pair_shares_an_id_and_the_copy_is_told_as_one() {
    for kind in present() {
        let (server, reader) = server();
        let mut driver = Running::start(kind, &server, &[arguments(10, "normal"), vec!["pairs=1".to_owned()]].concat());
        driver.read_until("outcome", 10, |line| line["e"] == "outcome");
        let lines = driver.close();
        for (id, outcome) in by_id(&lines, "outcome") {
            assert_eq!(outcome["dup"], id % 2 == 0, "{}: {outcome}", kind.program);
        }
        let ids: Vec<_> = reader.read_all("FAULTS").into_iter().map(|message| message.msg_id.unwrap()).collect();
        assert_eq!(ids, ["run-1", "run-3", "run-5", "run-7", "run-9"], "{}", kind.program);
    }
}

#[test]
fn stop_ends_publishing_and_the_end_of_input_ends_the_driver() {
    for kind in present() {
        let (server, _reader) = server();
        let mut driver = Running::start(kind, &server, &[arguments(1_000_000, "normal"), vec!["rate=100".to_owned()]].concat());
        driver.read_until("outcome", 5, |line| line["e"] == "outcome");
        driver.say(r#"{"do":"stop","value":0}"#);
        driver.read_until("published", 1, |line| line["e"] == "published");
        drop(driver.commands.take());
        let code = driver.child.wait().unwrap().code();
        assert_eq!(code, Some(0), "{}", kind.program);
    }
}

#[test]
fn a_refusal_is_told_as_one() {
    for kind in present() {
        let (server, reader) = server();
        reader.update_stream(ackbus_test_support::StreamConfig {
            name: "FAULTS".to_owned(),
            subjects: vec!["faults.>".to_owned()],
            discard: ackbus_test_support::async_nats::jetstream::stream::DiscardPolicy::New,
            max_messages: 20,
            ..Default::default()
        });
        let mut driver = Running::start(kind, &server, &arguments(50, "normal"));
        driver.read_until("outcome", 50, |line| line["e"] == "outcome");
        let lines = driver.close();
        let mut kinds = BTreeMap::<&str, u64>::new();
        for outcome in by_id(&lines, "outcome").into_values() {
            *kinds.entry(outcome["kind"].as_str().unwrap()).or_default() += 1;
            if outcome["kind"] == "refused" {
                assert_eq!(outcome["code"], 10_077, "{}: {outcome}", kind.program);
                assert!(outcome["text"].as_str().unwrap().contains("maximum messages exceeded"), "{}: {outcome}", kind.program);
            }
        }
        assert_eq!(kinds, BTreeMap::from([("acked", 20), ("refused", 30)]), "{}", kind.program);
    }
}

#[test]
fn a_server_that_dies_is_told_and_close_is_answered() {
    for kind in present() {
        let (server, _reader) = server();
        let mut driver =
            Running::start(kind, &server, &[arguments(1_000_000, "normal"), vec!["rate=500".to_owned(), "ack_timeout_ms=2000".to_owned()]].concat());
        driver.read_until("outcome", 20, |line| line["e"] == "outcome");
        server.kill();
        driver.read_until("disconnected", 1, |line| line["e"] == "state" && line["state"] == "disconnected");
        server.restart();
        driver.read_until("reconnected", 1, |line| line["e"] == "state" && line["state"] == "reconnected");
        let acked = driver.told.iter().filter(|line| line["kind"] == "acked").count();
        driver.read_until("ack", acked + 20, |line| line["kind"] == "acked");
        server.kill();
        driver.read_until("disconnected", 2, |line| line["e"] == "state" && line["state"] == "disconnected");
        driver.say(r#"{"do":"close","value":500}"#);
        driver.read_until("end", 1, |line| line["e"] == "end");
        assert!(position(&driver.told, "close_begin") < position(&driver.told, "close_end"));
        if kind.ours {
            let accepted: BTreeSet<u64> = by_id(&driver.told, "accept").into_keys().collect();
            assert_eq!(by_id(&driver.told, "outcome").into_keys().collect::<BTreeSet<_>>(), accepted, "{}", kind.program);
        }
    }
}

#[test]
fn modes_do_what_they_say() {
    for kind in present() {
        for &mode in kind.modes {
            let (server, reader) = server();
            let count = 1_200; // the handler of `close` acts at the 1,000th outcome
            let extra = if mode == "republish" { 100 } else { 0 };
            let mut driver = Running::start(kind, &server, &arguments(count, mode));
            driver.read_until("outcome", usize::try_from(count + extra).unwrap(), |line| line["e"] == "outcome");
            driver.read_until("published", 1, |line| line["e"] == "published");
            let lines = driver.close();
            all_told_and_stored(&lines, &reader, &(1..=count + extra).collect());
            let checks = checks(&lines);
            match mode {
                "close" => assert_eq!(checks.keys().collect::<Vec<_>>(), [&"close in the handler"], "{}", kind.program),
                "fork" => assert_eq!(checks["fork"], (true, "publish: FORKED; close: FORKED"), "{}", kind.program),
                "bad" => {
                    assert_eq!(checks.keys().copied().collect::<BTreeSet<_>>(), BAD.map(|name| format!("bad: {name}")).iter().map(String::as_str).collect())
                }
                _ => assert!(checks.is_empty(), "{}: {checks:?}", kind.program),
            }
            assert!(checks.values().all(|(ok, text)| *ok && !text.is_empty()), "{} {mode}: {checks:?}", kind.program);
        }
    }
}

#[test]
fn a_handler_that_blocks_does_so_once() {
    for kind in present().filter(|kind| kind.ours) {
        let (server, _reader) = server();
        let mut driver = Running::start(kind, &server, &arguments(1_200, "block"));
        driver.read_until("outcome", 1_200, |line| line["e"] == "outcome");
        let times: Vec<u64> = driver.told.iter().filter(|line| line["e"] == "outcome").map(|line| line["t"].as_u64().unwrap()).collect();
        let pauses = times.windows(2).filter(|pair| pair[1] >= pair[0] + 10_000_000).count();
        assert_eq!(pauses, 1, "{}", kind.program);
        assert!(times[1_000] >= times[999] + 10_000_000, "{}: not at the 1,000th", kind.program);
        driver.close();
    }
}

/// What it does to a peer is the suite's to judge, also if the peer never publishes again.
#[test]
fn bad_inputs_are_tried_on_the_peers_too() {
    for kind in present().filter(|kind| !kind.ours) {
        let (server, _reader) = server();
        let mut driver = Running::start(kind, &server, &[arguments(100, "bad"), vec!["ack_timeout_ms=1000".to_owned()]].concat());
        driver.read_until("published", 1, |line| line["e"] == "published");
        let tried = checks(&driver.told);
        let names = BAD.iter().filter(|&&name| name != "nul" || kind.program != "nats-c").map(|name| format!("bad: {name}"));
        assert_eq!(tried.keys().map(|&name| name.to_owned()).collect::<BTreeSet<_>>(), names.collect(), "{}", kind.program);
        driver.say(r#"{"do":"close","value":2000}"#);
        driver.read_until("end", 1, |line| line["e"] == "end");
    }
}
