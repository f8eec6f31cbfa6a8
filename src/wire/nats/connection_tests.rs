//! The connection against byte strings: framing at every cut, hostile servers, handshake, fences.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::config::settings::MsgIdMode;
use crate::message::Message;
use crate::wire::nats::auth::ConnectAuth;

const SECOND: Nanos = 1_000_000_000;

fn connection() -> Connection {
    let connect = Connect::new("", ConnectAuth::default(), false);
    let info = Info { max_payload: 1000, version: "2.15.1".into(), ..Info::default() };
    Connection::new(7, "nats://test:4222".into(), info, &connect, b"_INBOX.abc.", 5 * SECOND, 0).unwrap()
}

/// Feeds bytes, a few at a time, and writes down what is told.
fn feed(connection: &mut Connection, bytes: &[u8], step: usize) -> Result<Vec<String>, Loss> {
    let mut told = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = connection.read_space();
        let (part, after) = rest.split_at(step.min(space.len()).min(rest.len()));
        space[..part.len()].copy_from_slice(part);
        rest = after;
        connection.read(part.len(), 1, |news| {
            told.push(match news {
                Told::Ready { version, domain, limits } => format!("ready {version} {domain:?} {}", limits.max_payload),
                Told::Limits(limits) => format!("limits {}", limits.max_payload),
                Told::Servers(servers) => format!("servers {servers:?}"),
                Told::LameDuck => "lame duck".into(),
                Told::Verdict(token, verdict) => format!("{}/{}/{} {verdict:?}", token.slot, token.id, token.attempt),
                Told::Answer { ask, body } => format!("answer {ask} {:?}", body.map(String::from_utf8_lossy)),
                Told::AlienReply => "alien".into(),
                Told::Fenced { mark } => format!("fenced {mark}"),
                Told::Denied { mark, denials } => {
                    let mut names: Vec<String> = denials.names.iter().map(|(name, named)| format!("{name} {}", named.count)).collect();
                    names.sort();
                    format!("denied {mark} {} of {} silent {names:?}", denials.total, denials.silent)
                }
                Told::PermissionError { subject, .. } => format!("permission {subject}"),
            });
        })?;
    }
    Ok(told)
}

fn ready() -> Connection {
    let mut connection = connection();
    feed(&mut connection, b"PONG\r\n", 100).unwrap();
    assert!(connection.is_ready());
    connection
}

fn staged(connection: &mut Connection) -> String {
    let mut text = String::new();
    let mut count = 0;
    {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let n = connection.pieces(&mut pieces);
        for piece in &pieces[..n] {
            text.push_str(std::str::from_utf8(piece).unwrap());
            count += piece.len();
        }
    }
    connection.wrote(count, 1, |_| {});
    text
}

/// An ephemeral message to `a`.
fn slot(payload: &[u8]) -> Slot {
    let message = Message::new("a", payload);
    let mut slot = Slot::new(0);
    slot.ephemeral = true;
    encoder().fill(&mut slot, &message, encoder().plan(&message, true).unwrap());
    slot
}

fn encoder() -> Encoder {
    Encoder::new("_INBOX", MsgIdMode::Auto, &[7; 32])
}

/// The carrier takes all that is staged, or so many bytes of it.
fn takes(connection: &mut Connection, count: Option<usize>, now: Nanos) {
    connection.wrote(count.unwrap_or_else(|| connection.unsent()), now, |_| {});
}

#[test]
fn handshake() {
    let mut connection = connection();
    let text = staged(&mut connection);
    assert!(text.starts_with("CONNECT {\"verbose\":false") && text.ends_with("}\r\nSUB _INBOX.abc.* 1\r\nPING\r\n"), "{text}");
    assert!(!text.contains("pass") && !text.contains("token"), "{text}");
    assert!(connection.in_handshake());
    let told = feed(&mut connection, b"+OK\r\nPONG\r\n", 3).unwrap();
    assert_eq!(told, ["ready 2.15.1 \"\" 1000"]);
}

