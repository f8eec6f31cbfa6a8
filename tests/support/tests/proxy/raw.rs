//! The proxy between two plain sockets: what arrives, to the byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackbus_test_support::{Action, Link, Proxy, Verb, choose, wait_for};

use super::QUIET;

const PATIENCE: Duration = Duration::from_secs(20);

/// Both ends of one connection through a proxy.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

struct Setup {
    listener: TcpListener,
    proxy: Proxy,
}

impl Setup {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap());
        Setup { listener, proxy }
    }

    /// One frame has passed in each direction when it returns.
    fn connect(&self) -> Pair {
        let mut pair = Pair { client: connect(&self.proxy), server: accept(&self.listener) };
        pair.up(b"PING\r\n");
        pair.down(b"PONG\r\n");
        pair
    }
}

impl Pair {
    /// What the client writes arrives at the server.
    fn up(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).unwrap();
        assert_eq!(text(&take(&mut self.server, bytes.len())), text(bytes));
    }

    fn down(&mut self, bytes: &[u8]) {
        self.server.write_all(bytes).unwrap();
        assert_eq!(text(&take(&mut self.client, bytes.len())), text(bytes));
    }
}

fn connect(proxy: &Proxy) -> TcpStream {
    let client = TcpStream::connect(proxy.url().trim_start_matches("nats://")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// With a limit, which a listener has none of.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let server = wait_for("a connection", PATIENCE, || listener.accept().ok()).0;
    server.set_nonblocking(false).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    server
}

fn take(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What still comes, and whether the end is a farewell (true) or a reset.
fn to_the_end(stream: &mut TcpStream) -> (String, bool) {
    let mut bytes = Vec::new();
    let farewell = match stream.read_to_end(&mut bytes) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
        Err(error) => panic!("neither farewell nor reset: {error}"),
    };
    (text(&bytes), farewell)
}

fn quiet(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(QUIET)).unwrap();
    let nothing = matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    nothing
}

