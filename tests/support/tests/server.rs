//! The server launcher and the reader, against the real thing.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ackbus_test_support::async_nats::ConnectOptions;
use ackbus_test_support::async_nats::jetstream::stream::RetentionPolicy;
use ackbus_test_support::{Certs, Credentials, Reader, Server, StreamConfig, wait_for};

const SOON: Duration = Duration::from_secs(5);

fn is_alive(process_id: u32) -> bool {
    std::path::Path::new(&format!("/proc/{process_id}")).exists()
}

#[test]
fn the_reader_reads_what_was_stored() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let info = reader.create_stream("ORDERS", &["orders.>"]);
    assert_eq!(info.config.subjects, ["orders.>"]);
    assert!(reader.read_all("ORDERS").is_empty());
    for n in 1..=20_u64 {
        assert_eq!(reader.publish(&format!("orders.{n}"), n.to_string().as_bytes()), n);
    }
    let stored = reader.read_all("ORDERS");
    assert_eq!(stored.len(), 20);
    for (message, n) in stored.iter().zip(1..) {
        assert_eq!((message.seq, message.subject.as_str(), message.payload.as_slice()), (n, format!("orders.{n}").as_str(), n.to_string().as_bytes()));
    }
    assert_eq!(reader.message_count("ORDERS"), 20);
    reader.delete_stream("ORDERS");
    assert!(reader.stream_info("ORDERS").is_none());
}

#[test]
fn reading_a_work_queue_takes_nothing_from_it() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let config = StreamConfig { name: "WORK".into(), subjects: vec!["work".into()], retention: RetentionPolicy::WorkQueue, ..Default::default() };
    reader.create_stream_with(config);
    for _ in 0..3 {
        reader.publish("work", b"job");
    }
    assert_eq!(reader.read_all("WORK").len(), 3);
    assert_eq!(reader.message_count("WORK"), 3);
}

#[test]
fn core_messages_reach_a_subscriber() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let mut seen = reader.subscribe("events.*");
    reader.create_stream("EVENTS", &["events.>"]);
    reader.publish("events.one", b"1");
    assert_eq!(seen.next(SOON), Some(("events.one".into(), b"1".to_vec())));
    assert_eq!(seen.next(Duration::from_millis(20)), None);
}

#[test]
fn a_restart_keeps_the_port_and_the_messages() {
    let server = Server::start();
    let url = server.url();
    let reader = Reader::connect(&url);
    reader.create_stream("KEPT", &["kept"]);
    reader.publish("kept", b"before");
    let first = server.process_id().unwrap();

    server.kill();
    assert!(!is_alive(first));
    assert_eq!(TcpStream::connect(server.address()).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    server.restart();
    assert_eq!(server.url(), url);
    reader.publish("kept", b"after a kill");
    server.restart();
    let payloads: Vec<_> = reader.read_all("KEPT").into_iter().map(|message| message.payload).collect();
    assert_eq!(payloads, [b"before".to_vec(), b"after a kill".to_vec()]);
}

#[test]
fn a_paused_server_is_silent_and_a_resumed_one_answers() {
    let server = Server::start();
    server.pause();
    assert!(server.monitor("/varz").is_err());
    server.resume();
    assert!(server.monitor("/varz").is_ok());
}

#[test]
fn nothing_is_left_of_a_dropped_server() {
    let server = Server::start();
    let (address, process) = (server.address(), server.process_id().unwrap());
    server.pause();
    drop(server);
    assert!(!is_alive(process));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn nothing_is_left_of_a_server_whose_owner_was_killed() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_ackbus-test-server")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(owner.stdout.take().unwrap()), &mut url).unwrap();
    let address = url.trim().trim_start_matches("nats://").to_owned();
    assert!(TcpStream::connect(&address).is_ok());
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_for("the server's end", SOON, || TcpStream::connect(&address).is_err().then_some(()));
}

#[test]
fn the_program_prints_a_stream() {
    let program = env!("CARGO_BIN_EXE_ackbus-test-server");
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("LINES", &["lines"]);
    reader.publish("lines", b"one");
    reader.publish("lines", b"");
    reader.publish("lines", b"three");
    let output = Command::new(program).args(["read", &server.url(), "LINES"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"one\n\nthree\n");
    assert!(!Command::new(program).arg("nonsense").output().unwrap().status.success());
}

#[test]
fn users_have_their_permissions() {
    let server = Server::options().user("alice", "secret", "publish: { deny: \"denied.>\" }").user("bob", "secret", "").start();
    let url = |user: &str| format!("nats://{user}:secret@{}", server.address());
    let (alice, bob) = (Reader::connect(&url("alice")), Reader::connect(&url("bob")));
    bob.create_stream("ALL", &["denied.>", "allowed.>"]);
    alice.publish("allowed.x", b"");
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| alice.publish("denied.x", b""))).is_err());
    assert_eq!(bob.message_count("ALL"), 1);
}