#[test]
fn an_odd_info_is_read_as_far_as_it_goes() {
    let odd = br#"INFO {"server_id":7,"version":["2"],"connect_urls":null,"ldm":"soon","headers":true,"max_payload":9,"new":{"a":[1e999]}}"#;
    let info = Info::parse(odd).unwrap();
    assert_eq!((&*info.server_id, &*info.version, info.connect_urls.len(), info.ldm), ("", "", 0, false));
    assert!(info.headers && info.max_payload == 9 && !info.tls_required && info.nonce.is_none());
    for needed in [r#""headers":1"#, r#""max_payload":-1"#, r#""tls_required":"no""#, r#""auth_required":0"#, r#""nonce":5"#] {
        assert!(Info::parse(format!("INFO {{{needed}}}").as_bytes()).is_err(), "{needed}");
    }
}

#[test]
fn a_server_says_which_jetstream_domain_it_belongs_to_and_nobody_insists() {
    let long = format!(r#""domain":"{}""#, "d".repeat(256));
    for (members, domain, jetstream) in [
        (r#""domain":"hub","jetstream":true"#, "hub", true),
        (r#""domain":"h\u00fcb\"""#, "hüb\"", false),
        (r#""max_payload":5"#, "", false),
        (r#""domain":7,"jetstream":"yes""#, "", false),
        (r#""domain":null,"jetstream":null"#, "", false),
        (r#""domain":{"a":[1]},"jetstream":true"#, "", true),
        (r#""domain":"a\nb","jetstream":true"#, "", true),
        (&long, "", false),
    ] {
        let info = Info::parse(format!(r#"INFO {{"version":"2.15.1",{members}}}"#).as_bytes()).unwrap();
        assert_eq!((&*info.domain, info.jetstream), (domain, jetstream), "{members}");
        let connect = Connect::new("", ConnectAuth::default(), false);
        let mut connection = Connection::new(1, "x".into(), info, &connect, b"_INBOX.abc.", SECOND, 0).unwrap();
        let told = feed(&mut connection, b"PONG\r\n", 100).unwrap();
        assert!(told[0].starts_with(&format!("ready 2.15.1 {domain:?} ")), "{told:?}");
    }
}

#[test]
fn nobody_is_there_to_answer_only_by_the_servers_word() {
    let mut token = [0; TOKEN_LEN];
    frame::write_token(&mut token, Token { slot: frame::FIRST_ASK + 3, id: 3, attempt: 0 });
    let inbox = format!("_INBOX.abc.{}", std::str::from_utf8(&token).unwrap());
    for (headers, told) in [
        ("NATS/1.0 503\r\n\r\n", "answer 3 None"),
        ("NATS/1.0 503 No Responders\r\n\r\n", "answer 3 None"),
        ("NATS/1.0\r\nNats-Service-Error: busy\r\n\r\n", "answer 3 Some(\"\")"),
        ("NATS/1.0 408 Request Timeout\r\n\r\n", "answer 3 Some(\"\")"),
    ] {
        let bytes = format!("HMSG {inbox} 1 {0} {0}\r\n{headers}\r\n", headers.len());
        assert_eq!(feed(&mut ready(), bytes.as_bytes(), 100).unwrap(), [told], "{headers}");
    }
}

#[test]
fn every_cut_of_every_operation_tells_the_same() {
    let bytes = b"MSG _INBOX.abc.?@??????kC???@? 1 23\r\n{\"stream\":\"S\",\"seq\":22}\r\n\
        INFO {\"max_payload\":500,\"connect_urls\":[\"a:1\"],\"ldm\":true}\r\nPING\r\n\
        HMSG _INBOX.abc.?@??????kC???@? 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n-ERR 'Permissions Violation for Publish to \"x.y\"'\r\n\
        MSG _INBOX.abc.short 1 2\r\nhi\r\nMSG other 9 _INBOX.q 0\r\n\r\n\
        MSG _INBOX.abc.000w-30000000000 1 3\r\n{}\n\r\n";
    // The token of the last one names question 3.
    let mut token = [0; TOKEN_LEN];
    frame::write_token(&mut token, Token { slot: frame::FIRST_ASK + 3, id: 3, attempt: 0 });
    let text = String::from_utf8(bytes.to_vec()).unwrap().replace("000w-30000000000", std::str::from_utf8(&token).unwrap());
    let text = text.replace("?@??????kC???@?", "??@?????kC???@?");
    let whole = feed(&mut ready(), text.as_bytes(), 4096).unwrap();
    assert_eq!(whole.len(), 9, "{whole:#?}");
    assert!(whole[0].contains("Stored { stream: \"S\", domain: \"\", seq: 22, duplicate: false }"), "{whole:#?}");
    assert_eq!(&whole[1..4], ["limits 500", "servers [\"a:1\"]", "lame duck"]);
    assert!(whole[4].contains("NobodyThere"), "{whole:#?}");
    assert_eq!(&whole[5..8], ["permission x.y", "alien", "alien"]);
    assert!(whole[8].starts_with("answer 3"), "{whole:#?}");
    for step in 1..60 {
        assert_eq!(feed(&mut ready(), text.as_bytes(), step).unwrap(), whole, "in steps of {step}");
    }
}

#[test]
fn hostile_servers_end_the_connection_and_nothing_else() {
    for bytes in [
        &b"HELLO\r\n"[..],
        b"MSG\r\n",
        b"MSG a 1 18446744073709551615\r\n",
        b"MSG a 1 99999999999999999999\r\n",
        b"MSG a 1 -1\r\n",
        b"MSG a 1 1048577\r\n",
        b"HMSG a 1 5 2\r\nhi\r\n",
        b"MSG a 1 2\r\nhixx",
        b"INFO {\r\n",
        b"\xff\xfe\r\n",
    ] {
        let loss = feed(&mut ready(), bytes, 7).unwrap_err();
        assert_eq!(loss.error.status(), Status::ProtocolError, "{:?}", String::from_utf8_lossy(bytes));
    }
    for bytes in [&b"-ERR\r\n"[..], b"-ERR \r\n", b"-ERR ''\r\n", b"-ERR 'Permissions Violation for Publish to \"\r\n", b"\r\n", b"PONG\r\nPONG\r\n"] {
        let mut connection = ready();
        feed(&mut connection, bytes, 3).unwrap();
        assert!(connection.is_ready(), "{:?}", String::from_utf8_lossy(bytes));
    }
    let mut connection = ready();
    let endless = vec![b'x'; MAX_LINE + READ_BUFFER];
    assert!(feed(&mut connection, &endless, 10_000).is_err());
}

#[test]
fn refused_handshakes_say_why() {
    for (line, status) in [
        ("-ERR 'Authorization Violation'", Status::AuthFailed),
        ("-ERR 'maximum connections exceeded'", Status::ConnectFailed),
        ("-ERR 'Permissions Violation for Subscription to \"_INBOX.abc.*\"'", Status::Denied),
    ] {
        let loss = feed(&mut connection(), format!("{line}\r\n").as_bytes(), 5).unwrap_err();
        assert_eq!(loss.error.status(), status, "{}", loss.error);
        assert!(loss.error.message().contains("nats://test:4222"));
    }
}

/// A log holds lines, and an event or an error is kept: what the server says goes into them cut, and without control characters.
#[test]
fn what_the_server_says_is_cut_and_clean() {
    let long = "x".repeat(100_000);
    let said = |line: &str| feed(&mut connection(), line.as_bytes(), 4096).unwrap_err().error.message().to_owned();
    let error = said(&format!("-ERR 'no\x1b[31m\rfake {long}'\r\n"));
    assert!(error.starts_with("nats://test:4222: the server said: no [31m fake xxx") && error.len() < 2_000, "{error}");
    let info = said(&format!("INFO {{\"max_payload\":\"\\n{long}\"}}\r\n"));
    assert!(info.contains("INFO is not valid") && !info.contains('\n') && info.len() < 2_000, "{info}");

    let version = Info::parse(format!("INFO {{\"version\":\"2\\nFAKE {long}\"}}").as_bytes()).unwrap().version;
    assert!(version.starts_with("2 FAKE xxx") && version.len() < 2_000, "{version}");

    // Subjects that were never ours are not kept.
    let mut connection = ready();
    let refused = |subject: &str| format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n");
    for subject in [long.as_str(), r"a\nb", "a b", ""] {
        assert_eq!(feed(&mut connection, refused(subject).as_bytes(), 4096).unwrap(), [""; 0], "{subject:.10}");
    }
    assert_eq!(feed(&mut connection, refused("a.b").as_bytes(), 4096).unwrap(), ["permission a.b"]);
    // Yet they are counted.
    connection.part();
    staged(&mut connection);
    connection.stage(&encoder(), &mut slot(b""));
    connection.part();
    let told = feed(&mut connection, (refused("a b") + "PONG\r\n").as_bytes(), 4096).unwrap();
    assert_eq!(told, [r#"denied 0 6 of 1 silent [" 5", "a.b 1"]"#, "fenced 0"]);
}

#[test]
fn violations_are_remembered_until_the_end() {
    let mut connection = ready();
    feed(&mut connection, b"-ERR 'Maximum Payload Violation'\r\n", 99).unwrap();
    let loss = connection.cut("closed");
    assert_eq!((loss.violation, loss.error.status()), (Some(Violation::Payload), Status::TooLarge));
    assert!(connection.has_ended());
}

#[test]
fn fences_prove_what_was_read() {
    let mut connection = ready();
    staged(&mut connection);
    let mut slot = slot(b"");
    connection.stage(&encoder(), &mut slot);
    assert_eq!((slot.epoch, slot.mark), (7, 0));
    assert!(connection.tick(60_000_000, true).unwrap() > 60_000_000);
    assert_eq!(staged(&mut connection), "PUB a 0\r\n\r\nPING\r\n");
    connection.stage(&encoder(), &mut slot);
    assert_eq!(slot.mark, 1);
    let told = feed(&mut connection, b"-ERR 'Permissions Violation for Publish to \"a\"'\r\nPONG\r\n", 9).unwrap();
    assert_eq!(told, ["permission a", r#"denied 0 1 of 1 silent ["a 1"]"#, "fenced 0"]);
}

#[test]
fn a_question_has_a_mark_of_its_own() {
    let mut connection = ready();
    staged(&mut connection);
    assert_eq!((connection.ask("q", 1, b""), connection.ask("q", 2, b"x")), (0, 1), "nothing stands before the first");
    let mut slot = slot(b"");
    connection.stage(&encoder(), &mut slot);
    assert_eq!((slot.mark, connection.ask("q", 3, b"")), (2, 3));
    let text = staged(&mut connection);
    let lines: Vec<&str> = text.split("\r\n").map(|line| line.split(' ').next().unwrap_or_default()).filter(|word| !word.is_empty()).collect();
    assert_eq!(lines, ["PUB", "PING", "PUB", "x", "PING", "PUB", "PING", "PUB", "PING"]);
    let told = feed(&mut connection, b"PONG\r\n-ERR 'Permissions Violation for Publish to \"other\"'\r\nPONG\r\nPONG\r\n", 9).unwrap();
    assert_eq!(told, ["fenced 0", "permission other", r#"denied 1 1 of 0 silent ["other 1"]"#, "fenced 1", "fenced 2"]);
    // Nothing follows that needs another fence.
    assert!(connection.tick(60_000_000, true).unwrap() > 60_000_000);
    assert_eq!(staged(&mut connection), "");
}

#[test]
fn silence_is_noticed_before_three_pings() {
    let mut connection = ready();
    staged(&mut connection);
    assert_eq!(connection.tick(4 * SECOND, false).unwrap(), 1 + 5 * SECOND);
    connection.tick(5 * SECOND + 1, false).unwrap();
    assert_eq!(staged(&mut connection), "PING\r\n");
    let end = 1 + 5 * SECOND * 11 / 4;
    assert_eq!(connection.tick(end - 1, false).unwrap(), end);
    let loss = connection.tick(end, false).unwrap_err();
    assert!(loss.error.message().contains("silent"), "{}", loss.error);
}

#[test]
fn what_the_kernel_takes_before_the_ping_is_life_and_after_it_is_none() {
    let mut connection = ready();
    staged(&mut connection);
    let mut large = slot(&[7; 50_000]);
    connection.stage(&encoder(), &mut large);
    let frame = connection.unsent();
    connection.tick(SECOND, true).unwrap();
    assert_eq!(connection.unsent(), frame + 6, "a PING follows");
    // A slow link: for half a minute the kernel takes a bit every ten seconds.
    for at in [10, 20, 30] {
        takes(&mut connection, Some(frame / 4), at * SECOND);
        connection.tick(at * SECOND, true).unwrap();
    }
    takes(&mut connection, None, 31 * SECOND);
    // A server that stands still: the kernel takes more, but the PING is out and has no answer (X6).
    for at in [35, 40, 44] {
        connection.stage(&encoder(), &mut slot(&[7; 100]));
        takes(&mut connection, None, at * SECOND);
        connection.tick(at * SECOND, true).unwrap();
    }
    let loss = connection.tick(45 * SECOND, true).unwrap_err();
    assert!(loss.error.message().contains("silent for 14 s"), "{}", loss.error);
}