/// Ends the connection with a reset.
fn abort(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_frame_is_cut_at_a_byte_and_both_sides_see_a_reset() {
    let setup = Setup::new();
    let mut pair = setup.connect();
    setup.proxy.filter_up(|verb, _| if verb == Verb::Pub { Action::Cut(12) } else { Action::Pass });
    pair.client.write_all(b"SUB a 1\r\nHPUB a 12 17\r\nNATS/1.0\r\n\r\nhello\r\nPING\r\n").unwrap();
    assert_eq!(to_the_end(&mut pair.server), ("SUB a 1\r\nHPUB a 12 17".into(), false));
    assert_eq!(to_the_end(&mut pair.client), (String::new(), false));

    let mut pair = setup.connect();
    setup.proxy.filter(|verb, _| if verb == Verb::Msg { Action::Cut(1_000) } else { Action::Pass });
    pair.server.write_all(b"+OK\r\nMSG a 1 2\r\nhi\r\nPING\r\n").unwrap();
    assert_eq!(to_the_end(&mut pair.client), ("+OK\r\nMSG a 1 2\r\nhi\r\n".into(), false), "a frame has no more than all of its bytes");
    assert_eq!(to_the_end(&mut pair.server), (String::new(), false));
}

#[test]
fn a_reset_reaches_both_sides() {
    let setup = Setup::new();
    let mut pair = setup.connect();
    setup.proxy.reset();
    assert_eq!(to_the_end(&mut pair.client), (String::new(), false));
    assert_eq!(to_the_end(&mut pair.server), (String::new(), false));
}

#[test]
fn an_end_is_passed_on_as_what_it_is_with_all_before_it() {
    let setup = Setup::new();
    let mut pair = setup.connect();
    pair.client.write_all(b"PUB a 5\r\nhel").unwrap();
    pair.client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(to_the_end(&mut pair.server), ("PUB a 5\r\nhel".into(), true), "the half frame too");
    pair.down(b"-ERR 'late'\r\n");
    drop(pair.server);
    assert_eq!(to_the_end(&mut pair.client), (String::new(), true));

    let mut pair = setup.connect();
    abort(pair.server);
    assert_eq!(to_the_end(&mut pair.client), (String::new(), false));
    let mut pair = setup.connect();
    abort(pair.client);
    assert_eq!(to_the_end(&mut pair.server), (String::new(), false));
}

#[test]
fn an_answer_goes_back_instead_and_a_reply_finds_the_subscription() {
    let setup = Setup::new();
    let mut pair = setup.connect();
    pair.up(b"SUB inbox.* workers 17\r\n");
    setup.proxy.filter_up(|verb, frame| match verb {
        Verb::Pub => choose::zero_seq_duplicate(frame, "S"),
        Verb::Ping => Action::Answer(b"PONG\r\n".to_vec()),
        _ => Action::Pass,
    });
    pair.client.write_all(b"PUB s inbox.9 2\r\nhi\r\nPUB s other.9 0\r\n\r\nPUB s 0\r\n\r\nPING\r\n").unwrap();
    let expected = "MSG inbox.9 17 40\r\n{\"stream\":\"S\",\"seq\":0,\"duplicate\": true}\r\nPONG\r\n";
    assert_eq!(text(&take(&mut pair.client, expected.len())), expected, "no answer where nobody listens");
    assert_eq!(text(&take(&mut pair.server, 11)), "PUB s 0\r\n\r\n", "without a reply subject it passes");
    pair.up(b"UNSUB 17\r\n");
    pair.client.write_all(b"PUB s inbox.9 0\r\n\r\nPING\r\n").unwrap();
    assert_eq!(text(&take(&mut pair.client, 6)), "PONG\r\n", "no subscription, no answer");

    setup.proxy.no_filter_up();
    pair.up(b"PUB s inbox.9 2\r\nhi\r\n");
    setup.proxy.filter(|verb, _| if verb == Verb::Ping { Action::Answer(b"PONG\r\n".to_vec()) } else { Action::Pass });
    pair.server.write_all(b"PING\r\n+OK\r\n").unwrap();
    assert_eq!(text(&take(&mut pair.server, 6)), "PONG\r\n");
    assert_eq!(text(&take(&mut pair.client, 5)), "+OK\r\n");
}

#[test]
fn frames_from_the_client_meet_all_actions() {
    let setup = Setup::new();
    let mut pair = setup.connect();
    setup.proxy.filter_up(|_, frame| match choose::subject(frame) {
        Some("drop") => Action::Drop,
        Some("twice") => Action::Duplicate,
        Some("late") => Action::Delay(QUIET),
        Some("other") => Action::Replace(b"PUB new 0\r\n\r\n".to_vec()),
        Some("reset") => Action::Reset,
        _ => Action::Pass,
    });
    let start = Instant::now();
    for subject in ["drop", "twice", "late", "other", "plain"] {
        write!(pair.client, "PUB {subject} 0\r\n\r\n").unwrap();
    }
    let expected = "PUB twice 0\r\n\r\nPUB twice 0\r\n\r\nPUB new 0\r\n\r\nPUB plain 0\r\n\r\nPUB late 0\r\n\r\n";
    assert_eq!(text(&take(&mut pair.server, expected.len())), expected);
    assert!(start.elapsed() >= QUIET);
    pair.client.write_all(b"PUB last 0\r\n\r\nPUB reset 0\r\n\r\nPUB never 0\r\n\r\n").unwrap();
    assert_eq!(to_the_end(&mut pair.server), ("PUB last 0\r\n\r\n".into(), false));
}

#[test]
fn a_filter_that_comes_in_the_middle_of_a_frame_sees_all_of_it() {
    let setup = Setup::new();
    let mut pair = setup.connect();
    let seen = Arc::new(Mutex::new(Vec::new()));
    pair.client.write_all(b"PUB a 5\r\nhe").unwrap();
    setup.proxy.filter_up({
        let seen = Arc::clone(&seen);
        move |verb, frame| {
            seen.lock().unwrap().push((verb, text(frame)));
            Action::Pass
        }
    });
    pair.client.write_all(b"llo\r\nPING\r\n").unwrap();
    assert_eq!(text(&take(&mut pair.server, 22)), "PUB a 5\r\nhello\r\nPING\r\n");
    assert_eq!(*seen.lock().unwrap(), [(Verb::Pub, "PUB a 5\r\nhello\r\n".to_owned()), (Verb::Ping, "PING\r\n".to_owned())]);
}

#[test]
fn each_of_many_frames_is_seen_once_and_passed() {
    const FRAMES: usize = 100_000;
    let setup = Setup::new();
    let mut pair = setup.connect();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    setup.proxy.filter_up(choose::publishes(
        move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        },
        |_| Action::Drop,
    ));
    let frame = format!("HPUB orders.created inbox.000000000000001 45 145\r\nNATS/1.0\r\nNats-Msg-Id: 000000000000000001\r\n\r\n{}\r\n", "x".repeat(100));
    let sent = frame.repeat(FRAMES);
    std::thread::scope(|scope| {
        scope.spawn(|| pair.client.write_all(sent.as_bytes()).unwrap());
        assert!(take(&mut pair.server, sent.len()) == sent.as_bytes());
    });
    assert_eq!(seen.load(Ordering::Relaxed), FRAMES);
}

