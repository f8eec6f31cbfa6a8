//! Who we are: the fields of CONNECT that carry credentials.
//!
//! Secrets are read as late as possible and kept as short as possible. Files are read again for every connection, so that rotated credentials are picked up
//! without a restart. Errors name the option, the file and the cause, never the content. Not wiped, because the nkeys crate does not: the key while it signs.

use std::fs::File;
use std::io::Read;

use nkeys::{KeyPair, KeyPairType};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::base::error::{Error, Result, Status};
use crate::base::secret::Secret;
use crate::config::servers::ServerUrl;
use crate::config::settings::AuthSettings;

/// Credentials files are a few KiB. The cap guards against a path such as `/dev/zero`.
const MAX_FILE: usize = 64 * 1024;

/// Makes the credential fields for each connection.
pub(crate) struct Authenticator {
    settings: AuthSettings,
}

/// The credential fields of CONNECT, under their protocol names. Serialising it writes the secrets: the text must be wiped after use and never logged.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ConnectAuth {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_the_clear")]
    user: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_the_clear")]
    pass: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_the_clear")]
    auth_token: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_the_clear")]
    jwt: Option<Secret>,
    /// The public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    nkey: Option<String>,
    /// The signature of the server's nonce: base 64 for URLs, without padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<String>,
}

impl ConnectAuth {
    /// What could be read and used by whoever listens, if the connection is not encrypted. A signature is good for its nonce alone.
    pub(crate) fn exposed(&self) -> Option<&'static str> {
        match (&self.pass, &self.auth_token) {
            (Some(_), _) => Some("the password"),
            (None, Some(_)) => Some("the token"),
            (None, None) => None,
        }
    }
}

/// A key that signs, with its certificate if there is one.
struct Identity {
    key: KeyPair,
    jwt: Option<Secret>,
}

impl Authenticator {
    pub(crate) fn new(settings: AuthSettings) -> Self {
        Authenticator { settings }
    }

    /// The fields for one connection to `server`, whose INFO had this nonce. Credentials from options win over those in the URL. A server that sends no nonce
    /// asks for no signature, so none is made. Reads the credentials file, if one is set: up to 64 KiB, blocking.
    ///
    /// # Errors
    /// `InvalidOption` if a file cannot be read or has no usable key in it. It may be better at the next try: the file may be in the middle of its rotation.
    pub(crate) fn connect_fields(&self, server: &ServerUrl, nonce: Option<&str>) -> Result<ConnectAuth> {
        let mut fields = self.passwords(server);
        let Some(nonce) = nonce.filter(|nonce| !nonce.is_empty()) else { return Ok(fields) };
        if let Some(Identity { key, jwt }) = self.identity()? {
            let signature = key.sign(nonce.as_bytes()).map_err(|error| Error::new(Status::Internal, format!("the nonce could not be signed: {error}")))?;
            fields.sig = Some(base64_url(&signature));
            // With a JWT the server takes the public key from there.
            fields.nkey = jwt.is_none().then(|| key.public_key());
            fields.jwt = jwt;
        }
        Ok(fields)
    }

    /// The error for a server that refused the connection with this text; it tells what was offered and what to do.
    pub(crate) fn refusal(&self, server: &ServerUrl, nonce: Option<&str>, text: &str) -> Error {
        let wants_signature = nonce.is_some_and(|nonce| !nonce.is_empty());
        let advice = match self.offered(server) {
            Some((what, true)) if !wants_signature => {
                format!("the server asked for no signature, so {what} could not be used; it wants user and password, or a token")
            }
            Some((what, _)) => format!("check {what}"),
            None if wants_signature => {
                "the server asks for a signature and no key is configured; set credentials_file or nkey_seed_file (or user and password)".to_owned()
            }
            None => "no credentials are configured; set user and password, token, credentials_file or nkey_seed_file".to_owned(),
        };
        // The text may begin with the server already.
        let text = text.strip_prefix(&format!("{server}: ")).unwrap_or(text);
        Error::new(Status::AuthFailed, format!("{server} refused the connection: {text}; {advice}"))
    }

    /// What is configured, in words, and whether it is a key that signs.
    fn offered(&self, server: &ServerUrl) -> Option<(String, bool)> {
        let AuthSettings { token, user, credentials, credentials_file, nkey_seed, nkey_seed_file, .. } = &self.settings;
        if credentials.is_some() {
            Some(("credentials".to_owned(), true))
        } else if let Some(path) = credentials_file {
            Some((format!("credentials_file {path:?}"), true))
        } else if nkey_seed.is_some() {
            Some(("nkey_seed".to_owned(), true))
        } else if let Some(path) = nkey_seed_file {
            Some((format!("nkey_seed_file {path:?}"), true))
        } else if user.is_some() {
            Some(("user and password".to_owned(), false))
        } else if token.is_some() {
            Some(("token".to_owned(), false))
        } else {
            (server.user.is_some() || server.token.is_some()).then(|| ("the credentials in the server's URL".to_owned(), false))
        }
    }

