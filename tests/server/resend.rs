//! Messages whose acknowledgement got lost, and ids and expectations that meet a stream which has the message already.

use std::time::Duration;

use ackbus::{Message, Persistence, Status};
use ackbus_test_support::{Action, Proxy, Reader, Server, StreamConfig, Verb};

use crate::common::Bus;

/// Whether this is the acknowledgement with this sequence.
fn acks(verb: Verb, frame: &[u8], seq: u64) -> bool {
    let text = String::from_utf8_lossy(frame);
    verb == Verb::Msg && [format!("\"seq\":{seq}}}"), format!("\"seq\":{seq},")].iter().any(|end| text.contains(end))
}

/// Loses the first acknowledgement of each of these sequences.
fn lose_acks(proxy: &Proxy, sequences: &[u64]) {
    let mut left = sequences.to_vec();
    proxy.filter(move |verb, frame| match left.iter().position(|&seq| acks(verb, frame, seq)) {
        Some(found) => {
            left.swap_remove(found);
            Action::Drop
        }
        None => Action::Pass,
    });
}

#[test]
fn a_lost_ack_costs_one_attempt_and_no_copy() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    lose_acks(&proxy, &[1, 7, 50, 100]);
    let bus = Bus::connect(&proxy.url(), &[("ack_wait_ms", "200")], &[]);
    let ids = bus.series("orders.created", 100);
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    let twice: Vec<u64> = books.of(&ids).filter(|seen| seen.attempts > 1).map(|seen| seen.seq).collect();
    assert_eq!(twice, [1, 7, 50, 100]);
    assert!(books.of(&ids).all(|seen| seen.attempts <= 2 && !seen.is_duplicate()), "a resend is no duplicate of the caller's");
    assert_eq!((books.stats.ack_timeouts, books.stats.resent, books.stats.duplicates), (4, 4, 4), "{:?}", books.stats);
}

#[test]
fn late_and_double_acks_change_nothing() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    proxy.filter(|verb, frame| if acks(verb, frame, 3) || acks(verb, frame, 5) { Action::Duplicate } else { Action::Pass });
    let bus = Bus::connect(&proxy.url(), &[], &[]);
    bus.series("orders.created", 100);
    let books = bus.finish();
    books.all_persisted();
    books.compare(&reader, &["ORDERS"]);
    assert_eq!((books.stats.late_acks, books.stats.duplicates), (2, 0), "{:?}", books.stats);
}

#[test]
fn replies_that_are_no_acks_count_as_silence() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    let mut first = true;
    // A foreign stream's ack, with the reply subject of ours.
    proxy.filter(move |verb, frame| {
        if !acks(verb, frame, 2) || !std::mem::take(&mut first) {
            return Action::Pass;
        }
        Action::Replace(String::from_utf8_lossy(frame).replace("ORDERS", "FORGED").into_bytes())
    });
    let bus = Bus::connect(&proxy.url(), &[("ack_wait_ms", "200")], &[("orders.>", "stream", "ORDERS")]);
    let ids = bus.series("orders.created", 3);
    let books = bus.finish();
    books.all_persisted();
    books.compare(&reader, &["ORDERS"]);
    assert_eq!(books.of(&ids).map(|seen| seen.attempts).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!(books.stats.alien_replies, 1, "{:?}", books.stats);
}

#[test]
fn a_message_without_an_id_is_not_sent_again() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    lose_acks(&proxy, &[2]);
    let bus = Bus::connect(&proxy.url(), &[("msg_id", "none"), ("ack_wait_ms", "200")], &[]);
    let ids = bus.series("orders.created", 3);
    let books = bus.finish();
    books.persisted(&[ids[0], ids[2]]);
    books.ended(&ids[1..2], (Status::AckTimeout, Persistence::PossiblyPersisted, 0));
    assert_eq!(books.reports[&ids[1]].attempts, 1);
    assert_eq!(books.compare(&reader, &["ORDERS"]).len(), 3, "it was stored, and nobody could say so");
}

/// P4: after the duplicate window the stream would not know the second copy.
#[test]
fn a_resend_that_could_store_a_second_copy_is_not_made() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let (subjects, duplicate_window) = (vec!["orders.>".into()], Duration::from_secs(1));
    reader.create_stream_with(StreamConfig { name: "ORDERS".into(), subjects, duplicate_window, ..Default::default() });
    let proxy = Proxy::start(server.address());
    lose_acks(&proxy, &[2]);
    // The first resend would be due 600 ms after the first attempt; the last time for one is 400 ms after it.
    let bus = Bus::connect(&proxy.url(), &[("ack_wait_ms", "600")], &[("orders.>", "stream", "ORDERS")]);
    let ids = bus.series("orders.created", 3);
    let books = bus.finish();
    books.persisted(&[ids[0], ids[2]]);
    books.ended(&ids[1..2], (Status::AckTimeout, Persistence::PossiblyPersisted, 0));
    let seen = &books.reports[&ids[1]];
    assert!(seen.attempts == 1 && seen.text.contains("second copy"), "{seen:?}");
    assert_eq!(books.compare(&reader, &["ORDERS"]).len(), 3);
}

