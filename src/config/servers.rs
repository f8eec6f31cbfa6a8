//! Server addresses: what the user writes in `servers`, and what servers tell of each other.
//!
//! An address may hold credentials, so nothing here ever prints the text it was given: errors and `Display` name the host and the port alone.

use std::fmt;

use url::{Host, Url};

use crate::base::error::{Error, Result, Status};
use crate::base::secret::Secret;

const DEFAULT_PORT: u16 = 4222;

/// The most addresses that a publisher keeps, configured and discovered together (P9).
pub(crate) const MAX_SERVERS: usize = 256;

/// Longer than any host name (253) or address with its port.
const MAX_ADDRESS: usize = 300;

/// Where the messages go.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Servers {
    /// The backend for tests, in this process.
    Memory,
    /// NATS servers, in the order in which they are tried.
    Nats(Vec<ServerUrl>),
}

/// One server, with the credentials that its URL held.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// A name or an address; IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The URL began with `tls://`: never talk to it in plain text.
    pub(crate) tls: bool,
    pub(crate) user: Option<Secret>,
    pub(crate) password: Option<Secret>,
    pub(crate) token: Option<Secret>,
}

impl Servers {
    /// Parses addresses with commas between them, or `memory:` alone.
    ///
    /// # Errors
    /// `InvalidOption`, naming the place in the list, and the host when it is known.
    pub(crate) fn parse(text: &str) -> Result<Servers> {
        let text = text.trim();
        if text == "memory:" {
            return Ok(Servers::Memory);
        }
        let addresses: Vec<&str> = text.split(',').map(str::trim).collect();
        if addresses.len() > MAX_SERVERS {
            return Err(invalid(format!("{} addresses are given; allowed are {MAX_SERVERS}", addresses.len())));
        }
        let place = |index: usize| if addresses.len() == 1 { "the address".to_owned() } else { format!("address {}", index + 1) };
        let parse = |(index, address): (usize, &&str)| ServerUrl::parse(address).map_err(|why| invalid(format!("{} {why}", place(index))));
        addresses.iter().enumerate().map(parse).collect::<Result<_>>().map(Servers::Nats)
    }
}

/// The default server, so that settings can be built before the option table fills them.
impl Default for Servers {
    fn default() -> Self {
        Servers::Nats(vec![ServerUrl { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT, tls: false, user: None, password: None, token: None }])
    }
}

impl ServerUrl {
    /// Parses one address. The error completes a sentence that begins with the address' place in the list.
    fn parse(address: &str) -> Result<ServerUrl, String> {
        if address.is_empty() {
            return Err("is empty".to_owned());
        }
        if address == "memory:" {
            return Err("is memory:, which is allowed only alone".to_owned());
        }
        // The URL parser drops tabs and line ends without a word.
        if address.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("contains blanks or control characters".to_owned());
        }
        let with_scheme = if address.contains("://") { address.to_owned() } else { format!("nats://{address}") };
        let url = Url::parse(&with_scheme).map_err(|error| format!("is not a URL: {error}{}", hint(address)))?;
        let tls = match url.scheme() {
            "nats" => false,
            "tls" => true,
            // Not named: in `user:a://b@host` it is the user.
            _ => return Err("has a scheme that is not known; allowed are nats:// and tls://, or no scheme".to_owned()),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("has a path, a query or a fragment after the port; allowed is [nats://|tls://][user:password@]host[:port]{}", hint(address)));
        }
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Domain(name)) => checked_host(name)?.to_owned(),
            None => return Err("has no host".to_owned()),
        };
        let port = match url.port() {
            Some(0) => return Err(format!("has port 0 (host {host:?}); allowed are 1 to 65535")),
            port => port.unwrap_or(DEFAULT_PORT),
        };
        let mut server = ServerUrl { host, port, tls, user: None, password: None, token: None };
        let secret =
            |part: &str| percent_decoded(part).map(Secret::new).ok_or_else(|| format!("has credentials with a broken % escape (host {:?})", server.host));
        match (url.username(), url.password()) {
            ("", None) => {}
            ("", Some(_)) => return Err(format!("has a password without a user (host {:?})", server.host)),
            (token, None) if !userinfo_has_colon(address) => server.token = Some(secret(token)?),
            (user, password) => (server.user, server.password) = (Some(secret(user)?), Some(secret(password.unwrap_or_default())?)),
        }
        Ok(server)
    }

    /// A server that this one told of in `connect_urls`. It gets this one's credentials and its `tls` flag: whoever asked for TLS must not be led to a plain
    /// port. `None` if the text is no address.
    pub(crate) fn told_of(&self, address: &str) -> Option<ServerUrl> {
        if address.len() > MAX_ADDRESS || address.contains('@') {
            return None;
        }
        let told = ServerUrl::parse(address).ok()?;
        Some(ServerUrl { host: told.host, port: told.port, ..self.clone() })
    }

    /// Whether both are the same host and port.
    pub(crate) fn is_same_place(&self, other: &ServerUrl) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }
}

