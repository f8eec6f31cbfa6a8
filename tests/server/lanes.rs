//! Several connections (`connections`): one publisher all the same. Each topic keeps its connection and its order; window, flush, purge, close and state are one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use ackbus::{EventKind, Handlers, Message, Persistence, Publisher, Purge, Report, Sink, State, Status};
use ackbus_test_support::{Action, Proxy, Reader, Server, StoredMsg, choose, wait_for};

use crate::common::{Books, Bus, Options, PATIENCE, config};

const FOUR: (&str, &str) = ("connections", "4");
const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");
const PATIENT: (&str, &str) = ("ack_wait_ms", "60000");

fn topics(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("orders.{n}")).collect()
}

/// A server with a stream, and a proxy before it.
struct Setup {
    server: Server,
    reader: Reader,
    proxy: Proxy,
}

impl Setup {
    fn new() -> Self {
        let server = Server::start();
        let reader = Reader::connect(&server.url());
        reader.create_stream("ORDERS", &["orders.>"]);
        let proxy = Proxy::start(server.address());
        Setup { server, reader, proxy }
    }

    fn connect(&self, options: Options<'_>) -> Bus {
        Bus::connect(&self.proxy.url(), options, &[])
    }

    /// The next publish to this topic resets the connection that it comes by.
    fn cut(&self, topic: &str) {
        let (topic, mut cut) = (topic.to_owned(), false);
        self.proxy.filter_up(move |_, frame| {
            if !cut && choose::subject(frame) == Some(&*topic) {
                cut = true;
                return Action::Reset;
            }
            Action::Pass
        });
    }
}

/// Which topics go by one connection: those whose acks come to one inbox. Publishes one message to each; they are all settled when it returns.
fn lanes(setup: &Setup, bus: &Bus, topics: &[String]) -> Vec<Vec<String>> {
    let seen: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>> = Arc::default();
    let for_filter = Arc::clone(&seen);
    setup.proxy.filter_up(move |_, frame| {
        if let Some(topic) = choose::subject(frame).filter(|topic| topic.starts_with("orders.")) {
            let (inbox, _) = choose::reply_subject(frame).unwrap().rsplit_once('.').unwrap();
            for_filter.lock().unwrap().entry(inbox.to_owned()).or_default().insert(topic.to_owned());
        }
        Action::Pass
    });
    for topic in topics {
        bus.publish(topic, format!("first to {topic}"));
    }
    bus.publisher().flush(Some(PATIENCE)).unwrap();
    setup.proxy.no_filter_up();
    let mut lanes: Vec<Vec<String>> = seen.lock().unwrap().values().map(|lane| lane.iter().cloned().collect()).collect();
    // Inboxes are drawn, topics are not: the same order each time.
    lanes.sort();
    assert_eq!(lanes.iter().map(Vec::len).sum::<usize>(), topics.len(), "each topic has one connection: {lanes:?}");
    lanes
}

/// Publishes `rounds` messages to each topic, to one after the other.
fn in_turn(bus: &Bus, topics: &[String], rounds: u64) {
    for n in 0..rounds {
        for topic in topics {
            bus.publish(topic, format!("{n} to {topic}"));
        }
    }
}

/// P10, topic by topic.
fn each_topic_in_order(books: &Books, stored: &[StoredMsg]) {
    let mut topics: BTreeMap<&str, Vec<StoredMsg>> = BTreeMap::new();
    for message in stored {
        topics.entry(&message.subject).or_default().push(message.clone());
    }
    for stored in topics.values() {
        books.in_order(stored);
    }
}

#[test]
fn topics_keep_their_order_over_connections_that_break() {
    let setup = Setup::new();
    let bus = setup.connect(&[FOUR, ("max_pending", "512")]);
    let topics = topics(16);
    assert_eq!(lanes(&setup, &bus, &topics).len(), 4, "16 topics use all connections");
    // Single connections break, and all at once, in turn.
    std::thread::scope(|scope| {
        for half in topics.chunks(8) {
            let bus = &bus;
            scope.spawn(move || in_turn(bus, half, 2_000));
        }
        for (round, topic) in (1..).zip(&topics[..8]) {
            bus.reported(16 + round * 3_000);
            if round % 2 == 0 {
                setup.proxy.reset();
                bus.events(EventKind::Reconnected, round / 2 * 5);
            } else {
                setup.cut(topic);
                bus.publish(topic, format!("comes, should the others be done: {round}"));
                bus.events(EventKind::Reconnected, round / 2 * 5 + 1);
            }
        }
    });
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&setup.reader, &["ORDERS"]);
    assert_eq!(stored.len(), 16 + 32_000 + 4);
    each_topic_in_order(&books, &stored);
    assert_eq!(books.stats.reconnects, 20, "four times all four, four times one");
    assert_eq!(books.events.iter().filter(|event| event.kind == EventKind::Connected).count(), 4);
    assert!(books.events.iter().filter(|e| e.kind == EventKind::Reconnected).all(|e| e.text.starts_with("connection ") && e.text.contains(" of 4: ")));
}

