//! The control protocol, through the program that other languages run.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for what would come at once.
const QUIET: Duration = Duration::from_millis(100);

/// The program under test. Its end is checked by whoever ends it.
struct Program {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Program {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ackbus-test-server")).arg("control").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (requests, answers) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Program { child, requests, answers }
    }

    fn ask(&mut self, line: &str) -> Value {
        writeln!(self.requests.as_ref().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{line}: {error}: {answer:?}"))
    }

    #[track_caller]
    fn ok(&mut self, request: Value) -> Value {
        let answer = self.ask(&request.to_string());
        assert_eq!(answer["ok"], true, "{request}: {answer}");
        answer
    }

    #[track_caller]
    fn refused(&mut self, request: Value) -> String {
        let answer = self.ask(&request.to_string());
        assert_eq!(answer["ok"], false, "{request}: {answer}");
        answer["error"].as_str().unwrap().to_owned()
    }

    fn start_server(&mut self) -> String {
        self.ok(json!({ "do": "start" }))["address"].as_str().unwrap().to_owned()
    }

    fn stream(&mut self, server: usize) {
        self.ok(json!({ "do": "create_stream", "server": server, "config": { "name": "S", "subjects": ["s"] } }));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}

/// A client by hand, because the program's own one publishes without headers.
struct Plain(TcpStream);

impl Plain {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address.trim_start_matches("nats://")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Plain(stream);
        client.send("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB inbox.* 1\r\n");
        client.barrier();
        client
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
        String::from_utf8(text).unwrap()
    }

    /// Reads to the end of the ack that this is in.
    fn until_seen(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            all += &self.until("}\r\n");
        }
        all
    }

    /// What the server sent before it answered a PING.
    fn barrier(&mut self) -> String {
        self.send("PING\r\n");
        self.until("PONG\r\n")
    }

    /// Publishes to `s` and asks for the ack at `inbox.TOKEN`.
    fn publish(&mut self, token: &str) {
        self.send(&format!("PUB s inbox.{token} 1\r\nx\r\n"));
    }
}

#[test]
fn the_requests_of_the_readme_work_in_their_order() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let requests: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("| `{")?.split("` |").next()).collect();
    let mut program = Program::start();
    // The program's own list of what it understands.
    let list = program.refused(json!({ "do": "?" }));
    let verbs: Vec<&str> = list.split('`').skip(3).step_by(2).collect();
    assert!(verbs.contains(&"start"), "{list}");
    for verb in verbs {
        let written = format!("\"do\":\"{verb}\"");
        assert!(requests.iter().any(|request| request.contains(&written)), "the README has no example of {verb}");
    }
    for request in requests {
        let answer = program.ask(&format!("{{{request}"));
        assert_eq!(answer["ok"], true, "{{{request}: {answer}");
    }
}

#[test]
fn a_stream_is_read_with_everything_in_it() {
    let mut program = Program::start();
    let address = program.start_server();
    program.stream(1);
    let mut client = Plain::connect(&address);
    let headers = "NATS/1.0\r\nNats-Msg-Id: first\r\nTrace: a\r\nTrace: b\r\n\r\n";
    client.send(&format!("HPUB s inbox.1 {} {}\r\n{headers}\0\u{1}\r\n", headers.len(), headers.len() + 2));
    client.until("}\r\n");
    assert_eq!(program.ok(json!({ "do": "publish", "server": 1, "subject": "s", "payload": "plain" }))["seq"], 2);
    assert_eq!(program.ok(json!({ "do": "wait_stored", "server": 1, "stream": "S", "count": 2 }))["count"], 2);
    let read = program.ok(json!({ "do": "read", "server": 1, "stream": "S" }));
    let expected = json!([
        { "seq": 1, "subject": "s", "payload": "\0\u{1}", "payload_base64": "AAE=", "headers": { "Nats-Msg-Id": ["first"], "Trace": ["a", "b"] } },
        { "seq": 2, "subject": "s", "payload": "plain", "payload_base64": "cGxhaW4=", "headers": {} },
    ]);
    assert_eq!(read["messages"], expected);
    assert_eq!(program.ok(json!({ "do": "stream_info", "server": 1, "stream": "S" }))["info"]["state"]["messages"], 2);
    assert_eq!(program.ok(json!({ "do": "purge_stream", "server": 1, "stream": "S" }))["purged"], 2);
    program.ok(json!({ "do": "delete_stream", "server": 1, "stream": "S" }));
    assert_eq!(program.ok(json!({ "do": "stream_info", "server": 1, "stream": "S" }))["info"], Value::Null);
}