    fn passwords(&self, server: &ServerUrl) -> ConnectAuth {
        let AuthSettings { token, user, password, credentials, credentials_file, nkey_seed, nkey_seed_file } = &self.settings;
        let signs = credentials.is_some() || credentials_file.is_some() || nkey_seed.is_some() || nkey_seed_file.is_some();
        let (user, pass, auth_token) =
            if signs || user.is_some() || token.is_some() { (user, password, token) } else { (&server.user, &server.password, &server.token) };
        ConnectAuth { user: user.clone(), pass: pass.clone(), auth_token: auth_token.clone(), ..ConnectAuth::default() }
    }

    fn identity(&self) -> Result<Option<Identity>> {
        let settings = &self.settings;
        if let Some(text) = &settings.credentials {
            from_credentials(text.expose(), "credentials").map(Some)
        } else if let Some(path) = &settings.credentials_file {
            let (text, name) = read("credentials_file", path)?;
            from_credentials(&text, &name).map(Some)
        } else if let Some(seed) = &settings.nkey_seed {
            from_seed(seed.expose(), "nkey_seed").map(Some)
        } else if let Some(path) = &settings.nkey_seed_file {
            let (text, name) = read("nkey_seed_file", path)?;
            from_seed(&text, &name).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// A credentials file: a block with the user's JWT, and one with the seed of the user's key. The nkeys crate reads seeds but not this frame around them.
fn from_credentials(text: &str, name: &str) -> Result<Identity> {
    let missing = |what: &str| unusable(name, &format!("has no {what}; a credentials file has a USER JWT and a USER NKEY SEED block"));
    let jwt = block(text, "USER JWT").ok_or_else(|| missing("-----BEGIN NATS USER JWT----- block"))?;
    let seed = block(text, "USER NKEY SEED").ok_or_else(|| missing("-----BEGIN USER NKEY SEED----- block"))?;
    let is_jwt = jwt.split('.').count() == 3 && jwt.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'='));
    if !is_jwt {
        return Err(unusable(name, "has a USER JWT block that does not hold a JWT"));
    }
    Ok(Identity { key: user_key(seed, name)?, jwt: Some(Secret::new(jwt)) })
}

/// A bare seed, or one in its block.
fn from_seed(text: &str, name: &str) -> Result<Identity> {
    let first_line = || text.lines().map(str::trim).find(|line| !line.is_empty());
    let seed = block(text, "NKEY SEED").or_else(first_line).ok_or_else(|| unusable(name, "is empty; it must hold a user's seed (SU...)"))?;
    Ok(Identity { key: user_key(seed, name)?, jwt: None })
}

fn user_key(seed: &str, name: &str) -> Result<KeyPair> {
    // The library's text names the kind of fault alone; its description could quote the seed.
    let key = KeyPair::from_seed(seed).map_err(|error| unusable(name, &format!("holds no valid seed: {:?}", error.kind())))?;
    match key.key_pair_type() {
        KeyPairType::User => Ok(key),
        other => Err(unusable(name, &format!("holds the seed of {other:?}; it must be a user's (SU...)"))),
    }
}

/// The first line inside the block with this label. The frame is `-----BEGIN label-----`; the number of dashes varies between tools.
fn block<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.find(|line| line.starts_with("---") && line.contains("BEGIN") && line.contains(label))?;
    lines.next().filter(|line| !line.starts_with("---"))
}

/// The text of a file, and the name for errors: option and path.
fn read(option: &str, path: &str) -> Result<(Zeroizing<String>, String)> {
    let name = format!("{option} {path:?}");
    // Its full size at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE + 1));
    let limit = u64::try_from(MAX_FILE + 1).unwrap_or(u64::MAX);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(|error| unusable(&name, &format!("cannot be read: {error}")))?;
    if bytes.len() > MAX_FILE {
        return Err(unusable(&name, &format!("is larger than {MAX_FILE} bytes")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable(&name, "is not UTF-8 text"))?;
    Ok((Zeroizing::new(text.to_owned()), name))
}

#[cold]
fn unusable(name: &str, why: &str) -> Error {
    Error::new(Status::InvalidOption, format!("{name} {why}"))
}

#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn in_the_clear<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serializer.serialize_str(secret.expose()),
        None => serializer.serialize_none(),
    }
}

