//! No secret is told: not in a log line of any level, not in an error, an event, a setting that is read back, or what `{:?}` prints.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use ackbus::{Config, EventKind};
use ackbus_test_support::{Certs, Credentials, Server};
use nkeys::KeyPair;

use crate::common::{Bus, Options, config};
use crate::logs::logged;

/// What can be asked of the options.
fn asked(config: &Config) -> String {
    let values: Vec<String> = Config::keys().iter().map(|key| format!("{key}={}", config.get(key).unwrap())).collect();
    format!("{config:?} {values:?}")
}

/// A way to log in that works, the same with something wrong, and the texts that nobody may read.
struct Login<'a> {
    url: String,
    right: Options<'a>,
    wrong_url: String,
    wrong: Options<'a>,
    secrets: &'a [&'a str],
}

impl Login<'_> {
    /// Logs in, loses the connection, logs in again, is refused; looks through all that was told.
    #[track_caller]
    fn tells_nothing(&self, server: &Server) {
        logged();
        let more = [("log_level", "trace"), ("delivery_timeout_ms", "3600000")];
        let right = &[self.right, &more].concat();
        let bus = Bus::connect(&self.url, right, &[("orders.>", "stream", "ORDERS"), ("orders.>", "create", "if_missing")]);
        bus.series("orders.created", 10);
        bus.reported(10);
        server.restart();
        bus.event(EventKind::Reconnected);
        bus.series("orders.created", 10);
        let info = bus.publisher().info();
        let mut told = format!("{bus:?} {:?} {info:?} {}", bus.publisher(), asked(&config(&self.url, right, &[])));
        let lost = info.last_error.expect("the connection was lost once");
        let _ = write!(told, " {lost} {lost:?} {:?}", bus.finish());

        let wrong = &[self.wrong, &more].concat();
        let error = Bus::refused(&self.wrong_url, wrong, &[]);
        let _ = write!(told, " {error} {error:?} {}", asked(&config(&self.wrong_url, wrong, &[])));
        let refused = Bus::connect(&self.wrong_url, &[&wrong[..], &[("retry_on_connect", "true")]].concat(), &[]);
        let failed = refused.event(EventKind::Failed);
        let _ = write!(told, " {failed:?} {:?} {:?}", refused.publisher().info(), refused.finish());

        let log = logged();
        let port = server.address().port().to_string();
        for line in ["CONNECTED: connected to", "DISCONNECTED: ", "RECONNECTED: reconnected to", "FAILED: "] {
            assert!(log.lines().any(|logged| logged.contains(line) && logged.contains(&port)), "{line:?} of port {port} is missing in the log:\n{log}");
        }
        for secret in self.secrets {
            assert!(secret.len() >= 20, "too short to be known again: {secret}");
            for (place, text) in [("the log", &log), ("what was told", &told)] {
                if let Some(at) = text.find(secret) {
                    panic!("{place} has a secret, after: {}", text[..at].chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect::<String>());
                }
            }
        }
    }
}

/// Words that nothing else holds.
fn unique() -> String {
    KeyPair::new_user().seed().unwrap()[20..50].to_owned()
}

fn with(url: &str, credentials: &str) -> String {
    url.replace("nats://", &format!("nats://{credentials}@"))
}

#[test]
fn a_token() {
    let (right, wrong) = (unique(), unique());
    let server = Server::options().config(format!("authorization {{ token: \"{right}\" }}")).start();
    let (url, secrets) = (server.url(), [right.as_str(), &wrong]);
    Login { url: url.clone(), right: &[("token", &right)], wrong_url: url.clone(), wrong: &[("token", &wrong)], secrets: &secrets }.tells_nothing(&server);
    Login { url: with(&url, &right), right: &[], wrong_url: with(&url, &wrong), wrong: &[], secrets: &secrets }.tells_nothing(&server);
}

#[test]
fn a_user_and_a_password() {
    let (user, right, wrong) = (unique(), unique(), unique());
    // What a URL must escape is a secret in both forms.
    let server = Server::options().user(&user, &format!("{right}/@%"), "").start();
    let (url, secrets) = (server.url(), [user.as_str(), &right, &wrong]);
    let password = format!("{right}/@%");
    let options = [("user", user.as_str()), ("password", &password)];
    let refused = [("user", user.as_str()), ("password", &wrong)];
    Login { url: url.clone(), right: &options, wrong_url: url.clone(), wrong: &refused, secrets: &secrets }.tells_nothing(&server);
    let (right, wrong) = (with(&url, &format!("{user}:{right}%2F%40%25")), with(&url, &format!("{user}:{wrong}")));
    Login { url: right, right: &[], wrong_url: wrong, wrong: &[], secrets: &secrets }.tells_nothing(&server);
}

