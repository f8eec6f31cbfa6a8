//! Nothing goes wrong: the stream holds what was published, once and in order.

use std::time::Duration;

use ackbus::{Handlers, Message, Persistence, Publisher, Status};
use ackbus_test_support::{Reader, Server, StreamConfig};

use crate::common::{Bus, PATIENCE, Seen, config};

#[test]
fn a_hundred_thousand_messages_are_the_stream() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[("max_pending", "4096")], &[]);
    bus.series("orders.created", 100_000);
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    let sequences: Vec<u64> = stored.iter().map(|message| message.seq).collect();
    assert_eq!(sequences, (1..=100_000).collect::<Vec<_>>());
    assert_eq!((books.stats.attempts, books.stats.resent, books.stats.duplicates, books.stats.alien_replies), (100_000, 0, 0, 0), "{:?}", books.stats);
}

#[test]
fn each_thread_keeps_its_order_through_a_small_window() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[("max_pending", "64")], &[("orders.>", "stream", "ORDERS")]);
    let topics = ["orders.a", "orders.b", "orders.c", "orders.d"];
    std::thread::scope(|scope| {
        for topic in topics {
            scope.spawn(|| bus.series(topic, 5_000));
        }
    });
    let books = bus.finish();
    books.all_persisted();
    // Ids are in wire order over all threads, so one order holds for all of them.
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    assert_eq!(books.stats.pending_max, 64, "the window was used, and no more");
}

#[test]
fn everything_a_message_may_have_is_stored() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[], &[]);
    let headers = [("Content-Type", "text/plain"), ("Trace", "a b: c"), ("Trace", "d")];
    let first = bus
        .send(&Message {
            headers: &headers,
            msg_id: Some("first-1"),
            expected_stream: Some("ORDERS"),
            expected_last_seq: Some(0),
            ..Message::new("orders.a", b"\0\r\n\xff")
        })
        .unwrap();
    // The second expects the first to be there, so that must be.
    bus.report(first);
    let second = bus.send(&Message { expected_last_msg_id: Some("first-1"), expected_last_subject_seq: Some(1), ..Message::new("orders.a", b"") }).unwrap();
    let books = bus.finish();
    books.persisted(&[first, second]);
    let stored = books.compare(&reader, &["ORDERS"]);
    let values = |name: &str| stored[0].headers.get_all(name).map(|value| value.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!((values("Content-Type"), values("Trace")), (vec!["text/plain".to_owned()], vec!["a b: c".to_owned(), "d".to_owned()]));
    assert_eq!(stored[0].msg_id.as_deref(), Some("first-1"));
    assert_eq!(stored[1].msg_id.as_deref(), Some(books.reports[&second].msg_id.as_str()), "the automatic id is the one reported");
}

/// Servers before 2.11 ignore a time to live, and would keep the message for ever.
#[test]
fn a_time_to_live_that_the_server_cannot_keep_is_refused() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let can = Server::is_at_least(2, 11);
    if can {
        reader.create_stream_with(StreamConfig { name: "SHORT".into(), subjects: vec!["short.>".into()], allow_message_ttl: true, ..Default::default() });
    } else {
        reader.create_stream("SHORT", &["short.>"]);
    }
    let bus = Bus::connect(&server.url(), &[], &[]);
    let lived = bus.send(&Message { ttl: Some(Duration::from_secs(3600)), ..Message::new("short.lived", b"an hour") }).unwrap();
    let kept = bus.publish("short.kept", "for ever");
    let books = bus.finish();
    books.persisted(&[kept]);
    if can {
        books.persisted(&[lived]);
    } else {
        books.ended(&[lived], (Status::Rejected, Persistence::NotPersisted, 0));
        let text = &books.reports[&lived].text;
        assert!(text.contains("ttl needs nats-server 2.11") && books.reports[&lived].attempts == 0, "{text}");
    }
    books.compare(&reader, &["SHORT"]);
}

#[test]
fn without_ids_each_message_is_stored_once() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[("msg_id", "none")], &[]);
    bus.series("orders.created", 1_000);
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
    assert!(stored.iter().all(|message| message.msg_id.is_none() && message.headers.is_empty()), "nothing was added");
}

#[test]
fn one_thread_publishes_and_polls() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let config = config(&server.url(), &[("max_pending", "64"), ("on_full", "fail")], &[]);
    let publisher = Publisher::connect(&config, Handlers::default()).unwrap();
    let mut reports: Vec<Seen> = Vec::new();
    let mut ids = Vec::new();
    while ids.len() < 5_000 {
        match publisher.publish("orders.created", format!("message {}", ids.len()).as_bytes(), 0) {
            Ok(id) => ids.push(id),
            Err(error) => {
                assert_eq!(error.status(), Status::QueueFull, "{error}");
                reports.extend(publisher.poll(64, Some(PATIENCE)).unwrap().iter().map(|report| Seen::of(&report)));
            }
        }
    }
    publisher.flush(Some(PATIENCE)).unwrap();
    publisher.close(Some(PATIENCE)).unwrap();
    // Closed, and what was not taken is still there (P6).
    loop {
        match publisher.poll(64, Some(Duration::ZERO)) {
            Ok(batch) => reports.extend(batch.iter().map(|report| Seen::of(&report))),
            Err(error) => break assert_eq!(error.status(), Status::Closed, "{error}"),
        }
    }
    let stored = reader.read_all("ORDERS");
    assert_eq!((reports.len(), stored.len()), (5_000, 5_000));
    for (n, ((seen, message), id)) in reports.iter().zip(&stored).zip(&ids).enumerate() {
        assert_eq!((seen.id, seen.persistence, seen.seq), (*id, Persistence::Persisted, message.seq), "{seen:?}");
        assert_eq!((&seen.payload, &message.payload), (&format!("message {n}").into_bytes(), &seen.payload));
    }
    let stats = publisher.stats();
    assert_eq!((stats.accepted, stats.published, stats.publish_errors, stats.pending, stats.pending_bytes), (5_000, 5_000, 0, 0, 0), "{stats:?}");
}

#[test]
fn a_waiting_publish_gets_its_own_report() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let publisher = Publisher::connect(&config(&server.url(), &[], &[]), Handlers::default()).unwrap();
    let reports = publisher.publish_wait(&Message::new("orders.a", b"waited for"), Some(PATIENCE)).unwrap();
    let seen = Seen::of(&reports.get(0).unwrap());
    assert_eq!((reports.len(), seen.verdict(), seen.seq, seen.stream.as_str()), (1, (Status::Ok, Persistence::Persisted, 0), 1, "ORDERS"));
    let ticket = publisher.submit(&Message::new("orders.a", b"by ticket")).unwrap();
    assert_eq!(ticket.wait(Some(PATIENCE)).unwrap().get(0).unwrap().stream_seq(), 2);
    drop(reports);
    publisher.close(Some(PATIENCE)).unwrap();
    assert_eq!(publisher.poll(1, Some(Duration::ZERO)).unwrap_err().status(), Status::Closed, "nobody else gets them");
    let payloads: Vec<Vec<u8>> = reader.read_all("ORDERS").into_iter().map(|message| message.payload).collect();
    assert_eq!(payloads, [b"waited for".to_vec(), b"by ticket".to_vec()]);
}
