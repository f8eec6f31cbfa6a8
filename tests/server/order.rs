//! `in_flight` and the order of what a stream stores (P10).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackbus_test_support::{Action, Proxy, Reader, Server, choose, wait_for};

use crate::common::{Bus, PATIENCE, Rules};

const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");
/// Nothing falls silent in the time of a test.
const PATIENT: &[(&str, &str)] = &[("ack_wait_ms", "600000"), NEVER];
const BUSY: &[u8] = br#"{"error":{"code":503,"err_code":10163,"description":"busy"},"stream":"S","seq":0}"#;

/// A server with two streams, and a proxy that counts publishes by their topics.
struct Setup {
    _server: Server,
    reader: Reader,
    proxy: Proxy,
    sent: Arc<Mutex<HashMap<String, usize>>>,
}

fn setup() -> Setup {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("S", &["a.>"]);
    reader.create_stream("T", &["b.>"]);
    reader.create_stream("MARKS", &["marks.>"]);
    let proxy = Proxy::start(server.address());
    let sent = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let count = Arc::clone(&sent);
    proxy.filter_up(move |_, frame| {
        if let Some(topic) = choose::subject(frame).filter(|_| choose::is_publish(frame)) {
            *count.lock().unwrap().entry(topic.to_owned()).or_default() += 1;
        }
        Action::Pass
    });
    Setup { _server: server, reader, proxy, sent }
}

impl Setup {
    fn sent(&self, topic: &str) -> usize {
        self.sent.lock().unwrap().get(topic).copied().unwrap_or(0)
    }

    /// From now on nothing is acknowledged, and frames are counted from zero.
    fn deaf(&self) {
        self.proxy.hold_replies();
        self.sent.lock().unwrap().clear();
    }

    /// How many frames of `topic` are out, once everything that may go has gone: a message to a topic without a limit goes behind them.
    fn out(&self, bus: &Bus, topic: &str) -> usize {
        let before = self.sent("marks.x");
        bus.series("marks.x", 1);
        wait_for("the mark", PATIENCE, || (self.sent("marks.x") > before).then_some(()));
        self.sent(topic)
    }
}

fn warm(bus: &Bus, topics: &[&str]) {
    for topic in topics {
        let first = bus.series(topic, 1)[0];
        assert!(bus.report(first).is_persisted());
    }
}

const LIMITED: Rules<'_> = &[("a.one", "stream", "S"), ("a.one", "in_flight", "1"), ("a.two", "stream", "S")];

#[test]
fn a_limit_counts_whoever_made_the_gate() {
    let setup = setup();
    for (first, then, limit) in [("a.one", "a.one", 1), ("a.two", "a.one", 1), ("a.two", "a.two", 10), ("a.one", "a.two", 10)] {
        let bus = Bus::connect(&setup.proxy.url(), PATIENT, LIMITED);
        warm(&bus, &[first, "marks.x"]);
        setup.deaf();
        bus.series(then, 10);
        assert_eq!(setup.out(&bus, then), limit, "first {first}, then ten to {then}");
        setup.proxy.resume();
        bus.finish().all_persisted();
    }
}

/// What is behind a message that waits for its limit waits with it, if it goes to the same stream: the order is the stream's.
#[test]
fn each_rule_of_a_stream_has_a_limit_of_its_own() {
    let rules = [("a.one", "stream", "S"), ("a.one", "in_flight", "2"), ("a.two", "stream", "S"), ("a.two", "in_flight", "3"), ("a.>", "stream", "S")];
    for (first, expected) in [("a.one", [2, 0]), ("a.two", [3, 0]), ("a.free", [10, 2])] {
        let setup = setup();
        let bus = Bus::connect(&setup.proxy.url(), PATIENT, &rules);
        warm(&bus, &["a.free", "a.two", "marks.x"]);
        setup.deaf();
        bus.series(first, 10);
        let second = if first == "a.one" { "a.two" } else { "a.one" };
        bus.series(second, 10);
        setup.out(&bus, first);
        assert_eq!([first, second].map(|topic| setup.sent(topic)), expected, "ten to {first}, then ten to {second}");
        setup.proxy.resume();
        let books = bus.finish();
        books.all_persisted();
        let stored = setup.reader.read_all("S");
        books.in_order(&stored);
    }
}

