//! Nobody took the message: no stream, no leader, no JetStream, or nobody who could know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackbus::{Persistence, Status};
use ackbus_test_support::{Action, Options as ServerOptions, Proxy, Reader, Server, choose, wait_for};

use crate::common::{Bus, Options, PATIENCE, Rules, Seen};
use crate::logs::logged;

/// Longer than a test may wait: what is told before is told at once.
const NEVER: (&str, &str) = ("delivery_timeout_ms", "3600000");
const NAMED: Rules<'_> = &[("orders.>", "stream", "ORDERS")];
const CREATED: Rules<'_> = &[("orders.>", "stream", "ORDERS"), ("orders.>", "create", "if_missing")];
/// Milliseconds, and what a busy machine makes of them.
const AT_ONCE: Duration = Duration::from_secs(5);

#[track_caller]
fn no_stream_at_once(bus: &Bus, topic: &str, what: &str) -> Seen {
    let id = bus.series(topic, 1)[0];
    let seen = bus.report_within(id, AT_ONCE).unwrap_or_else(|| panic!("{what} is told at once"));
    assert_eq!((seen.status, seen.persistence), (Status::NoStream, Persistence::NotPersisted), "{what}: {seen:?}");
    seen
}

#[test]
fn what_this_jetstream_knows_to_be_absent_is_told_in_milliseconds() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let named = Bus::connect(&server.url(), &[NEVER], &[("typo.>", "stream", "ORDRES"), ("orders.>", "stream", "ORDERS")]);
    assert!(no_stream_at_once(&named, "typo.x", "a rule that names no stream").text.contains("ORDRES"));
    let first = named.series("orders.x", 1);
    assert!(named.report(first[0]).is_persisted());
    no_stream_at_once(&named, "typo.y", "the same after another rule's ack");

    let any = Bus::connect(&server.url(), &[NEVER], &[]);
    no_stream_at_once(&any, "ordres.x", "a topic that no stream takes");
    for n in 0..3 {
        let good = any.series(&format!("orders.{n}"), 1);
        assert!(any.report(good[0]).is_persisted());
    }
    assert!(no_stream_at_once(&any, "ordres.y", "such a topic after acks of others").text.contains("ordres.y"));
    named.finish();
    any.finish();
}

/// The bus has seen the stream's description; then it is deleted.
#[test]
fn a_stream_that_was_described_and_is_gone_is_told_in_milliseconds() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    for rules in [NAMED, &[]] {
        reader.create_stream("ORDERS", &["orders.>"]);
        let proxy = Proxy::start(server.address());
        let described = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&described);
        proxy.filter(move |_, frame| {
            count.fetch_add(u64::from(memchr::memmem::find(frame, b"stream_info_response").is_some()), Ordering::Relaxed);
            Action::Pass
        });
        let bus = Bus::connect(&proxy.url(), &[NEVER], rules);
        let before = bus.series("orders.x", 10);
        bus.reported(10);
        wait_for("a description of the stream", PATIENCE, || (described.load(Ordering::Relaxed) > 0).then_some(()));
        reader.delete_stream("ORDERS");
        no_stream_at_once(&bus, "orders.x", &format!("a deleted stream, with {rules:?}"));
        no_stream_at_once(&bus, "orders.y", &format!("the same by another topic, with {rules:?}"));
        reader.create_stream("ORDERS", &["orders.>"]);
        let after = bus.series("orders.x", 10);
        let books = bus.finish();
        books.persisted(&before);
        books.persisted(&after);
        reader.delete_stream("ORDERS");
    }
}

