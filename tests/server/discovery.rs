//! Servers that another one told of: they get what a configured one gets, and no less is asked of them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use ackbus::{EventKind, Message, Status};
use ackbus_test_support::{Certs, Cluster, Options, Server};

use crate::common::{Bus, PATIENCE};

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Two members without JetStream: elections are not the matter here.
fn pair(options: Options) -> Cluster {
    Cluster::start_with(2, options.without_jetstream().user("app", "hush-hush", ""))
}

/// A publisher that was told of one server, by name, and knows of the other from that one.
fn connected(server: &Server, other: &str, certs: &Certs) -> Bus {
    let url = format!("tls://localhost:{}", server.address().port());
    let options = [("tls_ca_file", path(&certs.ca)), ("user", "app"), ("password", "hush-hush"), ("delivery_timeout_ms", "3600000")];
    let bus = Bus::connect(&url, &options, &[("notes.>", "mode", "ephemeral")]);
    // A member tells of itself first, and of the other as soon as it knows of it.
    bus.event_where(EventKind::ServersDiscovered, |event| event.text.contains(other));
    bus
}

/// The connections of publishers that the server ever took: those whose CONNECT it read.
fn publishers_of(server: &Server) -> Vec<serde_json::Value> {
    let connections = server.monitor("/connz?state=all").unwrap();
    let of_publisher = |connection: &&serde_json::Value| connection["lang"] == "ackbus";
    connections["connections"].as_array().unwrap().iter().filter(of_publisher).cloned().collect()
}

#[test]
fn a_server_that_is_known_by_its_address_must_have_the_first_ones_name() {
    // Not for addresses, by which the members know each other.
    let certs = Certs::for_names(&["localhost"]);
    let cluster = pair(Server::options().tls(&certs));
    let [first, second] = cluster.servers() else { unreachable!() };
    let bus = connected(first, &second.address().to_string(), &certs);
    first.kill();
    bus.event(EventKind::Reconnected);
    assert_eq!(bus.publisher().info().server, second.url().replace("nats://", "tls://"));
    bus.wait_ephemeral(&Message::new("notes.moved", b"here"));
    let [there] = &publishers_of(second)[..] else { panic!("one connection is expected") };
    assert!(there["tls_version"].is_string(), "{there}");
    bus.finish();
}

#[test]
fn a_server_with_a_strangers_certificate_is_refused() {
    let (certs, stranger) = (Certs::new(), Certs::new());
    let cluster = pair(Server::options().tls(&certs));
    let [first, second] = cluster.servers() else { unreachable!() };
    let bus = connected(first, &second.address().to_string(), &certs);
    second.reload(Server::options().tls(&stranger).without_jetstream().user("app", "hush-hush", ""));
    first.kill();
    let place = second.address().to_string();
    let failed = bus.event_where(EventKind::ConnectFailed, |event| event.server.ends_with(&place));
    assert_eq!(failed.status, Status::TlsFailed, "{failed:?}");
    assert!(failed.text.contains("not signed by a CA in tls_ca_file"), "{failed:?}");
    first.restart();
    bus.event(EventKind::Reconnected);
    assert!(publishers_of(second).is_empty(), "it was told who we are");
    bus.finish();
}

/// Takes two clients and says what they sent until they hung up: to a server that has no TLS, and to one that has it and does not demand it.
fn eavesdropper() -> (String, Receiver<[Vec<u8>; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || {
        let all = [false, true].map(|tls_available| {
            let (mut client, _) = listener.accept().unwrap();
            write!(client, "INFO {{\"server_id\":\"X\",\"version\":\"2.15.1\",\"headers\":true,\"tls_available\":{tls_available}}}\r\n").unwrap();
            let mut sent = vec![0; 4096];
            let mut length = 0;
            if tls_available {
                // The first flight; no answer to it could be right.
                length = client.read(&mut sent).unwrap();
            }
            drop(client.shutdown(std::net::Shutdown::Write));
            let mut rest = Vec::new();
            drop(client.read_to_end(&mut rest));
            sent.truncate(length);
            sent.extend(rest);
            sent
        });
        drop(tell.send(all));
    });
    (address, heard)
}

#[test]
fn a_server_in_plain_text_learns_nothing() {
    let certs = Certs::new();
    let (address, heard) = eavesdropper();
    let cluster = pair(Server::options().tls(&certs).config(format!("client_advertise: \"{address}\"")));
    let first = &cluster.servers()[0];
    let bus = connected(first, &address, &certs);
    for server in cluster.servers() {
        server.kill();
    }
    let failed = bus.event_where(EventKind::ConnectFailed, |event| event.server.ends_with(&address));
    assert_eq!(failed.status, Status::TlsFailed, "{failed:?}");
    assert!(failed.text.contains("does not offer it"), "{failed:?}");
    let [plain, offered] = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(plain, b"");
    // A TLS record with a ClientHello, and no name in it that an address would not have.
    assert_eq!((offered.first(), offered.get(5)), (Some(&0x16), Some(&1)));
    for secret in ["CONNECT", "app", "hush-hush"] {
        assert!(!offered.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
    first.restart();
    bus.event(EventKind::Reconnected);
    bus.finish();
}
