//! Certificates for one test.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use tempfile::TempDir;

/// An authority, a server certificate and a client certificate, as PEM files in a folder that is removed with this value.
#[derive(Debug)]
pub struct Certs {
    /// The authority's certificate, for `tls_ca_file`.
    pub ca: PathBuf,
    /// The server's certificate.
    pub server_cert: PathBuf,
    /// The server's private key.
    pub server_key: PathBuf,
    /// A client certificate of the same authority, for `tls_cert_file`.
    pub client_cert: PathBuf,
    /// Its private key, for `tls_key_file`.
    pub client_key: PathBuf,
    _folder: TempDir,
}

impl Certs {
    /// A server certificate that is right for 127.0.0.1 and localhost.
    #[must_use]
    pub fn new() -> Self {
        Certs::for_names(&["127.0.0.1", "localhost"])
    }

    /// A server certificate for other names, to be refused by who checks them.
    ///
    /// # Panics
    /// When a name is not one of DNS or an IP address.
    #[must_use]
    pub fn for_names(names: &[&str]) -> Self {
        Certs::made(names, false)
    }

    /// Certificates that were valid once, to be refused by who looks at the time.
    #[must_use]
    pub fn expired() -> Self {
        Certs::made(&["127.0.0.1", "localhost"], true)
    }

    /// Puts other certificates, and their authority, into the place of these files: what an operator does when they near their end.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn replace_with(&self, other: &Certs) {
        let files = |certs: &Certs| [&certs.ca, &certs.server_cert, &certs.server_key, &certs.client_cert, &certs.client_key].map(PathBuf::clone);
        for (old, new) in files(self).iter().zip(files(other)) {
            fs::copy(new, old).expect("a certificate file");
        }
    }

    fn made(names: &[&str], expired: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("ackbus-certs-").tempdir().expect("a folder for certificates");
        let write = |name: &str, pem: String| {
            let path = folder.path().join(name);
            fs::write(&path, pem).expect("a certificate file");
            path
        };
        let authority = authority();
        let ca = write("ca.pem", authority.pem());
        let issue = |names: &[&str], purpose: ExtendedKeyUsagePurpose, common_name: &str| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let mut params = CertificateParams::new(names).expect("names for a certificate");
            params.distinguished_name.push(DnType::CommonName, common_name);
            params.extended_key_usages.push(purpose);
            if expired {
                (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
            }
            let key = KeyPair::generate().expect("a key");
            (params.signed_by(&key, &authority).expect("a certificate").pem(), key.serialize_pem())
        };
        let (cert, key) = issue(names, ExtendedKeyUsagePurpose::ServerAuth, "ackbus test server");
        let (server_cert, server_key) = (write("server.pem", cert), write("server.key", key));
        let (cert, key) = issue(&["client.test"], ExtendedKeyUsagePurpose::ClientAuth, "ackbus test client");
        let (client_cert, client_key) = (write("client.pem", cert), write("client.key", key));
        Certs { ca, server_cert, server_key, client_cert, client_key, _folder: folder }
    }

    pub(crate) fn server_config(&self, more: &str) -> String {
        let (cert, key, ca) = (self.server_cert.display(), self.server_key.display(), self.ca.display());
        format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\", timeout: 5, {more} }}")
    }
}

impl Default for Certs {
    fn default() -> Self {
        Certs::new()
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "ackbus test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}