/// Who asks cannot know: all that is published waits, and is stored when there is somebody.
#[test]
fn who_cannot_know_waits() {
    let server = accounts();
    let owner = Reader::connect(&server.url_of("own"));
    let ways: Vec<(&str, Options<'_>, Rules<'_>)> = vec![
        ("pub", &[], &[]),
        ("pub", &[], NAMED),
        ("pub", &[], CREATED),
        ("mute", &[], &[]),
        ("mute", &[], NAMED),
        ("own", &[("jetstream_domain", "nowhere")], &[]),
        ("own", &[("jetstream_domain", "nowhere")], NAMED),
        ("pub", &[("on_no_stream", "wait")], NAMED),
        ("pjs", &[("on_no_stream", "wait")], &[]),
        ("pjs", &[("on_no_stream", "wait")], NAMED),
    ];
    let buses: Vec<Bus> = ways.iter().map(|(user, options, rules)| Bus::connect(&server.url_of(user), &[options, &[NEVER][..]].concat(), rules)).collect();
    // Never acknowledged, then acknowledged, then away again: twice a stream appears.
    for round in 0..2 {
        let waiting: Vec<u64> = buses.iter().map(|bus| bus.series("orders.x", 5)[0]).collect();
        std::thread::sleep(Duration::from_millis(1500)); // A second is what the first silence of a question may take.
        for ((bus, id), way) in buses.iter().zip(waiting).zip(&ways) {
            let told = bus.report_within(id, Duration::ZERO);
            assert!(told.is_none(), "round {round}, {way:?}: {told:?}");
        }
        owner.create_stream("ORDERS", &["orders.>"]);
        for (bus, way) in buses.iter().zip(&ways) {
            let last = bus.series("orders.x", 1)[0];
            let seen = bus.report_within(last, Duration::from_secs(20));
            assert!(seen.as_ref().is_some_and(Seen::is_persisted), "round {round}, {way:?}: {seen:?}");
        }
        // That of the own account is described, and gone: it is told, as the test above says.
        if round == 0 {
            owner.delete_stream("ORDERS");
        }
    }
    for (bus, way) in buses.into_iter().zip(&ways) {
        let books = bus.finish();
        let lost = books.reports.values().find(|seen| !seen.is_persisted());
        assert!(lost.is_none(), "{way:?}: {lost:?}");
    }
}

/// The rule's stream is somewhere else, and the JetStream here does not know it: only a message can tell that it is there by now. A publisher that tried none
/// as long as others come often enough would never find it.
#[test]
fn a_stream_elsewhere_is_found_by_a_flow_that_began_before_it() {
    let server = accounts();
    let hub = Server::options().name("hub").domain("hub").hub().start();
    let leaf = Server::options().name("leaf").domain("leaf").leaf_of(&hub).start();
    let ways = [("an import", server.url_of("pjs"), Reader::connect(&server.url_of("own"))), ("a leaf node", leaf.url(), Reader::connect(&hub.url()))];
    let buses: Vec<Bus> = ways.iter().map(|(_, url, _)| Bus::connect(url, &[NEVER, ("ack_wait_ms", "1000")], NAMED)).collect();
    let flow = || {
        let ids: Vec<u64> = buses.iter().map(|bus| bus.series("orders.x", 1)[0]).collect();
        std::thread::sleep(Duration::from_millis(100)); // A steady flow.
        ids
    };
    for _ in 0..20 {
        for ((id, bus), (what, ..)) in flow().into_iter().zip(&buses).zip(&ways) {
            let seen = bus.report_within(id, AT_ONCE);
            let told = seen.as_ref().is_some_and(|seen| (seen.status, seen.persistence) == (Status::NoStream, Persistence::NotPersisted));
            assert!(told, "there is no stream behind {what}: {seen:?}");
        }
    }
    for (_, _, reader) in &ways {
        reader.create_stream("ORDERS", &["orders.>"]);
    }
    let start = Instant::now();
    let mut found = vec![None; buses.len()];
    while start.elapsed() < Duration::from_secs(15) && found.contains(&None) {
        for ((id, bus), found) in flow().into_iter().zip(&buses).zip(&mut found) {
            let stored = bus.report_within(id, Duration::ZERO).is_some_and(|seen| seen.is_persisted());
            *found = found.or(stored.then(|| start.elapsed()));
        }
    }
    let lost: Vec<_> = ways
        .iter()
        .zip(&found)
        .zip(&buses)
        .filter(|((_, found), _)| found.is_none())
        .map(|(((what, ..), _), bus)| (what, bus.publisher().stats().attempts))
        .collect();
    assert!(lost.is_empty(), "the stream is there for {:?}, and no message was stored; the ways, and the attempts in all: {lost:?}", start.elapsed());
    let after: Vec<Vec<u64>> = (0..10).map(|_| flow()).collect();
    for (number, (bus, (_, _, reader))) in buses.into_iter().zip(&ways).enumerate() {
        let books = bus.finish();
        books.persisted(&after.iter().map(|ids| ids[number]).collect::<Vec<_>>());
        let stored = books.compare(reader, &["ORDERS"]);
        books.in_order(&stored);
    }
}

