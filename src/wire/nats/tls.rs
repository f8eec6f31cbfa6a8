//! How connections are encrypted: rustls with ring, TLS 1.2 and 1.3, certificates always checked.
//!
//! A failed handshake is the commonest trouble of a first deployment, so every error here names the file or the server, the cause, and the option that helps.

use std::io;
use std::sync::Arc;

use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig, ConfigBuilder, RootCertStore};

use crate::base::error::{Error, Result, Status};
use crate::config::servers::ServerUrl;
use crate::config::settings::TlsSettings;

/// The configuration for all connections of a publisher. Reads the files, or the system's trusted certificates, blocking: make it anew to pick up rotated ones.
///
/// # Errors
/// `InvalidOption` if a file cannot be read or used, `TlsFailed` if the system trusts no CA; both say what to do.
pub(crate) fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>> {
    let roots = match &settings.ca_file {
        Some(path) => roots_from_file(path)?,
        None => roots_of_the_system()?,
    };
    // The provider by name: a process-wide default would be the host's to choose, and choosing twice panics.
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Status::Internal, format!("no usable TLS version: {error}")))?
        .with_root_certificates(roots);
    with_client_certificate(builder, settings).map(Arc::new)
}

/// The name that the server's certificate must have: `tls_server_name`, or the host that the user configured. For a discovered server that is the host of
/// the one that told of it.
///
/// # Errors
/// `InvalidOption` if it is neither a DNS name nor an address.
pub(crate) fn server_name(settings: &TlsSettings, original_host: &str) -> Result<ServerName<'static>> {
    let (option, name) = match &settings.server_name {
        Some(name) => ("tls_server_name", name.as_str()),
        None => ("servers", original_host),
    };
    ServerName::try_from(name.to_owned())
        .map_err(|_| Error::new(Status::InvalidOption, format!("{option}: {name:?} is neither a DNS name nor an IP address, so no certificate can be for it")))
}

/// The error for a handshake that failed, or for a connection that ended before its first PONG: with TLS 1.3 the server's verdict on our certificate comes
/// after our side of the handshake is done.
pub(crate) fn handshake_error(server: &ServerUrl, tls_name: &str, settings: &TlsSettings, error: &io::Error) -> Error {
    let name = settings.server_name.as_deref().unwrap_or(tls_name);
    let why = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => explained(error, name, settings),
        None if error.kind() == io::ErrorKind::UnexpectedEof => format!("the server closed the connection during the handshake; {}", no_tls_hint(settings)),
        None => error.to_string(),
    };
    Error::new(Status::TlsFailed, format!("{server}: TLS failed: {why}"))
}

fn explained(error: &rustls::Error, name: &str, settings: &TlsSettings) -> String {
    use CertificateError as Certificate;
    match error {
        // A CA of the same name with another key shows as a bad signature.
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => match &settings.ca_file {
            Some(path) => format!("the server's certificate is not signed by a CA in tls_ca_file {path:?}; add its CA's certificate there"),
            None => "the server's certificate is signed by a CA that this system does not trust; set tls_ca_file to its CA's certificate".to_owned(),
        },
        rustls::Error::InvalidCertificate(Certificate::NotValidForNameContext { presented, .. }) => {
            let names = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!("the server's certificate is not for {name:?} but for {names}; connect by that name, or set tls_server_name to it")
        }
        rustls::Error::InvalidCertificate(Certificate::NotValidForName) => {
            format!("the server's certificate is not for {name:?}; connect by the name in it, or set tls_server_name to that")
        }
        rustls::Error::InvalidCertificate(
            expired @ (Certificate::Expired | Certificate::ExpiredContext { .. } | Certificate::NotValidYet | Certificate::NotValidYetContext { .. }),
        ) => format!("the server's certificate is not valid now ({expired}); renew it, or set this machine's clock"),
        rustls::Error::InvalidCertificate(other) => format!("the server's certificate is not acceptable: {other}"),
        rustls::Error::AlertReceived(alert) => refused(*alert, settings),
        rustls::Error::InvalidMessage(_) => format!("what the server sent is not TLS; {}", no_tls_hint(settings)),
        other => other.to_string(),
    }
}