#[test]
fn the_deadline_leaves_doubt_where_there_is_doubt() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    proxy.filter(|verb, frame| if acks(verb, frame, 1) { Action::Drop } else { Action::Pass });
    let bus = Bus::connect(&proxy.url(), &[("ack_wait_ms", "100"), ("delivery_timeout_ms", "1000")], &[]);
    let lost = bus.publish("orders.created", "the server's acks of this one never arrive");
    let seen = bus.report(lost);
    assert_eq!(seen.verdict(), (Status::AckTimeout, Persistence::PossiblyPersisted, 0), "{seen:?}");
    assert!(seen.attempts >= 2, "{seen:?}");
    let books = bus.finish();
    assert_eq!(books.compare(&reader, &["ORDERS"]).len(), 1);
}

#[test]
fn an_id_used_twice_is_flagged() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[], &[]);
    let send = |payload: &str| bus.send(&Message { msg_id: Some("order-17"), ..Message::new("orders.created", payload.as_bytes()) }).unwrap();
    let (first, second) = (send("first"), send("second"));
    let books = bus.finish();
    books.all_persisted();
    let flagged = |id| (books.reports[&id].is_duplicate(), books.reports[&id].seq, books.reports[&id].msg_id.as_str());
    assert_eq!((flagged(first), flagged(second)), ((false, 1, "order-17"), (true, 1, "order-17")));
    assert_eq!(books.stats.duplicates, 1);
    assert_eq!(books.compare(&reader, &["ORDERS"]).len(), 1);
}

#[test]
fn expectations_that_do_not_hold_are_refused() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[], &[]);
    let plain = Message::new("orders.created", b"stored");
    let stored = bus.send(&plain).unwrap();
    bus.report(stored);
    let wrong = [
        (Message { expected_last_seq: Some(9), payload: b"a", ..plain.clone() }, 10071),
        (Message { expected_last_seq: Some(0), payload: b"b", ..plain.clone() }, 10071),
        (Message { expected_last_subject_seq: Some(9), payload: b"c", ..plain.clone() }, 10071),
        (Message { expected_last_msg_id: Some("another"), payload: b"d", ..plain.clone() }, 10070),
        (Message { expected_stream: Some("OTHER"), payload: b"e", ..plain.clone() }, 10060),
    ];
    let sent: Vec<(u64, u32)> = wrong.iter().map(|(message, code)| (bus.send(message).unwrap(), *code)).collect();
    let right = bus.send(&Message { expected_last_seq: Some(1), expected_stream: Some("ORDERS"), payload: b"f", ..plain.clone() }).unwrap();
    let books = bus.finish();
    books.persisted(&[stored, right]);
    for (id, code) in sent {
        books.ended(&[id], (Status::WrongExpectation, Persistence::NotPersisted, code));
        assert_eq!(books.reports[&id].attempts, 1);
    }
    books.compare(&reader, &["ORDERS"]);
}

/// Servers from 2.12 on check expectations before ids: a resend of a stored message fails its own expectation. The refusal is about the resend alone.
#[test]
fn a_resend_that_meets_its_own_first_copy_stays_in_doubt() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    lose_acks(&proxy, &[1]);
    let bus = Bus::connect(&proxy.url(), &[("ack_wait_ms", "200")], &[]);
    let id = bus.send(&Message { expected_last_seq: Some(0), ..Message::new("orders.created", b"the first") }).unwrap();
    let books = bus.finish();
    if Server::is_at_least(2, 12) {
        books.ended(&[id], (Status::WrongExpectation, Persistence::PossiblyPersisted, 10071));
    } else {
        books.persisted(&[id]);
    }
    assert_eq!(books.reports[&id].attempts, 2);
    assert_eq!(books.compare(&reader, &["ORDERS"]).len(), 1, "and stored it is");
}

#[test]
fn as_many_attempts_as_allowed() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let proxy = Proxy::start(server.address());
    proxy.filter(|verb, frame| if acks(verb, frame, 1) { Action::Drop } else { Action::Pass });
    let bus = Bus::connect(&proxy.url(), &[("ack_wait_ms", "100"), ("max_attempts", "3")], &[]);
    let id = bus.publish("orders.created", "its acks never arrive");
    let books = bus.finish();
    books.ended(&[id], (Status::AckTimeout, Persistence::PossiblyPersisted, 0));
    assert_eq!(books.reports[&id].attempts, 3);
    assert_eq!(books.compare(&reader, &["ORDERS"]).len(), 1);
}