/// OWN has JetStream; PUB imports its subjects and has none, PJS has one; MUTE is a user of OWN's subjects without the right to ask.
fn accounts() -> Server {
    Server::options()
        .account("OWN", r#"jetstream: enabled, exports: [{ service: "orders.>" }]"#)
        .account("PUB", r#"imports: [{ service: { account: OWN, subject: "orders.>" } }]"#)
        .account("PJS", r#"jetstream: enabled, imports: [{ service: { account: OWN, subject: "orders.>" } }]"#)
        .account_with("MUTE", r#"publish: { deny: "$JS.API.>" }"#, r#"imports: [{ service: { account: OWN, subject: "orders.>" } }]"#)
        .start()
}

/// The commonest mistake of beginners: they need not wait for the deadline to hear of it.
#[test]
fn jetstream_that_is_not_enabled_is_said_within_a_second() {
    let _ = logged(); // The sink is set before anything is said.
    let none = Server::options().without_jetstream().start();
    let other = Server::options().account("WITH", "jetstream: enabled").account("BARE", "").start();
    let mut buses = Vec::new();
    for (url, whose) in [(none.url(), "server"), (other.url_of("bare"), "account")] {
        for (rules, on_no_stream) in [(&[][..], "fail"), (NAMED, "fail"), (CREATED, "fail"), (&[], "wait"), (NAMED, "wait")] {
            let about = format!("no JetStream on the {whose}, {rules:?}, on_no_stream={on_no_stream}");
            buses.push((about, Bus::connect(&url, &[("delivery_timeout_ms", "10000"), ("on_no_stream", on_no_stream)], rules)));
        }
    }
    let published: Vec<Vec<u64>> = buses.iter().map(|(_, bus)| bus.series("orders.x", 3)).collect();
    let start = Instant::now();
    for (about, bus) in &buses {
        // It takes less than a second. A busy machine may add to that: what is asserted is that it comes well before the deadline.
        let said = bus.event_within(Duration::from_secs(7).saturating_sub(start.elapsed()), |event| event.text.contains("not enabled"));
        assert!(said.is_some(), "{about}: no event says it");
    }
    assert!(logged().contains("not enabled"), "so does the log");
    for ((about, bus), ids) in buses.into_iter().zip(published) {
        let books = bus.finish();
        for seen in books.of(&ids) {
            assert!(seen.persistence == Persistence::NotPersisted && seen.text.contains("not enabled"), "{about}: {seen:?}");
        }
        let times = books.events.iter().filter(|event| event.text.contains("not enabled")).count();
        assert!(times <= 2, "{about}: said once, not for each question: {:#?}", books.events);
    }
}

/// What happens to the first question whether the stream may be created.
#[test]
fn a_creation_without_an_answer_is_asked_again() {
    let unavailable = br#"{"type":"io.nats.jetstream.api.v1.stream_create_response","error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}"#;
    let kinds: [(&str, Action); 4] =
        [("lost", Action::Drop), ("cut", Action::Reset), ("torn", Action::Cut(20)), ("answered 10008", Action::Reply(unavailable.to_vec()))];
    for (what, action) in kinds {
        for times in [1, 2] {
            let server = Server::start();
            let reader = Reader::connect(&server.url());
            let proxy = Proxy::start(server.address());
            let (mut met, action) = (0, action.clone());
            proxy.filter_up(move |_, frame| {
                let meets = met < times && choose::subject(frame).is_some_and(|subject| subject.starts_with("$JS.API.STREAM.CREATE."));
                met += u64::from(meets);
                if meets { action.clone() } else { Action::Pass }
            });
            let bus = Bus::connect(&proxy.url(), &[NEVER, ("ack_wait_ms", "500")], CREATED);
            let ids = bus.series("orders.x", 20);
            let first = bus.report_within(ids[0], Duration::from_secs(15));
            assert!(first.as_ref().is_some_and(Seen::is_persisted), "a creation that is {what}, {times} times: {first:?}");
            let books = bus.finish();
            books.all_persisted();
            let stored = books.compare(&reader, &["ORDERS"]);
            books.in_order(&stored);
        }
    }
}

/// The reply is what is lost: the stream is there when it is asked again.
#[test]
fn a_creation_whose_answer_is_lost_is_found_done() {
    let server = Server::start();
    let reader = Reader::connect(&server.url());
    let proxy = Proxy::start(server.address());
    let mut lost = false;
    proxy.filter(move |_, frame| {
        let meets = !lost && memchr::memmem::find(frame, b"stream_create_response").is_some();
        lost |= meets;
        if meets { Action::Drop } else { Action::Pass }
    });
    let bus = Bus::connect(&proxy.url(), &[NEVER, ("ack_wait_ms", "500")], CREATED);
    let ids = bus.series("orders.x", 20);
    let first = bus.report_within(ids[0], Duration::from_secs(15));
    assert!(first.as_ref().is_some_and(Seen::is_persisted), "{first:?}");
    let books = bus.finish();
    books.all_persisted();
    books.compare(&reader, &["ORDERS"]);
}

/// With a domain the server maps the API's subjects, and its errors name the mapped ones.
fn restricted(allow: &str) -> ServerOptions {
    Server::options().domain("hub").user("admin", "pw", "").user("app", "pw", &format!("publish: {{ allow: [{allow}] }}"))
}

const APP: [(&str, &str); 2] = [("user", "app"), ("password", "pw")];

#[test]
fn a_denied_creation_is_told_at_once_with_a_domain_too() {
    let server = restricted(r#""orders.>", "$JS.API.STREAM.INFO.>", "$JS.API.STREAM.NAMES""#).start();
    for domain in [&[][..], &[("jetstream_domain", "hub")]] {
        let bus = Bus::connect(&server.url(), &[&APP, domain, &[NEVER]].concat(), CREATED);
        let id = bus.series("orders.x", 10)[0];
        let seen = bus.report_within(id, AT_ONCE).unwrap_or_else(|| panic!("{domain:?}: a denied creation is told at once"));
        assert_eq!((seen.status, seen.persistence), (Status::CreateFailed, Persistence::NotPersisted), "{domain:?}: {seen:?}");
        assert!(seen.text.contains("permissions") && !seen.text.contains("if_missing"), "{domain:?}: {seen:?}");
        bus.finish();
    }
}

#[test]
fn a_publisher_without_the_api_publishes_with_a_domain_too() {
    for allow in [r#""orders.>""#, r#""orders.>", "$JS.hub.API.>""#] {
        let server = restricted(allow).start();
        let reader = Reader::connect(&server.url().replace("nats://", "nats://admin:pw@"));
        reader.create_stream("ORDERS", &["orders.>"]);
        for domain in [&[][..], &[("jetstream_domain", "hub")]] {
            let bus = Bus::connect(&server.url(), &[&APP, domain, &[NEVER]].concat(), NAMED);
            let id = bus.series("orders.x", 10)[0];
            let seen = bus.report_within(id, Duration::from_secs(10));
            assert!(seen.as_ref().is_some_and(Seen::is_persisted), "{allow}, {domain:?}: {seen:?}");
            bus.finish().all_persisted();
        }
    }
}

/// On a leaf node without JetStream the hub takes the message: nothing is wrong, and nothing is said.
#[test]
fn a_leaf_node_without_jetstream_is_no_mistake() {
    let hub = Server::options().name("hub").domain("hub").hub().start();
    let leaf = Server::options().name("leaf").without_jetstream().leaf_of(&hub).start();
    let reader = Reader::connect(&hub.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    leaf.wait_wanted("orders.>");
    for rules in [&[][..], NAMED, CREATED] {
        let bus = Bus::connect(&leaf.url(), &[NEVER], rules);
        bus.series("orders.x", 10);
        let books = bus.finish();
        books.all_persisted();
        assert!(books.events.iter().all(|event| !event.text.contains("not enabled")), "{rules:?}: {:?}", books.events);
    }
}