#[test]
fn a_killed_server_comes_back_for_all_connections() {
    let setup = Setup::new();
    let bus = Bus::connect(&setup.server.url(), &[FOUR, ("max_pending", "1024")], &[("orders.>", "stream", "ORDERS")]);
    let topics = topics(8);
    std::thread::scope(|scope| {
        scope.spawn(|| in_turn(&bus, &topics, 3_000));
        for round in 1..=2 {
            bus.reported(round * 8_000);
            setup.server.kill();
            bus.events(EventKind::Disconnected, round * 4);
            assert_eq!(bus.publisher().info().state, State::Reconnecting);
            setup.server.restart();
            bus.events(EventKind::Reconnected, round * 4);
        }
    });
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(&setup.reader, &["ORDERS"]);
    assert_eq!(stored.len(), 24_000);
    each_topic_in_order(&books, &stored);
    assert_eq!(books.stats.reconnects, 8);
}

/// A publisher of four connections of which one was lost and cannot come back.
struct Lame {
    setup: Setup,
    bus: Bus,
    /// Settled when this was made.
    first: usize,
    /// Topics of the lost connection, and of each other one.
    lost: Vec<String>,
    others: Vec<Vec<String>>,
    /// The messages that wait for the lost connection.
    stuck: Vec<u64>,
}

impl Lame {
    fn new(options: Options<'_>) -> Self {
        let setup = Setup::new();
        let bus = setup.connect(&[&[FOUR, NEVER], options].concat());
        let mut others = lanes(&setup, &bus, &topics(24));
        assert_eq!(others.len(), 4);
        let lost = others.remove(1);
        setup.proxy.refuse();
        setup.cut(&lost[0]);
        let stuck = vec![bus.publish(&lost[0], "ends its connection")];
        bus.event(EventKind::Disconnected);
        setup.proxy.no_filter_up();
        assert_eq!(bus.publisher().info().state, State::Reconnecting);
        Lame { setup, bus, first: 24, lost, others, stuck }
    }

    /// Ten messages for the lost connection.
    fn stick(&mut self) {
        let lost = self.lost.clone();
        self.stuck.extend((0..10).map(|n| self.bus.publish(&lost[n % lost.len()], format!("stuck {n}"))));
    }

    /// One message for each other connection; all are stored.
    fn pass(&self, what: &str) -> Vec<u64> {
        let ids: Vec<u64> = self.others.iter().map(|lane| self.bus.publish(&lane[0], format!("{what} to {}", lane[0]))).collect();
        ids.iter().for_each(|&id| assert!(self.bus.report(id).is_persisted()));
        ids
    }
}

#[test]
fn a_lost_connection_holds_up_its_own_topics_alone() {
    let mut lame = Lame::new(&[]);
    lame.stick();
    let passed = lame.pass("beside");
    assert_eq!(lame.bus.publisher().pending(), 11);
    let late = lame.bus.publisher().flush(Some(Duration::from_millis(200))).unwrap_err();
    assert_eq!((late.status(), late.message()), (Status::TimedOut, "11 messages are still pending"), "P6: flush waits for all connections");
    lame.setup.proxy.accept();
    lame.bus.publisher().flush(Some(PATIENCE)).unwrap();
    assert_eq!((lame.bus.publisher().pending(), lame.bus.publisher().info().state), (0, State::Connected));
    let Lame { setup, bus, stuck, .. } = lame;
    let books = bus.finish();
    books.all_persisted();
    assert_eq!(books.of(&stuck).chain(books.of(&passed)).count(), 14);
    let stored = books.compare(&setup.reader, &["ORDERS"]);
    each_topic_in_order(&books, &stored);
}

#[test]
fn purge_counts_over_all_connections() {
    let mut lame = Lame::new(&[PATIENT]);
    lame.stick();
    // On the way by the other connections: stored, and their acks held.
    lame.setup.proxy.hold_replies();
    let in_flight: Vec<u64> = lame.others.iter().map(|lane| lame.bus.publish(&lane[0], format!("held {}", lane[0]))).collect();
    let all = lame.first as u64 + 3;
    wait_for("three more messages in the stream", PATIENCE, || (lame.setup.reader.message_count("ORDERS") == all).then_some(()));
    assert_eq!(lame.bus.publisher().purge(Purge { unsent: false, in_flight: true }).unwrap(), 3);
    assert_eq!(lame.bus.publisher().purge(Purge { unsent: true, in_flight: true }).unwrap(), 11);
    assert_eq!(lame.bus.publisher().pending(), 0);
    lame.setup.proxy.resume();
    lame.setup.proxy.accept();
    lame.bus.publisher().wait_connected(Some(PATIENCE)).unwrap();
    let Lame { setup, bus, stuck, .. } = lame;
    let books = bus.finish();
    books.ended(&in_flight, (Status::Purged, Persistence::PossiblyPersisted, 0));
    // The first was out when its connection went.
    assert!(books.of(&stuck).all(|seen| seen.status == Status::Purged));
    books.ended(&stuck[1..], (Status::Purged, Persistence::NotPersisted, 0));
    books.compare(&setup.reader, &["ORDERS"]);
}

