//! P7: what a caller gives wrong is refused by the call that gives it: what, which value, what is allowed. And secrets are never printed.

use std::time::Duration;

use ackbus::{Config, Message, Persistence, Publisher, Purge, State, Status};
use ackbus_test_support::{Reader, Server};

use super::bus::{LONG, config, memory, polled, within};

#[test]
fn bad_options_are_named_with_their_value_and_what_is_allowed() {
    let cases = [
        ("max_pending", "0", "1 to 1,000,000 messages"),
        ("max_pending", "1e3", "1 to 1,000,000 messages"),
        ("max_pending", "-1", "1 to 1,000,000 messages"),
        ("max_pending_bytes", "12", "1,024 to"),
        ("on_full", "Block", "block"),
        ("stall_wait_ms", "-2", "-1"),
        ("ack_wait_ms", "", "1 to 3,600,000 ms"),
        ("retry_on_connect", "yes", "true"),
        ("report", "some", "failures"),
        ("log_level", "loud", "warn"),
        ("gate_share", "101", "1 to 100 percent"),
        ("inbox_prefix", "a b", "without wildcards and blanks"),
        ("tls_server_name", "a/b", "a host name"),
    ];
    for (key, value, allowed) in cases {
        let error = Config::new().set(key, value).map(drop).unwrap_err();
        let text = error.message();
        assert_eq!(error.status(), Status::InvalidOption, "{key}={value}");
        assert!(text.contains(key) && text.contains(&format!("{value:?}")) && text.contains("allowed") && text.contains(allowed), "{key}={value}: {text}");
    }
    // An address may hold a password, so it is not repeated.
    let error = Config::new().set("servers", "http://joe:sEcReT@127.0.0.1").map(drop).unwrap_err();
    assert_eq!(error.status(), Status::InvalidOption);
    assert!(
        error.message().starts_with("servers: ") && error.message().contains("allowed are nats:// and tls://") && !error.message().contains("sEcReT"),
        "{error}"
    );
    let error = Config::new().set("max_pendign", "1").map(drop).unwrap_err();
    assert!(error.message().contains("\"max_pendign\"") && error.message().contains("\"max_pending\""), "{error}");
    for (pattern, key, value, status) in [
        ("a..b", "mode", "ephemeral", Status::InvalidTopic),
        ("a.>.b", "mode", "ephemeral", Status::InvalidTopic),
        ("a", "mod", "ephemeral", Status::InvalidOption),
        ("a", "mode", "sometimes", Status::InvalidOption),
        ("a", "in_flight", "0", Status::InvalidOption),
        ("a", "stream", "a.b", Status::InvalidOption),
    ] {
        let refused = Config::new().set_topic(pattern, key, value).map(drop).unwrap_err();
        assert_eq!(refused.status(), status, "{pattern} {key}={value}: {refused}");
        // A running publisher says the same.
        let bus = Publisher::connect(&memory(&[]), polled()).unwrap();
        assert_eq!(bus.set_topic(pattern, key, value).unwrap_err().message(), refused.message());
        assert!(bus.set_topic("a", "create", "if_missing").unwrap_err().message().contains("stream"), "what keys need from each other");
    }
}

#[test]
fn bad_messages_are_refused_by_the_call_and_cost_nothing() {
    let bus = Publisher::connect(&memory(&[("max_pending_bytes", "2097152")]), polled()).unwrap();
    for topic in ["", ".", "a.", ".a", "a..b", "a b", "a\r\nPUB b 0", "a\tb", "a\0", "a.*", ">", "$JS.API.INFO", &"x".repeat(3_801)] {
        let error = bus.publish(topic, b"", 0).unwrap_err();
        assert_eq!(error.status(), Status::InvalidTopic, "{topic:?}: {error}");
        assert!(error.message().contains("allowed"), "{error}");
    }
    bus.publish(&"x".repeat(3_800), b"", 0).unwrap();
    for header in [
        ("", "v"),
        ("a b", "v"),
        ("a:", "v"),
        ("a\r\nb", "v"),
        ("a", "v\r\nb: c"),
        ("a", "v\0"),
        ("a", " v"),
        ("Nats-Msg-Id", "1"),
        ("nats-msg-id", "1"),
        ("Nats-Batch-Id", "1"),
    ] {
        let error = bus.publish_message(&Message { headers: &[header], ..Message::new("a", b"") }).unwrap_err();
        assert_eq!(error.status(), Status::InvalidHeader, "{header:?}: {error}");
    }
    let refused = |message: Message<'_>| bus.publish_message(&message).unwrap_err().status();
    let plain = || Message::new("a", b"");
    assert_eq!(refused(Message { msg_id: Some(""), ..plain() }), Status::InvalidArgument);
    assert_eq!(refused(Message { msg_id: Some(&"x".repeat(1_025)), ..plain() }), Status::InvalidArgument);
    assert_eq!(refused(Message { msg_id: Some("a\nb"), ..plain() }), Status::InvalidArgument);
    assert_eq!(refused(Message { expected_stream: Some("a.b"), ..plain() }), Status::InvalidArgument);
    assert_eq!(refused(Message { ttl: Some(Duration::from_millis(999)), ..plain() }), Status::InvalidArgument);
    assert_eq!(refused(Message { delivery_timeout: Some(Duration::ZERO), ..plain() }), Status::InvalidArgument);
    assert_eq!(refused(Message { delivery_timeout: Some(Duration::MAX), ..plain() }), Status::InvalidArgument);
    assert_eq!(bus.purge(Purge::default()).unwrap_err().status(), Status::InvalidArgument);

    // P9: what can never be sent is refused by the call: the server's limit, and the window's.
    let error = bus.publish("a", &vec![0; 1 << 20], 0).unwrap_err();
    assert_eq!(error.status(), Status::TooLarge);
    assert!(error.message().contains("the server takes 1048576"), "{error}");
    let error = bus.publish("a", &vec![0; 2 << 20], 0).unwrap_err();
    assert_eq!(error.status(), Status::TooLarge, "{error}");
    let narrow = Publisher::connect(&memory(&[("max_pending_bytes", "1024")]), polled()).unwrap();
    let error = narrow.publish("a", &[0; 1_024], 0).unwrap_err();
    assert_eq!(error.status(), Status::TooLarge);
    assert!(error.message().contains("max_pending_bytes allows 1024"), "{error}");

    bus.flush(Some(LONG)).unwrap();
    let stats = bus.stats();
    assert_eq!((stats.accepted, stats.published, stats.pending, stats.queue_full, bus.pending_bytes()), (1, 1, 0, 0, 0));
    assert_eq!(bus.publish("a", b"", 0).unwrap(), 2, "a refused message takes no id");
}