#[test]
fn nkeys_and_credentials_let_in() {
    let key = nkeys::KeyPair::new_user();
    let server = Server::options().nkey(&key.public_key()).start();
    Reader::connect_with(&server.url(), ConnectOptions::with_nkey(key.seed().unwrap())).create_stream("A", &["a"]);

    let credentials = Credentials::new();
    let server = Server::options().credentials(&credentials).start();
    let text = std::fs::read_to_string(credentials.file()).unwrap();
    Reader::connect_with(&server.url(), ConnectOptions::with_credentials(&text).unwrap()).create_stream("A", &["a"]);
}

#[test]
fn tls_in_its_three_forms() {
    let certs = Certs::new();
    let tls = || ConnectOptions::new().require_tls(true).add_root_certificates(certs.ca.clone());
    let server = Server::options().tls(&certs).start();
    Reader::connect_with(&server.url(), tls()).create_stream("A", &["a"]);

    let server = Server::options().tls_verify(&certs).start();
    let with_certificate = tls().add_client_certificate(certs.client_cert.clone(), certs.client_key.clone());
    Reader::connect_with(&server.url(), with_certificate).create_stream("A", &["a"]);

    let server = Server::options().tls_first(&certs).start();
    Reader::connect_with(&server.url(), tls().tls_first()).create_stream("A", &["a"]);
}

#[test]
fn limits_hold_and_a_reload_changes_them() {
    let greeting = |server: &Server| server.monitor("/varz").unwrap();
    let server = Server::options().config("max_payload: 2048\nmax_connections: 7").jetstream("max_file_store: 64MB").start();
    assert_eq!(greeting(&server)["version"], Server::version());
    assert_eq!(greeting(&server)["max_payload"], 2048);
    assert_eq!(greeting(&server)["max_connections"], 7);
    assert_eq!(greeting(&server)["jetstream"]["config"]["max_storage"], 64 << 20);
    server.reload(Server::options().config("max_payload: 4096").jetstream("max_file_store: 64MB"));
    assert_eq!(greeting(&server)["max_payload"], 4096);
    server.restart();
    assert_eq!(greeting(&server)["max_payload"], 4096);
}

#[test]
fn a_server_may_have_no_jetstream() {
    let server = Server::options().without_jetstream().start();
    let reader = Reader::connect(&server.url());
    assert!(reader.stream_info("ANY").is_none());
    let mut seen = reader.subscribe("any");
    Reader::connect(&server.url()).send("any", b"1");
    assert_eq!(seen.next(SOON), Some(("any".into(), b"1".to_vec())));
}

#[test]
fn a_lame_duck_says_so() {
    let server = Server::start();
    server.lame_duck();
    wait_for("the announcement", SOON, || server.log().contains("Entering lame duck mode").then_some(()));
    assert!(TcpStream::connect(server.address()).is_err());
}

#[test]
fn a_server_that_cannot_start_shows_its_log() {
    let start = Instant::now();
    let text = Server::options().config("max_payload: \"much\"").try_start().unwrap_err();
    assert!(text.contains("server.conf:"), "{text}");
    assert!(start.elapsed() < SOON);
}

#[test]
fn accounts_have_users_imports_and_mappings() {
    let server = Server::options()
        .account("OWN", r#"jetstream: enabled, exports: [{ service: "orders.>" }], mappings: { "in.*": "orders.{{wildcard(1)}}" }"#)
        .account_with("PUB", r#"publish: { deny: "orders.secret" }"#, r#"imports: [{ service: { account: OWN, subject: "orders.>" } }]"#)
        .start();
    let owner = Reader::connect(&server.url_of("own"));
    owner.create_stream("ORDERS", &["orders.>"]);
    let other = Reader::connect(&server.url_of("pub"));
    assert_eq!([owner.publish("in.a", b"1"), other.publish("orders.b", b"2")], [1, 2]);
    other.send("orders.secret", b"3");
    let subjects: Vec<String> = owner.read_all("ORDERS").into_iter().map(|message| message.subject).collect();
    assert_eq!(subjects, ["orders.a", "orders.b"]);
}

#[test]
fn a_leaf_node_reaches_its_hub_while_that_is_there() {
    let hub = Server::options().name("hub").domain("hub").hub().start();
    let leaf = Server::options().name("leaf").domain("leaf").leaf_of(&hub).start();
    let reader = Reader::connect(&hub.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    leaf.wait_wanted("orders.>");
    let client = Reader::connect(&leaf.url());
    assert_eq!(client.publish("orders.a", b"1"), 1);
    assert!(client.stream_info("ORDERS").is_none(), "its own JetStream does not know of it");
    hub.terminate();
    leaf.wait_alone();
    hub.restart();
    leaf.wait_wanted("orders.>");
    assert_eq!(client.publish("orders.a", b"2"), 2);
}

#[test]
fn a_service_answers_until_it_is_dropped() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let service = reader.answer("orders.a", b"thank you");
    assert_eq!(reader.request("orders.a", b"1"), b"thank you");
    drop(service);
    let mut seen = reader.subscribe("orders.a");
    reader.send("orders.a", b"2");
    assert_eq!(seen.next(SOON), Some(("orders.a".into(), b"2".to_vec())));
}