/// The server ended the handshake with this alert.
fn refused(alert: AlertDescription, settings: &TlsSettings) -> String {
    use AlertDescription as Alert;
    let about_our_certificate = matches!(
        alert,
        Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
    );
    match &settings.cert_file {
        _ if alert == Alert::ProtocolVersion => "the server speaks neither TLS 1.2 nor 1.3".to_owned(),
        // Go's TLS 1.2 says BadCertificate to a client that has none.
        None if about_our_certificate => format!("the server asks for a client certificate ({alert:?}); set tls_cert_file and tls_key_file"),
        // DecryptError: its signature does not fit a CA of the same name that the server has.
        Some(path) if about_our_certificate || alert == Alert::DecryptError => {
            format!(
                "the server refused the client certificate in tls_cert_file {path:?} ({alert:?}); it must be valid and signed by a CA that the server trusts"
            )
        }
        _ => format!("the server refused the handshake ({alert:?})"),
    }
}

fn no_tls_hint(settings: &TlsSettings) -> &'static str {
    if settings.first { "tls_first is set, which the server must allow too (handshake_first)" } else { "check that TLS is on at this port" }
}

fn roots_from_file(path: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls_ca_file", path)? {
        roots.add(certificate).map_err(|error| unusable("tls_ca_file", path, &format!("has a certificate that cannot be a CA: {error}")))?;
    }
    Ok(roots)
}

/// The certificates that the system trusts; single unusable ones are left out, as everybody does.
fn roots_of_the_system() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let cause = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        let text = format!("no trusted CA certificates were found on this system{cause}; install them (ca-certificates) or set tls_ca_file");
        return Err(Error::new(Status::TlsFailed, text));
    }
    Ok(roots)
}

fn with_client_certificate(builder: ConfigBuilder<ClientConfig, WantsClientCert>, settings: &TlsSettings) -> Result<ClientConfig> {
    let (cert_file, key_file) = match (&settings.cert_file, &settings.key_file) {
        (Some(cert_file), Some(key_file)) => (cert_file, key_file),
        (None, None) => return Ok(builder.with_no_client_auth()),
        _ => return Err(Error::new(Status::InvalidOption, "tls_cert_file and tls_key_file: only one is given; give both")),
    };
    let chain = certificates("tls_cert_file", cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            unusable("tls_key_file", key_file, "has no private key in it; allowed are PEM blocks PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY")
        }
        error => unreadable("tls_key_file", key_file, &error),
    })?;
    builder.with_client_auth_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => unusable("tls_key_file", key_file, &format!("does not belong to the certificate in tls_cert_file {cert_file:?}")),
        error => unusable("tls_key_file", key_file, &format!("cannot be used with tls_cert_file {cert_file:?}: {error}")),
    })
}

/// The certificates in a PEM file: at least one.
fn certificates(option: &str, path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|error| unreadable(option, path, &error))?;
    if found.is_empty() {
        return Err(unusable(option, path, "has no certificate in it; it must have PEM blocks BEGIN CERTIFICATE"));
    }
    Ok(found)
}

/// Says the cause without the library's debug form; it never quotes the content.
fn unreadable(option: &str, path: &str, error: &pem::Error) -> Error {
    match error {
        pem::Error::Io(error) => unusable(option, path, &format!("cannot be read: {error}")),
        pem::Error::NoItemsFound => unusable(option, path, "has no PEM block in it"),
        _ => unusable(option, path, "is not valid PEM"),
    }
}