#[test]
fn what_is_wrong_is_told_and_the_next_request_is_served() {
    let mut program = Program::start();
    for (request, expected) in [
        (json!({ "do": "dance" }), "unknown variant `dance`"),
        (json!({ "do": "kill", "server": 1, "hard": true }), "unknown field `hard`"),
        (json!({ "do": "kill", "server": 1 }), "there is no server 1; there are 0"),
        (json!({ "do": "cut", "proxy": 0 }), "there is no proxy 0; there are 0"),
        (json!({ "do": "cluster", "size": 2 }), "allowed: 3 or 5"),
        (json!({ "do": "start", "config": "max_payload: \"much\"" }), "server.conf:"),
    ] {
        let error = program.refused(request);
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(program.ask("not JSON")["ok"], false);
    program.start_server();
    for (request, expected) in [
        (json!({ "do": "create_stream", "server": 1, "config": { "subjects": ["s"] } }), "no name"),
        (json!({ "do": "create_stream", "server": 1, "config": { "name": "S", "subjects": ["s"], "max_age": 1 } }), "(10052)"),
        (json!({ "do": "update_stream", "server": 1, "config": { "name": "S", "subjects": ["s"] } }), "(10059)"),
        (json!({ "do": "read", "server": 1, "stream": "S" }), "stream not found (10059)"),
        (json!({ "do": "wait_stored", "server": 1, "stream": "S", "count": 1 }), "stream not found (10059)"),
        (json!({ "do": "leader", "server": 1, "stream": "S" }), "server 1 is no cluster's"),
    ] {
        let error = program.refused(request);
        assert!(error.contains(expected), "{error}");
    }
    program.stream(1);
    let error = program.refused(json!({ "do": "wait_stored", "server": 1, "stream": "S", "count": 1, "timeout_ms": 10 }));
    assert!(error.contains("stream S holds 0 messages, not 1"), "{error}");
}

#[test]
fn a_server_s_life_can_be_directed() {
    let mut program = Program::start();
    let address = program.start_server();
    program.stream(1);
    program.ok(json!({ "do": "publish", "server": 1, "subject": "s" }));
    program.ok(json!({ "do": "kill", "server": 1 }));
    assert!(TcpStream::connect(&address).is_err());
    program.ok(json!({ "do": "restart", "server": 1 }));
    assert_eq!(program.ok(json!({ "do": "wait_stored", "server": 1, "stream": "S", "count": 1 }))["count"], 1, "same port, same store");
    program.ok(json!({ "do": "pause", "server": 1 }));
    let mut waiting = TcpStream::connect(&address).unwrap();
    waiting.set_read_timeout(Some(QUIET)).unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "no greeting");
    program.ok(json!({ "do": "resume", "server": 1 }));
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(waiting.read(&mut [0]).unwrap(), 1);
    program.ok(json!({ "do": "reload", "server": 1, "config": "max_payload: 4096" }));
    let mut greeting = String::new();
    BufReader::new(TcpStream::connect(&address).unwrap()).read_line(&mut greeting).unwrap();
    assert!(greeting.contains("\"max_payload\":4096"), "{greeting}");
    // A paused server ends gracefully too.
    program.ok(json!({ "do": "pause", "server": 1 }));
    program.ok(json!({ "do": "stop", "server": 1 }));
    assert!(TcpStream::connect(&address).is_err());
    assert!(program.ok(json!({ "do": "log", "server": 1 }))["log"].as_str().unwrap().contains("Server Exiting"));
}

