//! The liar tells its lies to the byte.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ackbus_test_support::{Liar, Script, Step, wait_for};

fn connect(liar: &Liar) -> TcpStream {
    let client = TcpStream::connect(liar.address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client
}

/// A client that publishes once, and does not look at what it reads.
fn connect_and_publish(liar: &Liar) -> TcpStream {
    let mut client = connect(liar);
    client.write_all(b"CONNECT {}\r\nPING\r\nSUB other 1\r\nSUB inbox.* 7\r\nHPUB s inbox.1 12 13\r\nNATS/1.0\r\n\r\nx\r\n").unwrap();
    client
}

fn read(client: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn each_script_says_what_it_promises() {
    for (name, script) in Liar::scripts() {
        let expected = script.bytes("inbox.1", "7");
        let steps = script.steps().to_vec();
        let liar = Liar::start(script);
        if matches!(steps[..], [Step::Reset]) {
            assert_eq!(connect(&liar).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{name}");
            continue;
        }
        let mut client = connect_and_publish(&liar);
        let seen = read(&mut client, expected.len());
        let difference = seen.iter().zip(&expected).position(|(seen, expected)| seen != expected);
        assert_eq!(difference, None, "{name}: {:?}", String::from_utf8_lossy(&seen[..seen.len().min(2_000)]));
        let flood = steps.iter().find_map(|step| if let Step::Flood { limit, .. } = step { Some(*limit) } else { None });
        let rest = flood.map_or(0, |limit| limit.saturating_sub(64 << 10));
        match steps.last() {
            Some(Step::Close) => {
                let mut all = Vec::new();
                client.read_to_end(&mut all).unwrap();
                assert_eq!(all.len(), rest, "{name}: a flood, and a farewell");
            }
            Some(Step::Reset) => assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{name}"),
            _ => {}
        }
        wait_for(&format!("{name} to count the connection"), Duration::from_secs(20), || (liar.connections() == 1).then_some(()));
    }
}

#[test]
fn the_names_are_different_and_tell_what_the_matrix_asks_for() {
    let scripts = Liar::scripts();
    let names: HashSet<&str> = scripts.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), scripts.len());
    let bytes = |name: &str| scripts.iter().find(|(found, _)| *found == name).map(|(_, script)| script.bytes("inbox.1", "7")).unwrap();
    let told = |name: &str, what: &str| assert!(String::from_utf8_lossy(&bytes(name)).contains(what), "{name}");
    told("err-bare", "PONG\r\n-ERR\r\n");
    told("msg-size-2-64-less-1", "MSG inbox.1 7 18446744073709551615\r\n");
    told("hmsg-headers-longer", "HMSG inbox.1 7 15 14\r\n");
    told("ack-seq-2-64", "MSG inbox.1 7 41\r\n{\"stream\":\"S\",\"seq\":18446744073709551616}\r\n");
    told("info-max-payload-0", "PONG\r\nINFO {");
    told("stray-sid-unknown", "MSG inbox.1 99999 24\r\n");
    assert!(bytes("ack-bad-utf8").windows(2).any(|two| two == b"\xff\xfe"));
    for (name, script) in &scripts {
        let bytes = script.bytes("inbox.1", "7");
        assert!(!bytes.windows(5).any(|five| five == b"{sid}"), "{name} leaves something open");
        // Sizes that are right by intention: what is said of a status or an ack comes as one whole message.
        let text = String::from_utf8_lossy(&bytes);
        if let Some(line) = text.lines().find(|line| line.starts_with("HMSG") && name.starts_with("ack-status")) {
            let after = text.split_once(line).unwrap().1.len() - 4;
            assert_eq!(line.rsplit(' ').next().unwrap().parse::<usize>().unwrap(), after, "{name}");
        }
    }
}

#[test]
fn each_publish_of_each_connection_is_answered_and_pings_too() {
    let liar = Liar::start(Script::greeted([Step::Answer(b"MSG {reply} {sid} 0\r\n\r\n".to_vec())]));
    let mut clients = [connect_and_publish(&liar), connect_and_publish(&liar)];
    let greeting = Script::greeted([]).bytes("", "");
    for client in &mut clients {
        read(client, greeting.len());
        client.write_all(b"PING\r\nPUB s other 4\r\nPUB \r\nPUB s 0\r\n\r\n").unwrap();
        let expected = b"MSG inbox.1 7 0\r\n\r\nPONG\r\nMSG other 1 0\r\n\r\nMSG nobody 1 0\r\n\r\n";
        assert_eq!(String::from_utf8(read(client, expected.len())).unwrap().as_bytes(), expected);
    }
    assert_eq!(liar.connections(), 2);
}

#[test]
fn waiting_skips_other_lines_and_keeps_the_client_going() {
    let liar = Liar::start(Script::new([Step::Wait(&["SUB a", "SUB b"]), Step::Send(b"+OK\r\n".to_vec()), Step::Reset]));
    let mut client = connect(&liar);
    client.write_all(b"PING\r\nSUB c 1\r\nPUB x 7\r\nSUB a 1\r\nPING\r\n").unwrap();
    assert_eq!(read(&mut client, 12), b"PONG\r\nPONG\r\n", "what is in a payload is no line");
    client.write_all(b"SUB b 2\r\n").unwrap();
    assert_eq!(read(&mut client, 5), b"+OK\r\n");
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn nothing_is_left_of_a_dropped_liar() {
    let liar = Liar::start(Script::new([Step::Flood { bytes: b"x".to_vec(), limit: usize::MAX }]));
    let address = liar.address();
    let mut client = connect(&liar);
    read(&mut client, 1_000);
    drop(liar);
    assert!(TcpStream::connect(address).is_err());
}