#[test]
fn each_direction_is_held_on_its_own() {
    let setup = Setup::new();
    let mut pair = setup.connect();
    setup.proxy.hold_publishes();
    pair.client.write_all(b"PUB a 0\r\n\r\n").unwrap();
    pair.down(b"PING\r\n");
    assert!(quiet(&mut pair.server));
    setup.proxy.hold_replies();
    assert_eq!(text(&take(&mut pair.server, 11)), "PUB a 0\r\n\r\n");
    pair.server.write_all(b"+OK\r\n").unwrap();
    pair.up(b"PONG\r\n");
    assert!(quiet(&mut pair.client));
    setup.proxy.resume();
    assert_eq!(text(&take(&mut pair.client, 5)), "+OK\r\n");
}

#[test]
fn a_black_hole_swallows_whole_frames_and_even_an_end() {
    let setup = Setup::new();
    let mut pair = setup.connect();
    setup.proxy.discard();
    pair.client.write_all(b"PUB a 0\r\n\r\nPUB b 5\r\nhe").unwrap();
    pair.server.write_all(b"+OK\r\n").unwrap();
    wait_for("11 bytes up and 5 down to vanish", PATIENCE, || (setup.proxy.discarded() == 16).then_some(()));
    setup.proxy.resume();
    pair.client.write_all(b"llo\r\n").unwrap();
    assert_eq!(text(&take(&mut pair.server, 16)), "PUB b 5\r\nhello\r\n", "it was not whole, so it did not vanish");
    pair.down(b"PING\r\n");

    setup.proxy.discard();
    drop(pair.server);
    assert!(quiet(&mut pair.client));
    setup.proxy.resume();
    assert_eq!(to_the_end(&mut pair.client), (String::new(), true));
}

#[test]
fn a_drip_is_slow_and_complete() {
    let setup = Setup::new();
    let mut pair = setup.connect();
    setup.proxy.link(Link { bytes_per_second: Some(100), slice: Some(1), ..Link::default() });
    let start = Instant::now();
    pair.up(b"PUB a 21\r\n123456789012345678901\r\n");
    // 33 bytes are due at 10 ms each; the first waits for nothing, and 20 ms are credit.
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    setup.proxy.link(Link::default());
    pair.down(&b"+OK\r\n".repeat(1_000));
}

#[test]
fn a_slow_link_makes_its_sender_wait() {
    const MUCH: usize = 64 << 20;
    let setup = Setup::new();
    let mut pair = setup.connect();
    setup.proxy.link(Link { bytes_per_second: Some(1_000), ..Link::default() });
    pair.client.set_write_timeout(Some(QUIET)).unwrap();
    let frame = [b"PUB a 65524\r\n".as_slice(), &[b'x'; 65_524], b"\r\n"].concat();
    let mut written = 0;
    let error = loop {
        match pair.client.write(&frame[written % frame.len()..]) {
            Ok(count) => written += count,
            Err(error) => break error,
        }
        assert!(written < MUCH, "all of it went on");
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    // What was under way goes on when the link is good again.
    setup.proxy.link(Link::default());
    let whole = written - written % frame.len();
    assert!(take(&mut pair.server, whole) == frame.repeat(whole / frame.len()));
}

#[test]
fn a_delay_keeps_the_order_also_when_it_ends() {
    let setup = Setup::new();
    let mut pair = setup.connect();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    setup.proxy.filter_up(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        Action::Pass
    });
    setup.proxy.link(Link { delay: QUIET, ..Link::default() });
    let start = Instant::now();
    pair.up(b"PING\r\n");
    pair.down(b"PONG\r\n");
    assert!(start.elapsed() >= 2 * QUIET, "{:?}", start.elapsed());
    pair.client.write_all(b"PUB a 0\r\n\r\n").unwrap();
    wait_for("the first to be under way", PATIENCE, || (seen.load(Ordering::Relaxed) == 2).then_some(()));
    setup.proxy.link(Link::default());
    pair.client.write_all(b"PUB b 0\r\n\r\n").unwrap();
    assert_eq!(text(&take(&mut pair.server, 22)), "PUB a 0\r\n\r\nPUB b 0\r\n\r\n");
}