/// RFC 4648 base 64 in the alphabet for URLs, without padding.
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0, |group, &byte| group << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        // A chunk of n bytes fills n + 1 digits.
        for digit in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(group >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::path::PathBuf;

    use super::*;
    use crate::config::servers::Servers;

    const JWT: &str = "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJVIn0.c2ln-_x";

    fn server(text: &str) -> ServerUrl {
        let Servers::Nats(mut servers) = Servers::parse(text).unwrap() else { unreachable!() };
        servers.remove(0)
    }

    fn credentials(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\r\n{jwt}\r\n------END NATS USER JWT------\r\n\r\n************************* IMPORTANT *************************\r\n\
             NKEY Seed printed below can be used to sign and prove identity.\r\n\r\n-----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
        )
    }

    fn json(settings: AuthSettings, url: &str, nonce: Option<&str>) -> serde_json::Value {
        serde_json::to_value(Authenticator::new(settings).connect_fields(&server(url), nonce).unwrap()).unwrap()
    }

    fn refused(settings: AuthSettings) -> String {
        let error = Authenticator::new(settings).connect_fields(&server("host"), Some("nonce")).unwrap_err();
        assert_eq!(error.status(), Status::InvalidOption);
        error.message().to_owned()
    }

    /// A file of its own for each test, removed at the end.
    struct TempFile(PathBuf);

    impl TempFile {
        fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
            let path = std::env::temp_dir().join(format!("ackbus-auth-{}-{name}", std::process::id()));
            std::fs::write(&path, content).unwrap();
            TempFile(path)
        }

        fn path(&self) -> Option<String> {
            Some(self.0.to_str().unwrap().to_owned())
        }
    }

    impl Drop for TempFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn passwords_and_tokens_come_from_options_before_the_url() {
        let secret = |text: &str| Some(Secret::new(text));
        let none = AuthSettings::default;
        assert_eq!(json(none(), "host", Some("n")), serde_json::json!({}));
        assert_eq!(json(none(), "u:p@host", None), serde_json::json!({"user": "u", "pass": "p"}));
        assert_eq!(json(none(), "t@host", None), serde_json::json!({"auth_token": "t"}));
        let by_user = AuthSettings { user: secret("me"), password: secret("pw\"\r\n"), ..none() };
        assert_eq!(json(by_user, "t@host", Some("n")), serde_json::json!({"user": "me", "pass": "pw\"\r\n"}));
        let by_token = AuthSettings { token: secret("tk"), ..none() };
        assert_eq!(json(by_token, "u:p@host", None), serde_json::json!({"auth_token": "tk"}));
    }

    #[test]
    fn what_listeners_could_use_is_known() {
        let exposed = |settings, url: &str| Authenticator::new(settings).connect_fields(&server(url), Some("n")).unwrap().exposed();
        let none = AuthSettings::default;
        assert_eq!(exposed(none(), "host"), None);
        assert_eq!(exposed(none(), "u:p@host"), Some("the password"));
        assert_eq!(exposed(AuthSettings { token: Some(Secret::new("tk")), ..none() }, "host"), Some("the token"));
        let seed = KeyPair::new_user().seed().unwrap();
        assert_eq!(exposed(AuthSettings { nkey_seed: Some(Secret::new(seed)), ..none() }, "host"), None);
    }

    #[test]
    fn keys_sign_the_nonce() {
        let key = KeyPair::new_user();
        let seed = key.seed().unwrap();
        let sig = base64_url(&key.sign(b"a nonce").unwrap());
        let by_seed = |text: &str| AuthSettings { nkey_seed: Some(Secret::new(text)), ..AuthSettings::default() };
        let expected = serde_json::json!({"nkey": key.public_key(), "sig": sig});
        assert_eq!(json(by_seed(&seed), "u:p@host", Some("a nonce")), expected);
        assert_eq!(json(by_seed(&format!("\n  {seed} \r\n")), "host", Some("a nonce")), expected);
        assert_eq!(json(by_seed(&credentials(JWT, &seed)), "host", Some("a nonce")), expected);

        let by_credentials = AuthSettings { credentials: Some(Secret::new(credentials(JWT, &seed))), ..AuthSettings::default() };
        assert_eq!(json(by_credentials.clone(), "u:p@host", Some("a nonce")), serde_json::json!({"jwt": JWT, "sig": sig}));
        // A server that asks for no signature gets neither key nor JWT, nor what was meant for another way to log in.
        assert_eq!(json(by_credentials.clone(), "u:p@host", None), serde_json::json!({}));
        assert_eq!(json(by_credentials, "host", Some("")), serde_json::json!({}));
    }

    #[test]
    fn files_are_read_again_for_each_connection() {
        let [old, new] = [KeyPair::new_user(), KeyPair::new_user()];
        let file = TempFile::new("rotation", credentials(JWT, &old.seed().unwrap()));
        let authenticator = Authenticator::new(AuthSettings { credentials_file: file.path(), ..AuthSettings::default() });
        let sig = || authenticator.connect_fields(&server("host"), Some("n")).unwrap().sig.unwrap();
        assert_eq!(sig(), base64_url(&old.sign(b"n").unwrap()));
        std::fs::write(&file.0, credentials(JWT, &new.seed().unwrap())).unwrap();
        assert_eq!(sig(), base64_url(&new.sign(b"n").unwrap()));

        let file = TempFile::new("seed", new.seed().unwrap());
        let settings = AuthSettings { nkey_seed_file: file.path(), ..AuthSettings::default() };
        assert_eq!(json(settings, "host", Some("n"))["nkey"], new.public_key());
    }

    #[test]
    fn unusable_files_are_named_and_not_quoted() {
        let seed = KeyPair::new_user().seed().unwrap();
        let cut = &seed[..seed.len() - 4];
        let account = KeyPair::new_account().seed().unwrap();
        for (case, content, why) in [
            ("empty", Vec::new(), "no -----BEGIN NATS USER JWT-----"),
            ("no-seed", credentials(JWT, "").into_bytes(), "no -----BEGIN USER NKEY SEED-----"),
            ("no-jwt", credentials("", &seed).into_bytes(), "no -----BEGIN NATS USER JWT-----"),
            ("bad-jwt", credentials("not a jwt", &seed).into_bytes(), "does not hold a JWT"),
            ("bad-seed", credentials(JWT, cut).into_bytes(), "no valid seed"),
            ("account", credentials(JWT, &account).into_bytes(), "Account"),
            ("binary", vec![0xff; 10], "UTF-8"),
            ("huge", vec![b'x'; MAX_FILE + 1], "65536"),
        ] {
            let file = TempFile::new(case, content);
            let message = refused(AuthSettings { credentials_file: file.path(), ..AuthSettings::default() });
            assert!(message.starts_with("credentials_file ") && message.contains(&file.path().unwrap()) && message.contains(why), "{case}: {message}");
            assert!(!message.contains(&cut[..10]) && !message.contains(&account[..10]), "{case}: {message}");
        }
        let message = refused(AuthSettings { nkey_seed_file: Some("/no/such/file".to_owned()), ..AuthSettings::default() });
        assert!(message.contains("nkey_seed_file \"/no/such/file\" cannot be read: No such file"), "{message}");
        assert!(refused(AuthSettings { nkey_seed: Some(Secret::new(" \n")), ..AuthSettings::default() }).contains("is empty"));
        let directory = std::env::temp_dir().to_str().map(str::to_owned);
        assert!(refused(AuthSettings { nkey_seed_file: directory, ..AuthSettings::default() }).contains("cannot be read"));
    }

    #[test]
    fn a_refusal_says_what_was_offered() {
        let refusal = |settings, url: &str, nonce| Authenticator::new(settings).refusal(&server(url), nonce, "Authorization Violation");
        let none = AuthSettings::default;
        let twice = Authenticator::new(none()).refusal(&server("host"), None, "nats://host:4222: Authorization Violation");
        assert_eq!(twice.message(), refusal(none(), "host", None).message());
        let by_file = || AuthSettings { credentials_file: Some("/run/x.creds".to_owned()), ..none() };
        for (error, part) in [
            (refusal(none(), "host", None), "no credentials are configured"),
            (refusal(none(), "host", Some("n")), "no key is configured"),
            (refusal(none(), "u:secret@host", Some("n")), "check the credentials in the server's URL"),
            (refusal(by_file(), "host", Some("n")), "check credentials_file \"/run/x.creds\""),
            (refusal(by_file(), "host", None), "asked for no signature"),
        ] {
            assert_eq!(error.status(), Status::AuthFailed);
            let message = error.message();
            assert!(message.contains("nats://host:4222 refused the connection: Authorization Violation") && message.contains(part), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn nothing_secret_is_in_debug_output() {
        let settings = AuthSettings { user: Some(Secret::new("me")), password: Some(Secret::new("hush")), ..AuthSettings::default() };
        let fields = Authenticator::new(settings).connect_fields(&server("host"), None).unwrap();
        assert!(!format!("{fields:?}").contains("hush"));
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64_url(bytes.as_bytes()), text);
        }
        assert_eq!(base64_url(&[0xfb, 0xff, 0xfe]), "-__-");
    }

    #[test]
    fn no_text_makes_the_parsers_panic() {
        let seed = KeyPair::new_user().seed().unwrap();
        let pieces = ["-----BEGIN", " USER JWT", " USER NKEY SEED", "-----", "\n", "\r\n", JWT, &seed, "---", " ", "é", "\0", "S"];
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            let _ = (from_credentials(&text, "x"), from_seed(&text, "x"));
        }
    }
}