#[test]
fn replies_to_publishes_meet_an_action_and_others_pass() {
    let mut program = Program::start();
    program.start_server();
    program.stream(1);
    let url = program.ok(json!({ "do": "proxy", "server": 1 }))["url"].as_str().unwrap().to_owned();
    let mut client = Plain::connect(&url);
    let mut act = |action: Value, from: u64, count: u64| {
        program.ok(json!({ "do": "on_reply", "proxy": 1, "action": action, "from": from, "count": count }));
    };
    let api = |client: &mut Plain| {
        client.send("PUB $JS.API.STREAM.NAMES inbox.api 0\r\n\r\n");
        assert!(client.until("}\r\n").contains("inbox.api"));
    };
    act(json!("drop"), 2, 2);
    api(&mut client);
    for token in ["a", "b", "c", "d"] {
        client.publish(token);
    }
    assert!(client.until("}\r\n").contains("inbox.a"));
    assert!(client.until("}\r\n").contains("inbox.d"), "two are dropped");
    act(json!("duplicate"), 1, 1);
    client.publish("e");
    assert_eq!(client.until("}\r\n"), client.until("}\r\n"));
    act(json!({ "replace": { "find": "\"S\"", "with": "\"T\"" } }), 1, 1);
    client.publish("f");
    assert!(client.until("}\r\n").replace(' ', "").contains("\"stream\":\"T\""));
    act(json!({ "delay": { "ms": 50 } }), 1, 1);
    client.publish("g");
    client.publish("h");
    assert!(client.until("}\r\n").contains("inbox.h"));
    assert!(client.until("}\r\n").contains("inbox.g"));
    act(json!("cut"), 1, 1);
    client.publish("i");
    assert!(client.0.read(&mut [0]).is_err());
    program.ok(json!({ "do": "pass_replies", "proxy": 1 }));
    let mut client = Plain::connect(&url);
    client.publish("j");
    assert!(client.until("}\r\n").contains("inbox.j"));
    assert_eq!(program.ok(json!({ "do": "connections", "proxy": 1 }))["connections"], 2);
}

#[test]
fn a_proxy_holds_cuts_and_refuses() {
    let mut program = Program::start();
    program.start_server();
    program.stream(1);
    let url = program.ok(json!({ "do": "proxy", "server": 1 }))["url"].as_str().unwrap().to_owned();
    let mut client = Plain::connect(&url);
    program.ok(json!({ "do": "hold_replies", "proxy": 1 }));
    client.publish("a");
    program.ok(json!({ "do": "wait_stored", "server": 1, "stream": "S", "count": 1 }));
    program.ok(json!({ "do": "hold", "proxy": 1 }));
    client.publish("b");
    client.0.set_read_timeout(Some(QUIET)).unwrap();
    assert!(client.0.read(&mut [0]).is_err(), "neither ack comes");
    client.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let stored = program.refused(json!({ "do": "wait_stored", "server": 1, "stream": "S", "count": 2, "timeout_ms": 100 }));
    assert!(stored.contains("holds 1 messages"), "{stored}");
    program.ok(json!({ "do": "release", "proxy": 1 }));
    assert!(client.until("}\r\n").contains("inbox.a"));
    assert!(client.until("}\r\n").contains("inbox.b"));
    program.ok(json!({ "do": "refuse", "proxy": 1 }));
    assert!(TcpStream::connect(url.trim_start_matches("nats://")).is_err());
    client.barrier();
    program.ok(json!({ "do": "cut", "proxy": 1 }));
    assert!(client.0.read(&mut [0]).is_err());
    program.ok(json!({ "do": "accept", "proxy": 1 }));
    Plain::connect(&url).barrier();
}

