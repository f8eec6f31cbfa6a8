//! TLS: certificates are checked, both ways, always.

use ackbus::{EventKind, Status};
use ackbus_test_support::async_nats::ConnectOptions;
use ackbus_test_support::{Certs, Reader, Server};

use crate::common::{Bus, Options};

fn path(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

fn reader(server: &Server, certs: &Certs) -> Reader {
    let options = ConnectOptions::new().require_tls(true).add_root_certificates(certs.ca.clone());
    let reader = Reader::connect_with(&server.url(), options.add_client_certificate(certs.client_cert.clone(), certs.client_key.clone()));
    reader.create_stream("ORDERS", &["orders.>"]);
    reader
}

/// Publishes over two connections, the second after a restart, and finds it all in the stream.
#[track_caller]
fn works(server: &Server, reader: &Reader, url: &str, options: Options<'_>) {
    let bus = Bus::connect(url, options, &[("orders.>", "stream", "ORDERS")]);
    bus.series("orders.created", 1_000);
    let large = bus.publish("orders.created", vec![7; 500_000]);
    bus.report(large);
    server.restart();
    bus.event(EventKind::Reconnected);
    bus.series("orders.created", 1_000);
    let books = bus.finish();
    books.all_persisted();
    let stored = books.compare(reader, &["ORDERS"]);
    books.in_order(&stored);
}

#[track_caller]
fn fails(url: &str, options: Options<'_>, says: &[&str]) {
    let error = Bus::refused(url, options, &[]);
    assert_eq!(error.status(), Status::TlsFailed, "{error}");
    for text in says {
        assert!(error.message().contains(text), "{text:?} is missing in: {error}");
    }
}

#[test]
fn a_server_of_a_known_authority() {
    let certs = Certs::new();
    let server = Server::options().tls(&certs).start();
    works(&server, &reader(&server, &certs), &server.url(), &[("tls_ca_file", path(&certs.ca))]);
}

#[test]
fn a_name_in_place_of_the_address() {
    let certs = Certs::for_names(&["localhost"]);
    let server = Server::options().tls(&certs).start();
    let options = ConnectOptions::new().require_tls(true).add_root_certificates(certs.ca.clone());
    let reader = Reader::connect_with(&server.url().replace("127.0.0.1", "localhost"), options);
    reader.create_stream("ORDERS", &["orders.>"]);
    let url = server.url().replace("nats://", "tls://");
    fails(&url, &[("tls_ca_file", path(&certs.ca))], &["not for \"127.0.0.1\"", "localhost", "tls_server_name"]);
    works(&server, &reader, &url, &[("tls_ca_file", path(&certs.ca)), ("tls_server_name", "localhost")]);
}

#[test]
fn a_client_certificate() {
    let certs = Certs::new();
    let server = Server::options().tls_verify(&certs).start();
    let reader = reader(&server, &certs);
    let options = [("tls_ca_file", path(&certs.ca)), ("tls_cert_file", path(&certs.client_cert)), ("tls_key_file", path(&certs.client_key))];
    works(&server, &reader, &server.url(), &options);
    fails(&server.url(), &options[..1], &["asks for a client certificate", "tls_cert_file"]);
    let stranger = Certs::new();
    let options = [("tls_ca_file", path(&certs.ca)), ("tls_cert_file", path(&stranger.client_cert)), ("tls_key_file", path(&stranger.client_key))];
    fails(&server.url(), &options, &["refused the client certificate", path(&stranger.client_cert)]);
}

#[test]
fn tls_before_the_first_line() {
    let certs = Certs::new();
    let server = Server::options().tls_first(&certs).start();
    let options = ConnectOptions::new().require_tls(true).tls_first().add_root_certificates(certs.ca.clone());
    let reader = Reader::connect_with(&server.url(), options);
    reader.create_stream("ORDERS", &["orders.>"]);
    works(&server, &reader, &server.url(), &[("tls_ca_file", path(&certs.ca)), ("tls_first", "true")]);
}

#[test]
fn a_server_of_an_unknown_authority() {
    let (certs, stranger) = (Certs::new(), Certs::new());
    let server = Server::options().tls(&certs).start();
    fails(&server.url(), &[("tls_ca_file", path(&stranger.ca))], &["not signed by a CA in tls_ca_file", path(&stranger.ca)]);
}

#[test]
fn a_server_without_tls_gets_nothing_when_tls_is_required() {
    let server = Server::start();
    let certs = Certs::new();
    let ca = ("tls_ca_file", path(&certs.ca));
    for (url, options) in [(server.url(), &[ca, ("tls_required", "true")][..]), (server.url().replace("nats://", "tls://"), &[ca])] {
        fails(&url, options, &["TLS is required", "does not offer it"]);
    }
}

#[test]
fn a_certificate_that_has_expired() {
    let certs = Certs::expired();
    let server = Server::options().tls(&certs).start();
    fails(&server.url(), &[("tls_ca_file", path(&certs.ca))], &["is not valid now", "renew it"]);
}

#[test]
fn files_that_cannot_be_used_are_told_by_name() {
    let (certs, other) = (Certs::new(), Certs::new());
    let server = Server::options().tls_verify(&certs).start();
    let (ca, cert) = (("tls_ca_file", path(&certs.ca)), ("tls_cert_file", path(&certs.client_cert)));
    let folder = path(certs.ca.parent().unwrap());
    for (options, says) in [
        (&[("tls_ca_file", "/no/such/ca.pem")][..], "tls_ca_file \"/no/such/ca.pem\" cannot be read: No such file"),
        (&[("tls_ca_file", folder)], "cannot be read: Is a directory"),
        (&[ca, cert, ("tls_key_file", "/no/such/client.key")], "tls_key_file \"/no/such/client.key\" cannot be read: No such file"),
        (&[ca, cert, ("tls_key_file", path(&other.client_key))], "does not belong to the certificate in tls_cert_file"),
        (&[ca, cert, ("tls_key_file", path(&certs.ca))], "has no private key in it"),
        (&[ca, cert], "tls_cert_file is given without tls_key_file"),
    ] {
        let error = Bus::refused(&server.url(), options, &[]);
        assert_eq!(error.status(), Status::InvalidOption, "{error}");
        assert!(error.message().contains(says), "{says:?} is missing in: {error}");
    }
}

#[test]
fn tls_first_needs_a_server_that_waits_for_it() {
    let certs = Certs::new();
    let server = Server::options().tls(&certs).start();
    let options = [("tls_ca_file", path(&certs.ca)), ("tls_first", "true")];
    fails(&server.url(), &options, &["what the server sent is not TLS", "tls_first", "handshake_first"]);
}

#[test]
fn a_server_that_demands_tls_gets_it_unasked() {
    let certs = Certs::new();
    let server = Server::options().tls(&certs).start();
    // Whether this machine trusts any authority or none: that of this test it does not.
    fails(&server.url(), &[], &["set tls_ca_file"]);
}

#[test]
fn a_server_that_waits_for_tls_is_not_mistaken_for_a_dead_one() {
    let certs = Certs::new();
    let server = Server::options().tls_first(&certs).start();
    let error = Bus::refused(&server.url(), &[("tls_ca_file", path(&certs.ca)), ("connect_timeout_ms", "500")], &[]);
    assert_eq!(error.status(), Status::ConnectFailed, "{error}");
    assert!(error.message().contains("tls_first"), "{error}");
}

#[test]
fn certificates_are_read_again_at_each_connect() {
    let (certs, next) = (Certs::new(), Certs::new());
    let server = Server::options().tls_verify(&certs).start();
    let options = [("tls_ca_file", path(&certs.ca)), ("tls_cert_file", path(&certs.client_cert)), ("tls_key_file", path(&certs.client_key))];
    let rules = [("orders.>", "stream", "ORDERS"), ("orders.>", "create", "if_missing")];
    let bus = Bus::connect(&server.url(), &[&options[..], &[("delivery_timeout_ms", "3600000")]].concat(), &rules);
    bus.series("orders.created", 100);
    bus.reported(100);
    // Neither side takes the other's old certificates any more.
    certs.replace_with(&next);
    server.restart();
    bus.event(EventKind::Reconnected);
    bus.series("orders.created", 100);
    let books = bus.finish();
    books.all_persisted();
    let options = ConnectOptions::new().require_tls(true).add_root_certificates(certs.ca.clone());
    let reader = Reader::connect_with(&server.url(), options.add_client_certificate(certs.client_cert.clone(), certs.client_key.clone()));
    let stored = books.compare(&reader, &["ORDERS"]);
    books.in_order(&stored);
}