#[test]
fn close_waits_for_all_connections_up_to_its_time() {
    let mut lame = Lame::new(&[]);
    lame.stick();
    let passed = lame.pass("before the end");
    let Lame { setup, bus, stuck, .. } = lame;
    let begin = Instant::now();
    let books = bus.close(Duration::from_millis(500));
    assert!(begin.elapsed() >= Duration::from_millis(500), "P6: the time was there for the lost connection's messages");
    assert!(begin.elapsed() < Duration::from_secs(5));
    books.persisted(&passed);
    assert!(books.of(&stuck).all(|seen| seen.status == Status::Closed));
    let closed = books.events.iter().filter(|event| event.kind == EventKind::Closed).count();
    assert_eq!((closed, books.events.last().map(|event| event.kind)), (1, Some(EventKind::Closed)), "one last event");
    books.compare(&setup.reader, &["ORDERS"]);
}

#[test]
fn a_connection_that_is_given_up_ends_the_publisher() {
    let setup = Setup::new();
    // Silence ends no connection: the others learn of the failure from the one that was given up.
    let bus = setup.connect(&[FOUR, NEVER, PATIENT, ("max_reconnects", "3"), ("ping_interval_ms", "3600000")]);
    let lanes = lanes(&setup, &bus, &topics(24));
    setup.proxy.hold_replies();
    let held: Vec<u64> = lanes[1..].iter().map(|lane| bus.publish(&lane[0], format!("held {}", lane[0]))).collect();
    wait_for("three more messages in the stream", PATIENCE, || (setup.reader.message_count("ORDERS") == 27).then_some(()));
    setup.proxy.refuse();
    setup.cut(&lanes[0][0]);
    let cut = bus.publish(&lanes[0][0], "ends its connection");
    let failed = bus.event(EventKind::Failed);
    assert_eq!(failed.status, Status::ConnectFailed, "{failed:?}");
    bus.reported(28);
    assert_eq!(bus.publisher().info().state, State::Failed);
    for lane in &lanes {
        assert_eq!(bus.send(&Message::new(&lane[0], b"too late")).unwrap_err().status(), Status::Failed);
    }
    let books = bus.finish();
    books.ended(&[held, vec![cut]].concat(), (Status::ConnectFailed, Persistence::PossiblyPersisted, 0));
    let told = |kind| books.events.iter().filter(|event| event.kind == kind).count();
    assert_eq!((told(EventKind::Failed), told(EventKind::Closed)), (1, 1), "{:#?}", books.events);
    books.compare(&setup.reader, &["ORDERS"]);
}

#[test]
fn on_disconnect_fail_refuses_the_topics_of_the_lost_connection_alone() {
    let lame = Lame::new(&[("on_disconnect", "fail")]);
    let refused = lame.bus.send(&Message::new(&lame.lost[0], b"refused")).unwrap_err();
    assert_eq!(refused.status(), Status::Disconnected, "{refused}");
    let passed = lame.pass("beside");
    lame.setup.proxy.accept();
    lame.bus.publisher().wait_connected(Some(PATIENCE)).unwrap();
    let last = lame.bus.publish(&lame.lost[0], "back again");
    let Lame { setup, bus, stuck, .. } = lame;
    let books = bus.finish();
    books.all_persisted();
    assert_eq!(books.of(&[passed, stuck, vec![last]].concat()).count(), 5);
    books.compare(&setup.reader, &["ORDERS"]);
}

#[test]
fn the_window_is_one_for_all_connections() {
    let setup = Setup::new();
    let bus = setup.connect(&[FOUR, NEVER, PATIENT, ("max_pending", "8"), ("on_full", "fail")]);
    let topics = topics(24);
    let lanes = {
        // One at a time: the window is small.
        let mut all = Vec::new();
        for chunk in topics.chunks(8) {
            all.extend(self::lanes(&setup, &bus, chunk));
        }
        all
    };
    assert!(lanes.len() >= 4);
    setup.proxy.hold_replies();
    let accepted = (0..).map_while(|n| bus.send(&Message::new(&topics[n % 24], format!("held {n}").as_bytes())).ok()).count();
    assert_eq!((accepted, bus.publisher().pending()), (8, 8), "P3: max_pending is for all of them together");
    setup.proxy.resume();
    let books = bus.finish();
    books.all_persisted();
    assert_eq!(books.stats.pending_max, 8);
    books.compare(&setup.reader, &["ORDERS"]);
}