#[test]
fn publishes_meet_an_action_and_others_pass() {
    let mut program = Program::start();
    program.start_server();
    program.stream(1);
    let url = program.ok(json!({ "do": "proxy", "server": 1 }))["url"].as_str().unwrap().to_owned();
    let mut client = Plain::connect(&url);
    let mut act = |action: Value, from: u64| program.ok(json!({ "do": "on_publish", "proxy": 1, "action": action, "from": from }));
    act(json!("drop"), 1);
    client.send("PUB $JS.API.STREAM.NAMES inbox.api 0\r\n\r\n");
    assert!(client.until("}\r\n").contains("inbox.api"));
    client.publish("a");
    client.publish("b");
    assert!(client.until("}\r\n").contains("inbox.b"), "one is dropped");
    act(json!({ "zero_seq_duplicate": { "stream": "S" } }), 2);
    client.publish("c");
    assert!(client.until("}\r\n").contains("inbox.c"));
    client.publish("d");
    assert_eq!(client.until("}\r\n"), "MSG inbox.d 1 40\r\n{\"stream\":\"S\",\"seq\":0,\"duplicate\": true}\r\n");
    act(json!("duplicate"), 1);
    client.publish("e");
    assert!(client.until("}\r\n").contains("\"seq\":3"));
    assert!(client.until("}\r\n").contains("\"seq\":4"));
    act(json!("corrupt"), 1);
    client.publish("f");
    client.until("}\r\n");
    act(json!({ "tear": { "bytes": 19 } }), 1);
    client.publish("g");
    assert_eq!(client.0.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    program.ok(json!({ "do": "pass_publishes", "proxy": 1 }));
    let mut client = Plain::connect(&url);
    client.publish("h");
    assert!(client.until("}\r\n").contains("\"seq\":6"), "what was torn is not stored");
    let payloads: Vec<String> = program.ok(json!({ "do": "read", "server": 1, "stream": "S" }))["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["payload_base64"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(payloads, ["eA==", "eA==", "eA==", "eA==", "/w==", "eA=="], "one was corrupt");
}

#[test]
fn a_choice_by_chance_is_the_same_for_the_same_seed() {
    let mut program = Program::start();
    program.start_server();
    program.stream(1);
    let url = program.ok(json!({ "do": "proxy", "server": 1 }))["url"].as_str().unwrap().to_owned();
    let mut client = Plain::connect(&url);
    let mut survivors = |seed: u64| {
        program.ok(json!({ "do": "on_publish", "proxy": 1, "action": "drop", "percent": 30, "seed": seed }));
        (0..100).for_each(|n| client.send(&format!("PUB s inbox.{n} 0\r\n\r\n")));
        let mut text = client.barrier(); // They are all through, and some answers have come.
        program.ok(json!({ "do": "pass_publishes", "proxy": 1 }));
        client.publish("last");
        text += &client.until_seen("inbox.last");
        text.split("MSG inbox.").filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect::<Vec<u32>>()
    };
    let first = survivors(5);
    assert!((50..=90).contains(&first.len()), "{first:?}");
    assert_eq!(survivors(5), first);
    assert_ne!(survivors(6), first);
    for (request, expected) in [
        (json!({ "do": "on_reply", "proxy": 1, "action": "drop", "percent": 101 }), "101 percent; allowed: 0 to 100"),
        (json!({ "do": "on_reply", "proxy": 1, "action": "drop", "percent": 1, "from": 1 }), "one way to choose"),
        (json!({ "do": "on_publish", "proxy": 1, "action": "drop", "seed": 1 }), "a seed without a percent"),
        (json!({ "do": "on_reply", "proxy": 1, "action": { "zero_seq_duplicate": { "stream": "S" } } }), "a reply cannot be answered"),
        (json!({ "do": "link", "proxy": 1, "bytes_per_second": 0 }), "allowed: 1 or more"),
    ] {
        let error = program.refused(request);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_proxy_slows_swallows_injects_and_leads_elsewhere() {
    let mut program = Program::start();
    program.start_server();
    program.start_server();
    program.stream(1);
    let url = program.ok(json!({ "do": "proxy", "server": 1 }))["url"].as_str().unwrap().to_owned();
    let mut client = Plain::connect(&url);
    program.ok(json!({ "do": "link", "proxy": 1, "delay_ms": 50, "slice": 1 }));
    let start = Instant::now();
    client.barrier();
    assert!(start.elapsed() >= Duration::from_millis(100));
    program.ok(json!({ "do": "link", "proxy": 1 }));
    program.ok(json!({ "do": "inject", "proxy": 1, "text": "-ERR 'x'\r\n" }));
    assert_eq!(client.until("\r\n"), "-ERR 'x'\r\n");
    program.ok(json!({ "do": "hold_publishes", "proxy": 1 }));
    client.publish("a");
    let stored = program.refused(json!({ "do": "wait_stored", "server": 1, "stream": "S", "count": 1, "timeout_ms": 100 }));
    assert!(stored.contains("holds 0 messages"), "{stored}");
    program.ok(json!({ "do": "release", "proxy": 1 }));
    assert!(client.until("}\r\n").contains("inbox.a"));

    program.ok(json!({ "do": "retarget", "proxy": 1, "server": 2 }));
    Plain::connect(&url).publish("elsewhere"); // It has no stream there.
    client.barrier();
    program.ok(json!({ "do": "accept_silently", "proxy": 1, "silently": true }));
    let mut silent = TcpStream::connect(url.trim_start_matches("nats://")).unwrap();
    silent.set_read_timeout(Some(QUIET)).unwrap();
    assert!(silent.read(&mut [0]).is_err());
    program.ok(json!({ "do": "accept_silently", "proxy": 1, "silently": false }));
    program.ok(json!({ "do": "discard", "proxy": 1 }));
    client.publish("b");
    let stored = program.refused(json!({ "do": "wait_stored", "server": 1, "stream": "S", "count": 2, "timeout_ms": 100 }));
    assert!(stored.contains("holds 1 messages"), "{stored}");
    assert_eq!(program.ok(json!({ "do": "connections", "proxy": 1 }))["connections"], 3);
}

#[test]
fn a_liar_plays_a_script_by_its_name() {
    let mut program = Program::start();
    let error = program.refused(json!({ "do": "liar", "script": "the truth" }));
    assert!(error.contains("there is no script the truth; allowed: silence, ") && error.contains(", err-bare, "), "{error}");
    let answer = program.ok(json!({ "do": "liar", "script": "err-bare" }));
    assert_eq!(answer["liar"], 1);
    let mut client = Plain::connect(answer["url"].as_str().unwrap());
    client.publish("a");
    assert_eq!(client.until("\r\n"), "-ERR\r\n");
}

#[test]
fn a_subscription_gives_each_message_once() {
    let mut program = Program::start();
    let address = program.start_server();
    program.ok(json!({ "do": "subscribe", "server": 1, "subject": "ticks.>" }));
    let mut client = Plain::connect(&address);
    let mut received = |count: usize, timeout_ms: u64| program.ok(json!({ "do": "received", "subscription": 1, "count": count, "timeout_ms": timeout_ms }));
    client.0.write_all(b"PUB ticks.a 1\r\n1\r\nPUB ticks.b 1\r\n\xff\r\nPUB ticks.a 0\r\n\r\n").unwrap();
    client.barrier();
    let first = received(1, 30_000);
    let expected = json!([
        { "subject": "ticks.a", "payload": "1", "payload_base64": "MQ==" },
        { "subject": "ticks.b", "payload": null, "payload_base64": "/w==" },
        { "subject": "ticks.a", "payload": "", "payload_base64": "" },
    ]);
    assert_eq!(first["messages"], expected, "more than asked for is told");
    assert_eq!(received(1, 10)["messages"], json!([]), "fewer too");
}

#[test]
fn doors_with_locks_open_for_the_program() {
    let mut program = Program::start();
    for tls in ["server", "mutual", "first"] {
        let answer = program.ok(json!({ "do": "start", "tls": tls }));
        assert!(std::path::Path::new(answer["ca_file"].as_str().unwrap()).is_file());
        program.stream(answer["server"].as_u64().unwrap() as usize);
    }
    let answer = program.ok(json!({ "do": "start", "credentials": true }));
    assert!(std::fs::read_to_string(answer["credentials_file"].as_str().unwrap()).unwrap().contains("BEGIN NATS USER JWT"));
    program.stream(4);
    let users = "authorization { users: [{ user: admin, password: pw }] }";
    program.ok(json!({ "do": "start", "config": users, "login": { "user": "admin", "password": "pw" } }));
    program.stream(5);
}

#[test]
fn nothing_is_left_when_the_input_ends() {
    let mut program = Program::start();
    let first = program.start_server();
    program.ok(json!({ "do": "proxy", "server": 1 }));
    program.ok(json!({ "do": "subscribe", "server": 1, "subject": "s" }));
    program.ok(json!({ "do": "reset" }));
    assert!(TcpStream::connect(&first).is_err());
    let second = program.start_server();
    program.stream(1);
    drop(program.requests.take());
    assert!(program.child.wait().unwrap().success());
    assert!(TcpStream::connect(&second).is_err());
}
