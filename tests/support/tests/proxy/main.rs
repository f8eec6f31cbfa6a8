//! The proxy, seen by a client of the plainest kind.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod raw;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ackbus_test_support::async_nats::ConnectOptions;
use ackbus_test_support::{Action, Certs, Link, Proxy, Reader, Server, Verb, choose};

const QUIET: Duration = Duration::from_millis(200);

/// A client that writes text and reads what comes.
struct Plain(TcpStream);

impl Plain {
    fn connect(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.url().trim_start_matches("nats://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut client = Plain(stream);
        client.send("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB inbox.* 1\r\nPING\r\n");
        client.until("PONG\r\n");
        client
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Publishes to the stream with a Msg-Id; the ack is asked to `inbox.TOKEN`.
    fn publish(&mut self, id: &str, token: &str) {
        let headers = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
        self.send(&format!("HPUB s inbox.{token} {} {}\r\n{headers}x\r\n", headers.len(), headers.len() + 1));
    }

    /// Reads until the text ends with `end`.
    fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
        String::from_utf8(text).unwrap()
    }

    fn quiet(&mut self) -> bool {
        self.0.set_read_timeout(Some(QUIET)).unwrap();
        let nothing = matches!(self.0.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        nothing
    }
}

fn setup() -> (Server, Reader, Proxy) {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("S", &["s"]);
    let proxy = Proxy::start(server.address());
    (server, reader, proxy)
}

#[test]
fn a_lost_ack_and_a_resend_make_one_copy() {
    let (_server, reader, proxy) = setup();
    let mut client = Plain::connect(&proxy);
    proxy.on_reply(2, Action::Drop);
    client.publish("one", "1");
    assert!(client.until("}\r\n").contains("inbox.1"));
    client.publish("two", "2");
    assert!(client.quiet());
    assert_eq!(reader.message_count("S"), 2);
    client.publish("two", "2");
    let again = client.until("}\r\n").replace(' ', "");
    assert!(again.contains("\"seq\":2") && again.contains("\"duplicate\":true"), "{again}");
    assert_eq!(reader.message_count("S"), 2);
}

#[test]
fn replies_are_repeated_delayed_and_replaced() {
    let (_server, _reader, proxy) = setup();
    let mut client = Plain::connect(&proxy);
    proxy.on_reply(1, Action::Duplicate);
    client.publish("a", "1");
    let (once, twice) = (client.until("}\r\n"), client.until("}\r\n"));
    assert_eq!(once, twice);

    proxy.on_reply(1, Action::Delay(QUIET));
    let start = Instant::now();
    client.publish("b", "1");
    client.publish("c", "2");
    assert!(client.until("}\r\n").contains("inbox.2"), "the delayed one comes last");
    assert!(client.until("}\r\n").contains("inbox.1"));
    assert!(start.elapsed() >= QUIET);

    proxy.filter(|verb, _| if verb == Verb::Msg { Action::Replace(b"MSG inbox.9 1 2\r\n{}\r\n".to_vec()) } else { Action::Pass });
    client.publish("d", "1");
    assert_eq!(client.until("}\r\n"), "MSG inbox.9 1 2\r\n{}\r\n");
    proxy.no_filter();
    client.publish("e", "1");
    assert!(client.until("}\r\n").contains("inbox.1"));
}

#[test]
fn a_hold_keeps_the_connection_open_and_silent() {
    let (_server, reader, proxy) = setup();
    let mut client = Plain::connect(&proxy);
    proxy.hold();
    client.publish("a", "1");
    assert!(client.quiet());
    assert_eq!(reader.message_count("S"), 0);
    proxy.hold_replies();
    assert!(client.quiet());
    assert_eq!(reader.message_count("S"), 1, "only the way back is held");
    proxy.resume();
    assert!(client.until("}\r\n").contains("inbox.1"));
}

#[test]
fn a_reset_is_a_reset_and_a_refusal_is_a_refusal() {
    let (_server, _reader, proxy) = setup();
    let mut client = Plain::connect(&proxy);
    proxy.refuse();
    assert_eq!(TcpStream::connect(proxy.url().trim_start_matches("nats://")).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    client.send("PING\r\n");
    client.until("PONG\r\n");
    proxy.reset();
    assert_eq!(client.0.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    proxy.accept();
    let mut client = Plain::connect(&proxy);
    assert_eq!(proxy.connections(), 2);
    proxy.filter(|verb, _| if verb == Verb::Pong { Action::Reset } else { Action::Pass });
    client.send("PING\r\n");
    assert_eq!(client.0.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn the_server_s_end_is_passed_on_with_its_last_words() {
    let (_server, _reader, proxy) = setup();
    let mut client = Plain::connect(&proxy);
    client.send("NONSENSE\r\n");
    let mut last = String::new();
    client.0.read_to_string(&mut last).unwrap();
    assert!(last.starts_with("-ERR"), "{last}");
}

#[test]
fn acks_are_corrupted_by_choice_and_zero_seq_duplicates_are_not_stored() {
    let (_server, reader, proxy) = setup();
    let mut client = Plain::connect(&proxy);
    proxy.filter(choose::acks(choose::from(2, 1), |frame| Action::Replace(choose::corrupt(frame))));
    client.send("PUB $JS.API.STREAM.NAMES inbox.api 0\r\n\r\n");
    assert!(client.until("}\r\n").contains("inbox.api"), "it is not counted");
    client.publish("a", "1");
    assert!(client.until("}\r\n").contains("inbox.1"));
    client.publish("b", "2");
    let line = client.until("\r\n");
    assert!(line.starts_with("MSG inbox.2 1 "), "{line}");
    let mut payload = vec![0; line.trim_end().rsplit(' ').next().unwrap().parse::<usize>().unwrap()];
    client.0.read_exact(&mut payload).unwrap();
    assert!(payload.iter().step_by(2).all(|byte| *byte == 0xff), "{payload:?}");
    assert_eq!(client.until("\n"), "\r\n");

    proxy.no_filter();
    proxy.filter_up(choose::publishes(choose::from(1, 1), |frame| choose::zero_seq_duplicate(frame, "S")));
    client.publish("c", "3");
    assert_eq!(client.until("}\r\n"), "MSG inbox.3 1 40\r\n{\"stream\":\"S\",\"seq\":0,\"duplicate\": true}\r\n");
    client.publish("c", "4");
    assert!(client.until("}\r\n").replace(' ', "").contains("\"seq\":3"));
    assert_eq!(reader.message_count("S"), 3);
}

#[test]
fn tls_passes_with_filters_and_a_bad_link() {
    let certs = Certs::new();
    let server = Server::options().tls(&certs).start();
    let proxy = Proxy::start(server.address());
    proxy.filter(|verb, _| if verb == Verb::Msg { Action::Drop } else { Action::Pass });
    proxy.filter_up(|verb, _| if verb == Verb::Pub { Action::Drop } else { Action::Pass });
    proxy.link(Link { delay: Duration::from_millis(1), slice: Some(7), ..Link::default() });
    let options = ConnectOptions::new().require_tls(true).add_root_certificates(certs.ca.clone());
    let reader = Reader::connect_with(&proxy.url(), options);
    reader.create_stream("A", &["a"]);
    assert_eq!(reader.publish("a", &[b'x'; 10_000]), 1);
    assert_eq!(proxy.connections(), 1);
}