#[test]
fn a_batch_takes_all_its_connections() {
    let setup = Setup::new();
    let bus = Publisher::connect(&config(&setup.proxy.url(), &[FOUR, ("report", "none"), ("max_pending", "100")], &[]), Handlers::default()).unwrap();
    let topics = topics(24);
    let payloads: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    // Short runs to one connection, then long ones.
    let topic = |n: usize| &topics[if n < 2_500 { n % 24 } else { n / 200 % 24 }];
    let mut ids = BTreeSet::new();
    let messages = payloads.iter().enumerate().map(|(n, payload)| Ok(Message::new(topic(n), payload.as_bytes())));
    bus.publish_batch(messages, |id| assert!(ids.insert(id), "id {id} was given twice")).unwrap();
    bus.close(Some(PATIENCE)).unwrap();
    let stats = bus.stats();
    assert_eq!((ids.len(), stats.accepted, stats.published), (5_000, 5_000, 5_000), "{stats:?}");
    assert!(stats.pending_max <= 100, "P3: {stats:?}");
    let mut stored: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for message in setup.reader.read_all("ORDERS") {
        stored.entry(message.subject).or_default().push(std::str::from_utf8(&message.payload).unwrap().parse().unwrap());
    }
    for (name, order) in stored {
        let published: Vec<usize> = (0..5_000).filter(|&n| *topic(n) == name).collect();
        assert_eq!(order, published, "P10: {name}");
    }
}

#[test]
fn connect_needs_every_connection() {
    let server = Server::options().config("max_connections: 3").start();
    let refused = Bus::refused(&server.url(), &[FOUR], &[]);
    assert!(refused.message().contains("maximum connections exceeded"), "{refused}");
    wait_for("the end of the three that were let in", PATIENCE, || {
        let page = server.monitor("/connz").ok()?;
        page["connections"].as_array()?.is_empty().then_some(())
    });
    let bus = Bus::connect(&server.url(), &[("connections", "3")], &[]);
    assert_eq!((bus.publisher().info().state, bus.publisher().info().last_error.map(|error| error.status())), (State::Connected, None));
    bus.finish();
}

/// Publishes each message that failed once more, to the topic of its dead letters.
#[derive(Default)]
struct DeadLetters {
    bus: OnceLock<Weak<Publisher>>,
    refused: Mutex<Vec<String>>,
}

impl Sink for DeadLetters {
    fn reports(&self, reports: &[Report<'_>]) {
        let bus = self.bus.get().and_then(Weak::upgrade).expect("a publisher");
        for report in reports {
            let topic = report.topic().replace("orders.", "dead.");
            if let Err(error) = bus.publish(&topic, report.payload(), report.tag()) {
                self.refused.lock().unwrap().push(error.to_string());
            }
        }
    }
}

#[test]
fn a_callback_publishes_over_any_connection_while_the_window_is_full() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    reader.create_stream("DEAD", &["dead.>"]);
    let sink = Arc::new(DeadLetters::default());
    let mut config = config(&server.url(), &[FOUR, NEVER, ("max_pending", "3")], &[]);
    config.set("report", "failures").unwrap();
    let bus = Arc::new(Publisher::connect(&config, Handlers { reports: Some(sink.clone()), events: None }).unwrap());
    sink.bus.set(Arc::downgrade(&bus)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let bus = &bus;
            scope.spawn(move || {
                for n in 0..250 {
                    let topic = format!("orders.{thread}.{}", n % 10);
                    // The stream refuses it: its last sequence is never the highest number there is.
                    let message = Message { expected_last_seq: Some(u64::MAX), tag: n, ..Message::new(&topic, b"refused") };
                    bus.publish_message(&message).unwrap();
                }
            });
        }
    });
    // The first ends behind the callbacks, the second behind what those published.
    (0..2).for_each(|_| bus.flush(Some(PATIENCE)).unwrap());
    assert_eq!(*sink.refused.lock().unwrap(), Vec::<String>::new(), "P3: a callback's places are its own, whichever connection its messages take");
    let stats = bus.stats();
    assert_eq!((stats.publish_errors, stats.published, stats.pending_max), (1_000, 1_000, 3), "{stats:?}");
    assert_eq!((reader.message_count("ORDERS"), reader.message_count("DEAD")), (0, 1_000));
    bus.close(Some(PATIENCE)).unwrap();
}