/// Without credentials.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without credentials.
impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Servers::Nats(servers) = self else { return f.write_str("memory:") };
        for (index, server) in servers.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{server}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cold]
fn invalid(message: String) -> Error {
    Error::new(Status::InvalidOption, message)
}

/// The usual reason why an address with credentials does not parse.
fn hint(address: &str) -> &'static str {
    if address.contains('@') { " (special characters in credentials must be written as % escapes, such as %2F for /)" } else { "" }
}

/// The URL parser takes any text as the host of a scheme that browsers do not know.
fn checked_host(name: &str) -> Result<&str, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match name {
        "" => Err("has no host".to_owned()),
        name if name.contains('%') => Err("has a host name that is not plain ASCII; write international names in their xn-- form".to_owned()),
        name if name.len() > 253 => Err("has a host name longer than 253 characters".to_owned()),
        name if !name.chars().all(allowed) => Err(format!("has the host {name:?}; allowed are letters, digits, and - . _")),
        name => Ok(name),
    }
}

/// Tells `user:@host`, a user with an empty password, from `token@host`; the URL parser does not.
fn userinfo_has_colon(address: &str) -> bool {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.rsplit_once('@').is_some_and(|(userinfo, _)| userinfo.contains(':'))
}

/// Undoes % escapes. `None` if one is cut or not hexadecimal, or if the result is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        bytes.push(if byte == b'%' { u8::try_from(digit()? * 16 + digit()?).ok()? } else { byte });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;

    fn one(text: &str) -> ServerUrl {
        match Servers::parse(text).unwrap() {
            Servers::Nats(mut servers) if servers.len() == 1 => servers.remove(0),
            other => panic!("{text}: {other}"),
        }
    }

    fn refused(text: &str) -> String {
        let error = Servers::parse(text).unwrap_err();
        assert_eq!(error.status(), Status::InvalidOption, "{text}");
        error.message().to_owned()
    }

    #[test]
    fn addresses_are_understood() {
        for (text, shown) in [
            ("127.0.0.1", "nats://127.0.0.1:4222"),
            ("localhost:4223", "nats://localhost:4223"),
            ("nats://localhost", "nats://localhost:4222"),
            ("NATS://localhost/", "nats://localhost:4222"),
            ("tls://nats.example.org:443", "tls://nats.example.org:443"),
            ("nats://[::1]:4222", "nats://[::1]:4222"),
            ("[::1]", "nats://[::1]:4222"),
            ("  my_host  ", "nats://my_host:4222"),
        ] {
            let server = one(text);
            assert_eq!(server.to_string(), shown);
            assert_eq!(format!("{server:?}"), shown);
            assert!(server.user.is_none() && server.password.is_none() && server.token.is_none());
        }
        assert_eq!(one("[::1]").host, "::1");
        assert_eq!(Servers::parse("memory:").unwrap(), Servers::Memory);
        assert_eq!(Servers::parse("a, tls://b:1 ,c").unwrap().to_string(), "nats://a:4222,tls://b:1,nats://c:4222");
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let server = one("nats://us%40er:p%2Fa%3A%25@host:1");
        assert_eq!(server.user.as_ref().unwrap().expose(), "us@er");
        assert_eq!(server.password.as_ref().unwrap().expose(), "p/a:%");
        assert!(server.token.is_none());
        assert_eq!(format!("{server} {server:?}"), "nats://host:1 nats://host:1");

        assert_eq!(one("t0ken@host").token.unwrap().expose(), "t0ken");
        let server = one("user:@host");
        assert_eq!((server.user.unwrap().expose(), server.password.unwrap().expose()), ("user", ""));
        assert_eq!(one("nats://user:a+b@host").password.unwrap().expose(), "a+b");
        assert_eq!(one("nats://user:a@b@host").password.unwrap().expose(), "a@b");
        assert_eq!(one("nats://us%C3%A9r:pä@host").password.unwrap().expose(), "pä");
    }

    #[test]
    fn wrong_addresses_are_named_without_their_credentials() {
        for (text, part) in [
            ("", "the address is empty"),
            ("a,,b", "address 2 is empty"),
            ("a,", "address 2 is empty"),
            ("a,memory:", "address 2 is memory:"),
            ("http://host", "scheme"),
            ("secret:secret://b@host", "scheme"),
            ("nats://host/path", "path"),
            ("nats://host?x=1", "query"),
            ("nats://host#x", "fragment"),
            ("nats://", "no host"),
            ("nats://user:secret@", "host"),
            ("host:0", "port 0"),
            ("host:65536", "port"),
            ("host:secret/x@b", "port"),
            ("nats://user:secret/x@b", "%2F"),
            ("user:secret/x@b", "%2F"),
            (":secret@host", "password without a user"),
            ("user:secret%zz@host", "escape"),
            ("user:secret%4@host", "escape"),
            ("user:secret%ff@host", "escape"),
            ("nats://a b", "blanks"),
            ("nats://a\r\nPUB", "blanks"),
            ("nats://hôst", "xn--"),
            ("nats://ho$t", "ho$t"),
            ("[::1", "IPv6"),
        ] {
            let message = refused(text);
            assert!(message.contains(part), "{text}: {message}");
            assert!(!message.contains("secret"), "{text}: {message}");
        }
        assert!(refused(&"a,".repeat(MAX_SERVERS)).contains("256"));
        assert!(refused(&"a".repeat(254)).contains("253"));
    }

    #[test]
    fn a_server_that_another_told_of_keeps_tls_and_credentials() {
        let from = one("tls://user:password@nats.example.org");
        let told = from.told_of("10.0.0.2:4333").unwrap();
        assert_eq!(told.to_string(), "tls://10.0.0.2:4333");
        assert_eq!((&told.user, &told.password), (&from.user, &from.password));
        assert_eq!(from.told_of("[fd00::2]:4222").unwrap().host, "fd00::2");
        for wrong in ["", "evil@host", "http://host", "host:0", "a b", "memory:", &"a".repeat(400)] {
            assert!(from.told_of(wrong).is_none(), "{wrong}");
        }
        assert!(from.is_same_place(&one("NATS.example.org")) && !from.is_same_place(&told));
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        let pieces =
            ["nats://", "tls://", "user", ":", "@", "%", "%4", "%41", "[", "]", "::1", "/", ",", "memory:", "é", "\0", "1", "65536", ".", "?", "#", "\\"];
        let mut state = 1_u64;
        for _ in 0..50_000 {
            let mut text = String::new();
            for _ in 0..7 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            if let Ok(Servers::Nats(servers)) = Servers::parse(&text) {
                // What is shown is an address again, and the same one.
                let shown = Servers::Nats(servers.clone()).to_string();
                assert_eq!(Servers::parse(&shown).unwrap().to_string(), shown, "{text}");
                assert!(servers.iter().all(|server| !server.host.is_empty() && server.port > 0));
            }
        }
    }
}