#[cold]
fn unusable(option: &str, path: &str, why: &str) -> Error {
    Error::new(Status::InvalidOption, format!("{option} {path:?} {why}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::io::{Cursor, Read, Write};
    use std::path::Path;

    use ackbus_test_support::Certs;
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ClientConnection, ServerConfig, ServerConnection};

    use super::*;
    use crate::config::servers::Servers;

    fn path(path: &Path) -> Option<String> {
        Some(path.to_str().unwrap().to_owned())
    }

    fn server() -> ServerUrl {
        let Servers::Nats(mut servers) = Servers::parse("tls://u:hush@localhost").unwrap() else { unreachable!() };
        servers.remove(0)
    }

    fn trusting(certs: &Certs) -> TlsSettings {
        TlsSettings { ca_file: path(&certs.ca), ..TlsSettings::default() }
    }

    fn refused(settings: &TlsSettings) -> String {
        let error = client_config(settings).unwrap_err();
        assert_eq!(error.status(), Status::InvalidOption);
        error.message().to_owned()
    }

    fn server_config(certs: &Certs, client_ca: Option<&Path>) -> Arc<ServerConfig> {
        let chain = certificates("", certs.server_cert.to_str().unwrap()).unwrap();
        let key = PrivateKeyDer::from_pem_file(&certs.server_key).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots = Arc::new(roots_from_file(ca.to_str().unwrap()).unwrap());
                builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap())
            }
        };
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }

    /// A whole handshake in memory, with a byte each way at its end; the client's error if it has one.
    fn handshake(settings: &TlsSettings, host: &str, server: Arc<ServerConfig>) -> io::Result<()> {
        let mut client = ClientConnection::new(client_config(settings).unwrap(), server_name(settings, host).unwrap()).unwrap();
        let mut server = ServerConnection::new(server).unwrap();
        for _ in 0..10 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire)?;
            }
            while !wire.is_empty() {
                let taken = server.read_tls(&mut Cursor::new(&wire))?;
                wire.drain(..taken);
                let _ = server.process_new_packets();
            }
            while server.wants_write() {
                server.write_tls(&mut wire)?;
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest)?;
                client.process_new_packets().map_err(io::Error::other)?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        client.writer().write_all(b"x")?;
        let mut wire = Vec::new();
        client.write_tls(&mut wire)?;
        server.read_tls(&mut wire.as_slice())?;
        server.process_new_packets().map_err(io::Error::other)?;
        let mut byte = [0];
        server.reader().read_exact(&mut byte)
    }

    fn failure(settings: &TlsSettings, host: &str, server_config: Arc<ServerConfig>) -> String {
        let error = handshake_error(&server(), host, settings, &handshake(settings, host, server_config).unwrap_err());
        assert_eq!(error.status(), Status::TlsFailed);
        assert!(error.message().starts_with("tls://localhost:4222: TLS failed: ") && !error.message().contains("hush"), "{error}");
        error.message().to_owned()
    }

    #[test]
    fn a_good_server_is_accepted_by_name_and_by_address() {
        let certs = Certs::new();
        for host in ["localhost", "127.0.0.1"] {
            handshake(&trusting(&certs), host, server_config(&certs, None)).unwrap();
        }
        let other_name = TlsSettings { server_name: Some("localhost".to_owned()), ..trusting(&certs) };
        handshake(&other_name, "10.9.8.7", server_config(&certs, None)).unwrap();
    }

    #[test]
    fn a_client_certificate_is_shown() {
        let certs = Certs::new();
        let settings = TlsSettings { cert_file: path(&certs.client_cert), key_file: path(&certs.client_key), ..trusting(&certs) };
        handshake(&settings, "localhost", server_config(&certs, Some(&certs.ca))).unwrap();
    }

    #[test]
    fn a_failed_handshake_says_what_to_do() {
        let certs = Certs::new();
        let stranger = Certs::for_names(&["stranger.test"]);

        let unknown = failure(&trusting(&stranger), "localhost", server_config(&certs, None));
        assert!(unknown.contains("not signed by a CA in tls_ca_file") && unknown.contains(stranger.ca.to_str().unwrap()), "{unknown}");

        let wrong_name = failure(&trusting(&stranger), "localhost", server_config(&stranger, None));
        assert!(wrong_name.contains("not for \"localhost\"") && wrong_name.contains("stranger.test") && wrong_name.contains("tls_server_name"), "{wrong_name}");

        let missing = failure(&trusting(&certs), "localhost", server_config(&certs, Some(&certs.ca)));
        assert!(missing.contains("asks for a client certificate") && missing.contains("tls_cert_file and tls_key_file"), "{missing}");

        let settings = TlsSettings { cert_file: path(&stranger.client_cert), key_file: path(&stranger.client_key), ..trusting(&certs) };
        let not_trusted = failure(&settings, "localhost", server_config(&certs, Some(&certs.ca)));
        assert!(not_trusted.contains("refused the client certificate in tls_cert_file"), "{not_trusted}");
    }

    #[test]
    fn other_failures_are_told_too() {
        let explain =
            |error: rustls::Error, settings: &TlsSettings| handshake_error(&server(), "localhost", settings, &io::Error::other(error)).message().to_owned();
        let settings = TlsSettings::default();
        let first = TlsSettings { first: true, ..TlsSettings::default() };
        let of_certificate = rustls::Error::InvalidCertificate;
        for (error, settings, part) in [
            (of_certificate(CertificateError::UnknownIssuer), &settings, "set tls_ca_file"),
            (of_certificate(CertificateError::Expired), &settings, "clock"),
            (of_certificate(CertificateError::NotValidYet), &settings, "clock"),
            (of_certificate(CertificateError::NotValidForName), &settings, "tls_server_name"),
            (of_certificate(CertificateError::Revoked), &settings, "not acceptable"),
            (rustls::Error::AlertReceived(AlertDescription::ProtocolVersion), &settings, "TLS 1.2"),
            (rustls::Error::AlertReceived(AlertDescription::HandshakeFailure), &settings, "HandshakeFailure"),
            (rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), &settings, "check that TLS is on"),
            (rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), &first, "handshake_first"),
        ] {
            let message = explain(error, settings);
            assert!(message.contains(part), "{message}");
        }
        let plain = |kind: io::ErrorKind| handshake_error(&server(), "localhost", &TlsSettings::default(), &kind.into()).message().to_owned();
        assert!(plain(io::ErrorKind::UnexpectedEof).contains("closed the connection during the handshake"));
        assert!(plain(io::ErrorKind::ConnectionReset).contains("connection reset"));
    }

    #[test]
    fn unusable_files_are_named_with_their_option() {
        let certs = Certs::new();
        let other = Certs::new();
        let folder = certs.ca.parent().unwrap();
        let file = |name: &str, content: &str| {
            std::fs::write(folder.join(name), content).unwrap();
            path(&folder.join(name))
        };
        let key = std::fs::read_to_string(&certs.client_key).unwrap();
        let with = |cert_file, key_file| TlsSettings { cert_file, key_file, ..trusting(&certs) };
        let authority = |ca_file| TlsSettings { ca_file, ..TlsSettings::default() };
        for (settings, parts) in [
            (authority(Some("/no/such.pem".to_owned())), ["tls_ca_file \"/no/such.pem\"", "cannot be read: No such file"]),
            (authority(file("empty.pem", "")), ["tls_ca_file", "no certificate in it"]),
            (authority(path(&certs.client_key)), ["tls_ca_file", "no certificate in it"]),
            (authority(file("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA")), ["tls_ca_file", "not valid PEM"]),
            (authority(file("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")), ["tls_ca_file", "cannot be a CA"]),
            (with(path(&certs.client_cert), path(&certs.client_cert)), ["tls_key_file", "no private key in it"]),
            (with(path(&certs.client_cert), path(&other.client_key)), ["tls_key_file", "does not belong to the certificate in tls_cert_file"]),
            (with(path(&certs.client_key), path(&certs.client_key)), ["tls_cert_file", "no certificate in it"]),
            (with(path(&certs.client_cert), file("bad.key", &key.replace("BEGIN", "BEGUN"))), ["tls_key_file", "no private key in it"]),
            (with(path(&certs.client_cert), None), ["tls_cert_file and tls_key_file", "give both"]),
        ] {
            let message = refused(&settings);
            assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
            assert!(!message.contains(key.lines().nth(1).unwrap()), "{message}");
        }
    }

    #[test]
    fn names_are_checked() {
        let settings = TlsSettings::default();
        for host in ["localhost", "127.0.0.1", "::1", "nats.example.org"] {
            server_name(&settings, host).unwrap();
        }
        assert!(server_name(&settings, "not a name").unwrap_err().message().starts_with("servers: \"not a name\""));
        let given = TlsSettings { server_name: Some("a b".to_owned()), ..TlsSettings::default() };
        assert!(server_name(&given, "localhost").unwrap_err().message().starts_with("tls_server_name: \"a b\""));
    }

    #[test]
    fn without_a_file_the_system_decides() {
        // Which of the two depends on the machine; neither may panic, and the error must help.
        if let Err(error) = client_config(&TlsSettings::default()) {
            assert_eq!(error.status(), Status::TlsFailed);
            assert!(error.message().contains("tls_ca_file"), "{error}");
        }
    }
}