#[test]
fn an_nkey() {
    let (key, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let (right, wrong) = (key.seed().unwrap(), stranger.seed().unwrap());
    let server = Server::options().nkey(&key.public_key()).start();
    let (url, secrets) = (server.url(), [right.as_str(), &wrong]);
    Login { url: url.clone(), right: &[("nkey_seed", &right)], wrong_url: url.clone(), wrong: &[("nkey_seed", &wrong)], secrets: &secrets }
        .tells_nothing(&server);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, seed: &str| {
        let path = folder.path().join(name);
        fs::write(&path, seed).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right_file, wrong_file) = (file("right.nk", &right), file("wrong.nk", &wrong));
    let (options, refused) = ([("nkey_seed_file", right_file.as_str())], [("nkey_seed_file", wrong_file.as_str())]);
    Login { url: url.clone(), right: &options, wrong_url: url, wrong: &refused, secrets: &secrets }.tells_nothing(&server);
}

#[test]
fn a_credentials_file() {
    let (credentials, stranger) = (Credentials::new(), Credentials::new());
    let server = Server::options().credentials(&credentials).start();
    let [right, wrong] = [&credentials, &stranger].map(|credentials| fs::read_to_string(credentials.file()).unwrap());
    let secrets: Vec<&str> = right.lines().chain(wrong.lines()).filter(|line| !line.is_empty() && !line.starts_with("---")).collect();
    assert_eq!(secrets.len(), 4, "two JWTs, two seeds");
    let path = |credentials: &Credentials| credentials.file().to_str().unwrap().to_owned();
    let (url, right_file, wrong_file) = (server.url(), path(&credentials), path(&stranger));
    let (options, refused) = ([("credentials_file", right_file.as_str())], [("credentials_file", wrong_file.as_str())]);
    Login { url: url.clone(), right: &options, wrong_url: url.clone(), wrong: &refused, secrets: &secrets }.tells_nothing(&server);
    let (options, refused) = ([("credentials", right.as_str())], [("credentials", wrong.as_str())]);
    Login { url: url.clone(), right: &options, wrong_url: url, wrong: &refused, secrets: &secrets }.tells_nothing(&server);
}

#[test]
fn a_password_and_a_client_certificate_over_tls() {
    let (certs, right, wrong) = (Certs::new(), unique(), unique());
    let server = Server::options().tls_verify(&certs).user("app", &right, "").start();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca, cert, key) = (path(&certs.ca), path(&certs.client_cert), path(&certs.client_key));
    let pem = fs::read_to_string(&key).unwrap();
    let private: Vec<&str> = pem.lines().filter(|line| !line.starts_with("---") && line.len() >= 20).collect();
    assert!(!private.is_empty());
    let tls = [("tls_ca_file", ca.as_str()), ("tls_cert_file", &cert), ("tls_key_file", &key), ("user", "app")];
    let options = [&tls[..], &[("password", &right)]].concat();
    let refused = [&tls[..], &[("password", &wrong)]].concat();
    let secrets = [&private[..], &[right.as_str(), &wrong]].concat();
    Login { url: server.url(), right: &options, wrong_url: server.url(), wrong: &refused, secrets: &secrets }.tells_nothing(&server);
}

/// Options that are refused before any server is asked.
#[test]
fn values_that_are_refused() {
    let secret = unique();
    let seed = format!("SU{secret}");
    let text = format!("-----BEGIN NATS USER JWT-----\n{secret}\n");
    let (line, url) = (format!("{secret}\n"), format!("nats://app:{secret}@/"));
    for (key, value) in [("token", &line), ("user", &line), ("password", &line), ("nkey_seed", &seed), ("credentials", &text), ("servers", &url)] {
        let error = Config::new().set(key, value).unwrap_err();
        assert!(error.message().contains(key), "{error}");
        assert!(!format!("{error} {error:?}").contains(&secret), "{key}");
    }
    let both = config("nats://127.0.0.1:1", &[("token", &secret), ("user", &secret), ("password", &secret)], &[]);
    let error = ackbus::Publisher::connect(&both, ackbus::Handlers::default()).unwrap_err();
    assert!(error.message().contains("more than one kind") && !format!("{error:?}").contains(&secret), "{error}");
}
