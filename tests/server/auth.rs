//! Who the client is: every kind of credentials, right and wrong. No error tells a secret.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use ackbus::{EventKind, Status};
use ackbus_test_support::async_nats::ConnectOptions;
use ackbus_test_support::{Credentials, Proxy, Reader, Server};
use nkeys::KeyPair;

use crate::common::{Bus, Options};

/// Publishes something and finds it in a stream of its own: one that is deleted and made again at once can come back with its old messages (2.15.1).
#[track_caller]
fn works(reader: &Reader, url: &str, options: Options<'_>) {
    static STREAMS: AtomicU32 = AtomicU32::new(0);
    let stream = format!("ORDERS{}", STREAMS.fetch_add(1, Ordering::Relaxed));
    reader.create_stream(&stream, &[&format!("{stream}.>")]);
    let bus = Bus::connect(url, options, &[(&format!("{stream}.>"), "stream", &stream)]);
    bus.series(&format!("{stream}.created"), 50);
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(reader, &[&stream]);
    books.in_order(&stored);
}

/// Connecting fails, the error says what to do, and no secret is in it.
#[track_caller]
fn fails(url: &str, options: Options<'_>, says: &str, secrets: &[&str]) {
    let error = Bus::refused(url, options, secrets);
    assert_eq!(error.status(), Status::AuthFailed, "{error}");
    assert!(error.message().contains("Authorization Violation") && error.message().contains(says), "{error}");
}

fn with(url: &str, credentials: &str) -> String {
    url.replace("nats://", &format!("nats://{credentials}@"))
}

#[test]
fn a_token() {
    let server = Server::options().config("authorization { token: \"let-me-in\" }").start();
    let reader = Reader::connect(&with(&server.url(), "let-me-in"));
    works(&reader, &server.url(), &[("token", "let-me-in")]);
    works(&reader, &with(&server.url(), "let-me-in"), &[]);
    fails(&server.url(), &[("token", "wrong-token")], "token", &["wrong-token"]);
    fails(&with(&server.url(), "wrong-token"), &[], "the server's URL", &["wrong-token"]);
    fails(&server.url(), &[], "no credentials are configured", &[]);
}

#[test]
fn a_user_and_a_password() {
    let server = Server::options().user("app", "s3cret-words", "").start();
    let reader = Reader::connect(&with(&server.url(), "app:s3cret-words"));
    works(&reader, &server.url(), &[("user", "app"), ("password", "s3cret-words")]);
    works(&reader, &with(&server.url(), "app:s3cret-words"), &[]);
    works(&reader, &with(&server.url(), "app:s3cret%2Dwords"), &[]);
    fails(&server.url(), &[("user", "app"), ("password", "wrong-words")], "user and password", &["wrong-words"]);
    fails(&with(&server.url(), "app:wrong-words"), &[], "the server's URL", &["wrong-words"]);
}

#[test]
fn an_nkey() {
    let (key, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let (seed, wrong) = (key.seed().unwrap(), stranger.seed().unwrap());
    let server = Server::options().nkey(&key.public_key()).start();
    let reader = Reader::connect_with(&server.url(), ConnectOptions::with_nkey(seed.clone()));
    works(&reader, &server.url(), &[("nkey_seed", &seed)]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("user.nk");
    fs::write(&file, format!("{seed}\n")).unwrap();
    works(&reader, &server.url(), &[("nkey_seed_file", file.to_str().unwrap())]);
    fails(&server.url(), &[("nkey_seed", &wrong)], "nkey_seed", &[&wrong, &seed]);
    fails(&server.url(), &[], "set credentials_file or nkey_seed_file", &[]);
}

#[test]
fn a_credentials_file() {
    let (credentials, stranger) = (Credentials::new(), Credentials::new());
    let server = Server::options().credentials(&credentials).start();
    let text = fs::read_to_string(credentials.file()).unwrap();
    let reader = Reader::connect_with(&server.url(), ConnectOptions::with_credentials(&text).unwrap());
    works(&reader, &server.url(), &[("credentials_file", credentials.file().to_str().unwrap())]);
    works(&reader, &server.url(), &[("credentials", &text)]);
    let wrong = fs::read_to_string(stranger.file()).unwrap();
    let secrets: Vec<&str> = wrong.lines().filter(|line| !line.is_empty() && !line.starts_with("---")).collect();
    fails(&server.url(), &[("credentials_file", stranger.file().to_str().unwrap())], stranger.file().to_str().unwrap(), &secrets);
    fails(&server.url(), &[("credentials", &wrong)], "check credentials", &secrets);
}

#[test]
fn credentials_are_read_again_at_each_connect() {
    let credentials = Credentials::new();
    let server = Server::options().credentials(&credentials).start();
    let text = fs::read_to_string(credentials.file()).unwrap();
    let reader = Reader::connect_with(&server.url(), ConnectOptions::with_credentials(&text).unwrap());
    reader.create_stream("ORDERS", &["orders.>"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rotated.creds");
    fs::write(&file, &text).unwrap();
    let proxy = Proxy::start(server.address());
    let bus = Bus::connect(&proxy.url(), &[("credentials_file", file.to_str().unwrap()), ("delivery_timeout_ms", "3600000")], &[]);
    // A file that is being replaced is an error of one try, not of the publisher.
    fs::write(&file, "").unwrap();
    proxy.reset();
    let failed = bus.event(EventKind::ConnectFailed);
    assert!(failed.text.contains("rotated.creds"), "{failed:?}");
    fs::write(&file, &text).unwrap();
    bus.event(EventKind::Reconnected);
    bus.series("orders.created", 50);
    let books = bus.finish();
    books.all_persisted();
    books.compare(&reader, &["ORDERS"]);
}

#[test]
fn a_password_that_stops_working_ends_the_publisher() {
    let server = Server::options().user("admin", "pw", "").user("app", "first-words", "").start();
    let reader = Reader::connect(&with(&server.url(), "admin:pw"));
    reader.create_stream("ORDERS", &["orders.>"]);
    let bus = Bus::connect(&server.url(), &[("user", "app"), ("password", "first-words"), ("delivery_timeout_ms", "3600000")], &[]);
    let stored = bus.series("orders.created", 50);
    bus.reported(50);
    server.reload(Server::options().user("admin", "pw", "").user("app", "other-words", ""));
    // The server ends the connections of users whose password changed; the same refusal twice is the last word.
    let failed = bus.event(EventKind::Failed);
    assert_eq!(failed.status, Status::AuthFailed, "{failed:?}");
    let error = bus.publisher().publish("orders.created", b"too late", 0).unwrap_err();
    assert_eq!((error.status(), error.is_fatal()), (Status::Failed, true), "{error}");
    assert!(!format!("{error} {failed:?}").contains("first-words"));
    let books = bus.finish();
    books.persisted(&stored);
    assert_eq!(books.events.iter().filter(|event| event.kind == EventKind::AuthFailed).count(), 2);
    books.compare(&reader, &["ORDERS"]);
}