#[test]
fn secrets_are_never_printed() {
    const SECRET: &str = "sEcReT-wOrD";
    let mut config = config(&format!("nats://user:{SECRET}@127.0.0.1:1,nats://{SECRET}@127.0.0.1:1"), &[]);
    assert!(!config.get("servers").unwrap().contains(SECRET));
    for key in ["token", "password", "user"] {
        config.set(key, SECRET).unwrap();
        assert_eq!(config.get(key).unwrap(), "***");
    }
    for key in ["credentials", "nkey_seed"] {
        let error = config.set(key, SECRET).map(drop).unwrap_err();
        assert!(!error.message().contains(SECRET) && error.message().contains(key) && error.message().contains("allowed"), "{error}");
    }
    assert!(!format!("{config:?}").contains(SECRET), "{config:?}");
    let error = Publisher::connect(&config, polled()).unwrap_err();
    assert_eq!(error.status(), Status::InvalidOption, "several kinds of authentication");
    assert!(!format!("{error} {error:?}").contains(SECRET));
}

#[test]
fn a_failed_connect_names_the_server_and_the_cause() {
    within("failed connects", || {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Publisher::connect(&config(&format!("nats://joe:sEcReT@{closed}"), &[("max_reconnects", "0")]), polled()).unwrap_err();
        assert_eq!(error.status(), Status::ConnectFailed);
        assert!(error.message().contains(&closed.to_string()) && error.message().contains("refused"), "{error}");
        assert!(!format!("{error:?}").contains("sEcReT") && !format!("{error:?}").contains("joe"), "{error:?}");

        // By default a connect does not try for ever either.
        let error = Publisher::connect(&config(&format!("nats://{closed}"), &[]), polled()).unwrap_err();
        assert_eq!(error.status(), Status::ConnectFailed, "{error}");

        let server = Server::options().user("joe", "right", "").start();
        let url = format!("nats://joe:wRoNg@{}", server.address());
        let error = Publisher::connect(&config(&url, &[]), polled()).unwrap_err();
        assert_eq!(error.status(), Status::AuthFailed, "{error}");
        assert!(error.message().contains(&server.address().to_string()), "{error}");
        assert!(!format!("{error:?}").contains("wRoNg"), "{error:?}");
    });
}

#[test]
fn a_publisher_that_gave_up_says_why() {
    let server = Server::start();
    Reader::connect(&server.url()).create_stream("S", &["s"]);
    within("a publisher without its server", move || {
        let bus = Publisher::connect(&config(&server.url(), &[("max_reconnects", "1"), ("reconnect_wait_ms", "1")]), polled()).unwrap();
        bus.publish_wait(&Message::new("s", b""), Some(LONG)).unwrap();
        let ticket = {
            server.pause();
            let ticket = bus.submit(&Message::new("s", b"")).unwrap();
            server.kill();
            ticket
        };
        let outcome = ticket.wait(Some(LONG)).unwrap();
        let report = outcome.get(0).unwrap();
        assert_ne!(report.persistence(), Persistence::Persisted);
        assert!(report.text().contains(&server.address().to_string()), "{report:?}");
        ackbus_test_support::wait_for("the end", LONG, || (bus.info().state == State::Failed).then_some(()));
        let error = bus.publish("s", b"", 0).unwrap_err();
        assert_eq!((error.status(), error.is_fatal()), (Status::Failed, true));
        assert!(error.message().contains(&server.address().to_string()), "{error}");
        bus.flush(None).unwrap();
        bus.close(None).unwrap();
        assert_eq!(bus.info().state, State::Failed, "the cause outlives the close");
        assert_eq!(bus.stats().pending, 0);
    });
}