#[test]
fn a_limit_follows_set_topic_at_once() {
    // With a stream, with a limit before, with neither.
    let kinds: [(&str, Rules<'_>); 3] = [("a.one", &[("a.one", "stream", "S")]), ("b.one", &[("b.one", "in_flight", "3")]), ("b.one", &[])];
    for (topic, rules) in kinds {
        let setup = setup();
        let bus = Bus::connect(&setup.proxy.url(), PATIENT, rules);
        warm(&bus, &[topic, "marks.x"]);
        bus.publisher().set_topic(topic, "in_flight", "1").unwrap();
        setup.deaf();
        bus.series(topic, 10);
        assert_eq!(setup.out(&bus, topic), 1, "{rules:?}");
        bus.publisher().set_topic(topic, "in_flight", "4").unwrap();
        assert_eq!(setup.out(&bus, topic), 4, "a higher limit lets more go, with {rules:?}");
        // What is out stays out; nothing follows before there is room below the new limit.
        bus.publisher().set_topic(topic, "in_flight", "2").unwrap();
        assert_eq!(setup.out(&bus, topic), 4, "{rules:?}");
        setup.proxy.resume();
        let books = bus.finish();
        books.all_persisted();
        let subject = topic.split('.').next().unwrap();
        let stored = setup.reader.read_all(if subject == "a" { "S" } else { "T" });
        books.in_order(&stored);
    }
}

/// The first message is refused in a way that leaves it open whether it was stored, and goes again. With a limit of one nothing overtakes it.
#[test]
fn a_limit_of_one_excludes_overtaking() {
    for first in [None, Some("a.two")] {
        let setup = setup();
        let mut refused = false;
        setup.proxy.filter_up(move |_, frame| {
            let meets = !refused && choose::is_publish(frame) && choose::subject(frame) == Some("a.one");
            refused |= meets;
            if meets { Action::Reply(BUSY.to_vec()) } else { Action::Pass }
        });
        let bus = Bus::connect(&setup.proxy.url(), &[NEVER], LIMITED);
        if let Some(first) = first {
            warm(&bus, &[first]);
        }
        let ids = bus.series("a.one", 20);
        let books = bus.finish();
        books.all_persisted();
        assert_eq!(books.reports[&ids[0]].attempts, 2);
        let stored: Vec<_> = setup.reader.read_all("S").into_iter().filter(|message| message.subject == "a.one").collect();
        books.in_order(&stored);
    }
}

/// Without a limit: what was in flight behind a refused message may overtake it, and nothing that is accepted after its refusal came.
#[test]
fn nothing_new_overtakes_a_refused_message() {
    for rules in [&[("a.>", "stream", "S")][..], &[]] {
        let setup = setup();
        let bus = Bus::connect(&setup.proxy.url(), &[NEVER], rules);
        warm(&bus, &["a.x"]);
        let mut refusals = 0;
        setup.proxy.filter_up(move |_, frame| {
            let meets = refusals < 3 && choose::is_publish(frame) && memchr::memmem::find(frame, b"refused").is_some();
            refusals += u64::from(meets);
            if meets { Action::Reply(BUSY.to_vec()) } else { Action::Pass }
        });
        let refused = bus.publish("a.x", "refused");
        // It has gone again: so its first refusal is known.
        wait_for("a retry", PATIENCE, || (bus.publisher().stats().attempts >= 3).then_some(()));
        bus.series("a.x", 200);
        let books = bus.finish();
        books.all_persisted();
        assert_eq!(books.reports[&refused].attempts, 4, "{rules:?}");
        let stored = setup.reader.read_all("S");
        books.in_order(&stored);
    }
}

/// A message is swallowed in silence. What is sent until that is noticed overtakes it; then it goes before anything new. A limit of one excludes even that.
#[test]
fn a_swallowed_message_is_overtaken_until_it_is_noticed() {
    const ACK_WAIT: Duration = Duration::from_secs(1);
    for limit in [None, Some("1")] {
        let setup = setup();
        let mut rules = vec![("a.x", "stream", "S")];
        rules.extend(limit.map(|limit| ("a.x", "in_flight", limit)));
        let bus = Bus::connect(&setup.proxy.url(), &[NEVER, ("ack_wait_ms", "1000")], &rules);
        warm(&bus, &["a.x"]);
        let mut swallowed = false;
        setup.proxy.filter_up(move |_, frame| {
            let meets = !swallowed && choose::is_publish(frame) && memchr::memmem::find(frame, b"swallowed").is_some();
            swallowed |= meets;
            if meets { Action::Drop } else { Action::Pass }
        });
        let lost = bus.publish("a.x", "swallowed");
        let start = Instant::now();
        let mut accepted = HashMap::new();
        while start.elapsed() < 4 * ACK_WAIT {
            accepted.extend(bus.series("a.x", 1).into_iter().map(|id| (id, start.elapsed())));
            std::thread::sleep(Duration::from_millis(2)); // A steady flow, however long it takes.
        }
        let books = bus.finish();
        books.all_persisted();
        assert_eq!(books.reports[&lost].attempts, 2);
        let place = books.reports[&lost].seq;
        let latest = accepted.iter().filter(|(id, _)| books.reports[id].seq < place).map(|(_, at)| *at).max().unwrap_or_default();
        let allowed = if limit.is_some() { Duration::ZERO } else { 2 * ACK_WAIT + ACK_WAIT / 2 }; // A busy machine adds to it.
        assert!(latest <= allowed, "what was accepted {latest:?} after it is stored before it; in_flight {limit:?}");
    }
}
