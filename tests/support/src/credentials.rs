//! User credentials for one test: an operator, an account with JetStream, a user, and the file that the user carries.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A credentials file in a folder that is removed with this value, and the configuration that makes a server accept it.
#[derive(Debug)]
pub struct Credentials {
    file: PathBuf,
    server_config: String,
    _folder: TempDir,
}

impl Credentials {
    /// A user with all rights in an account without limits.
    #[must_use]
    pub fn new() -> Self {
        Credentials::with_permissions(json!({}))
    }

    /// A user with permissions in the form of a user's claims, such as `{"pub": {"deny": ["secret.>"]}}`.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn with_permissions(permissions: Value) -> Self {
        let (operator, system, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
        let unlimited = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        // A system account cannot have JetStream, and a server with an operator cannot have JetStream without a system account.
        let operator_claims = json!({ "type": "operator", "version": 2, "system_account": system.public_key() });
        let system_claims = json!({ "type": "account", "version": 2, "limits": { "subs": -1, "data": -1, "payload": -1, "conn": -1, "wildcards": true } });
        let account_claims = json!({ "type": "account", "version": 2, "limits": unlimited });
        let mut user_claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        if let (Some(claims), Value::Object(permissions)) = (user_claims.as_object_mut(), permissions) {
            claims.extend(permissions);
        }
        let server_config = format!(
            "operator: {}\nresolver: MEMORY\nresolver_preload: {{\n  {}: {}\n  {}: {}\n}}\n",
            token(&operator, &operator, &operator_claims),
            system.public_key(),
            token(&operator, &system, &system_claims),
            account.public_key(),
            token(&operator, &account, &account_claims),
        );
        let folder = tempfile::Builder::new().prefix("ackbus-credentials-").tempdir().expect("a folder for credentials");
        let file = folder.path().join("user.creds");
        let (jwt, seed) = (token(&account, &user, &user_claims), user.seed().expect("a seed"));
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        fs::write(&file, text).expect("a credentials file");
        Credentials { file, server_config, _folder: folder }
    }

    /// The file, for `credentials_file`.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn server_config(&self) -> &str {
        &self.server_config
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Credentials::new()
    }
}

/// A signed statement of `issuer` about `subject`.
fn token(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let head = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body =
        json!({ "jti": subject.public_key(), "iat": now, "iss": issuer.public_key(), "sub": subject.public_key(), "name": "ackbus-test", "nats": claims });
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&head), part(&body));
    let signature = issuer.sign(signed.as_bytes()).expect("a key that signs");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}