#[test]
#[should_panic(expected = "allowed: 1 or more")]
fn a_link_without_a_rate_is_a_hold() {
    Setup::new().proxy.link(Link { bytes_per_second: Some(0), ..Link::default() });
}

#[test]
fn what_is_injected_comes_between_two_frames_to_every_client() {
    let setup = Setup::new();
    let (mut one, mut two) = (setup.connect(), setup.connect());
    one.server.write_all(b"MSG a 1 5\r\nhe").unwrap();
    setup.proxy.inject(b"-ERR 'x'\r\n");
    one.server.write_all(b"llo\r\n").unwrap();
    assert_eq!(text(&take(&mut one.client, 28)), "-ERR 'x'\r\nMSG a 1 5\r\nhello\r\n");
    assert_eq!(text(&take(&mut two.client, 10)), "-ERR 'x'\r\n");
    setup.proxy.hold_replies();
    setup.proxy.inject(b"+OK\r\n");
    assert!(quiet(&mut two.client));
    setup.proxy.resume();
    assert_eq!(text(&take(&mut two.client, 5)), "+OK\r\n");
}

#[test]
fn the_bytes_of_a_client_that_is_gone_are_lost_or_kept() {
    let frame = [b"PUB a 10000\r\n".as_slice(), &[b'x'; 10_000], b"\r\n"].concat();
    let setup = Setup::new();
    for keep in [false, true] {
        setup.proxy.keep_bytes(keep);
        let mut pair = setup.connect();
        setup.proxy.hold();
        pair.client.write_all(&frame).unwrap();
        abort(pair.client);
        assert!(quiet(&mut pair.server));
        setup.proxy.resume();
        let expected = if keep { (text(&frame), true) } else { (String::new(), false) };
        assert_eq!(to_the_end(&mut pair.server), expected, "keep {keep}");
    }

    // A farewell is none that takes bytes with it, whatever is set; and words to a client that is gone do no harm to what is kept of it.
    setup.proxy.keep_bytes(false);
    let mut pair = setup.connect();
    setup.proxy.hold();
    pair.client.write_all(&frame).unwrap();
    pair.client.shutdown(Shutdown::Write).unwrap();
    setup.proxy.resume();
    assert_eq!(to_the_end(&mut pair.server), (text(&frame), true));

    setup.proxy.keep_bytes(true);
    let mut pair = setup.connect();
    setup.proxy.hold_publishes();
    pair.client.write_all(&frame).unwrap();
    abort(pair.client);
    pair.server.write_all(b"PING\r\n").unwrap();
    assert!(quiet(&mut pair.server));
    pair.server.write_all(b"PING\r\n").unwrap();
    setup.proxy.resume();
    assert_eq!(to_the_end(&mut pair.server), (text(&frame), true));
}

#[test]
fn a_silent_door_opens_and_says_nothing() {
    let setup = Setup::new();
    setup.proxy.accept_silently(true);
    let mut silent = connect(&setup.proxy);
    wait_for("the connection", PATIENCE, || (setup.proxy.connections() == 1).then_some(()));
    setup.proxy.accept_silently(false);
    silent.write_all(b"PING\r\n").unwrap();
    setup.connect();
    assert!(quiet(&mut silent), "those that came before stay silent");
    setup.proxy.reset();
    assert_eq!(to_the_end(&mut silent), (String::new(), false));
    assert_eq!(setup.proxy.connections(), 2);
}

#[test]
fn new_connections_can_go_elsewhere() {
    let setup = Setup::new();
    let mut first = setup.connect();
    let other = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    setup.proxy.retarget(other.local_addr().unwrap());
    Pair { client: connect(&setup.proxy), server: accept(&other) }.up(b"PING\r\n");
    first.up(b"PING\r\n");
}
