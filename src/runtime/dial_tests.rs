#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::pin::pin;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ackbus_test_support::Certs;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::Config;
use crate::runtime::sockets::Internet;

const PATIENCE: Duration = Duration::from_millis(3_000);

/// Greets one client, with TLS if there are certificates, and gives what the client then sent, until it hung up.
fn greeter(certs: Option<&Certs>) -> (Target, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = listener.local_addr().unwrap().to_string();
    let Servers::Nats(mut servers) = Servers::parse(&url).unwrap() else { unreachable!() };
    let config = certs.map(|certs| {
        let chain = vec![CertificateDer::from_pem_file(&certs.server_cert).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&certs.server_key).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
    });
    let served = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        writeln!(tcp, "INFO {{\"headers\":true,\"tls_required\":{}}}\r", config.is_some()).unwrap();
        // A client that refuses the certificate hangs up without a farewell.
        let _ = match config {
            Some(config) => StreamOwned::new(ServerConnection::new(config).unwrap(), tcp).read_to_end(&mut heard),
            None => tcp.read_to_end(&mut heard),
        };
        heard
    });
    let server = servers.remove(0);
    (Target { tls_name: server.host.clone(), server }, served)
}

/// Trusts this authority, and has a secret.
fn dialer(ca: &Path, required: bool) -> Arc<Dialer> {
    let mut settings = Config::new().settings().unwrap();
    settings.tls.required = required;
    settings.tls.ca_file = Some(ca.to_str().unwrap().to_owned());
    settings.auth.token = Some(crate::base::secret::Secret::new("hush"));
    settings.connect_timeout = PATIENCE;
    Arc::new(Dialer::new(&settings).unwrap())
}

fn dial(dialer: &Arc<Dialer>, target: Target) -> Result<Greeted<Internet>> {
    let began = Instant::now();
    let mut dialing = Dialing::new(dialer, &Internet, target, 0);
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut sleep = pin!(tokio::time::sleep(PATIENCE));
        poll_fn(|cx| {
            let _ = sleep.as_mut().poll(cx);
            dialing.poll(cx, &Internet, nanos(began.elapsed()))
        })
        .await
    })
}

#[test]
fn a_server_that_says_nothing_may_wait_for_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let Servers::Nats(mut servers) = Servers::parse(&listener.local_addr().unwrap().to_string()).unwrap() else { unreachable!() };
    let hangs_up = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let server = servers.remove(0);
    let error = dial(&dialer(&Certs::new().ca, false), Target { tls_name: server.host.clone(), server }).err().unwrap();
    hangs_up.join().unwrap();
    assert!(error.message().contains("the server closed the connection") && error.message().contains("set tls_first"), "{error}");
}

#[test]
fn after_a_server_with_tls_no_other_gets_plain_text() {
    let certs = Certs::new();
    let dialer = dialer(&certs.ca, false);
    let (first, served) = greeter(None);
    assert!(!dial(&dialer, first).unwrap().over_tls, "nobody asked for TLS so far");
    assert_eq!(served.join().unwrap(), b"");
    let (second, served) = greeter(Some(&certs));
    assert!(dial(&dialer, second).unwrap().over_tls);
    served.join().unwrap();
    let (third, served) = greeter(None);
    let error = dial(&dialer, third).err().unwrap();
    assert_eq!(error.status(), Status::TlsFailed);
    assert!(error.message().contains("another server has asked for it"), "{error}");
    assert_eq!(served.join().unwrap(), b"");
}

#[test]
fn certificates_are_read_again_for_each_connection() {
    let (old, new) = (Certs::new(), Certs::new());
    let ca = old.ca.with_file_name("rotated.pem");
    std::fs::copy(&old.ca, &ca).unwrap();
    let dialer = dialer(&ca, true);
    for (certs, trusted) in [(&old, true), (&new, false)] {
        let (target, served) = greeter(Some(certs));
        assert_eq!(dial(&dialer, target).is_ok(), trusted);
        served.join().unwrap();
    }
    std::fs::copy(&new.ca, &ca).unwrap();
    let (target, served) = greeter(Some(&new));
    dial(&dialer, target).map(drop).unwrap();
    served.join().unwrap();
    // A file that is being replaced is an error of one try.
    std::fs::write(&ca, "").unwrap();
    let (target, served) = greeter(Some(&new));
    assert_eq!(dial(&dialer, target).err().unwrap().status(), Status::InvalidOption);
    served.join().unwrap();
}

#[test]
fn a_server_that_never_says_anything_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let Servers::Nats(mut servers) = Servers::parse(&listener.local_addr().unwrap().to_string()).unwrap() else { unreachable!() };
    let server = servers.remove(0);
    let mut settings = Config::new().settings().unwrap();
    settings.connect_timeout = Duration::from_millis(7);
    let dialer = Arc::new(Dialer::new(&settings).unwrap());
    let mut dialing = Dialing::new(&dialer, &Internet, Target { tls_name: server.host.clone(), server }, 1);
    let mut polls = 0;
    let result = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(poll_fn(|cx| {
        polls += 1;
        // The clock is the driver's: here it stands still until the connection is open, and is then far beyond the time.
        let greets = matches!(dialing.step, Step::Greeting(..));
        cx.waker().wake_by_ref();
        dialing.poll(cx, &Internet, if greets { u64::MAX } else { 2 }).map(|result| result.err().unwrap())
    }));
    assert!(result.message().ends_with("no greeting within 7 ms (connect_timeout_ms); if it waits for TLS (handshake_first), set tls_first"), "{result}");
    assert!(polls > 2, "the network is asked once more");
}
