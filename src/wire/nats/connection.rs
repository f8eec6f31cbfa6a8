//! One connection, from its INFO to its end: framing, handshake, keep-alive, fences. Knows bytes and times, no sockets: the runtime and the simulation move the bytes.

use std::io::IoSlice;

use serde::{Deserialize, Serialize};

use super::ack::{Acks, is_domain};
use super::auth::ConnectAuth;
use super::codes::printable;
use super::fences::{self, Fences};
use super::frame::{self, Encoder, TOKEN_LEN};
use super::outbox::{End, Outbox, PIECES};
use super::reply::{Replies, SID};
use super::version::lacks;
use crate::base::error::{Error, Status};
use crate::base::names::subject_fault;
use crate::base::time::Nanos;
use crate::ledger::slot::Slot;
use crate::wire::{Denials, Limits, Loss, Token, Verdict, Violation};

/// The longest line: INFO is the only long one.
const MAX_LINE: usize = 1 << 20;
/// The largest message to our inbox: acks are short, API replies may list a stream's subjects.
const MAX_BODY: usize = 1 << 20;
/// No CONNECT is longer, with a credentials file of the largest size that is read.
const CONNECT_SIZE: usize = 66 << 10;
/// The server's limit for a control line: no subject of ours is longer.
const LONGEST_SUBJECT: usize = 4096;
/// The read buffer while nothing needs more.
const READ_BUFFER: usize = 256 << 10;

/// The server's INFO, as far as we care. What decides how we connect must be as servers write it; what is told or tried beside that is left out when it is odd.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Info {
    #[serde(deserialize_with = "or_default")]
    pub(crate) server_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) version: String,
    pub(crate) nonce: Option<String>,
    pub(crate) auth_required: bool,
    pub(crate) tls_required: bool,
    pub(crate) tls_available: bool,
    pub(crate) max_payload: u64,
    #[serde(deserialize_with = "or_default")]
    pub(crate) connect_urls: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ldm: bool,
    pub(crate) headers: bool,
    /// The server takes part in JetStream itself.
    #[serde(deserialize_with = "or_default")]
    pub(crate) jetstream: bool,
    /// The JetStream domain that the server belongs to; empty: none.
    #[serde(deserialize_with = "or_default")]
    pub(crate) domain: String,
}

/// What no connection needs may have any type.
fn or_default<'de, T: Default + serde::de::DeserializeOwned, D: serde::Deserializer<'de>>(json: D) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(json)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

impl Info {
    /// Parses `INFO {…}`, without its line end.
    pub(crate) fn parse(line: &[u8]) -> Result<Info, Error> {
        let json = line.strip_prefix(b"INFO ").ok_or_else(|| broken("the server did not greet with INFO; is it a NATS server?"))?;
        let mut info: Info =
            serde_json::from_slice(json).map_err(|error| broken(format!("the server's INFO is not valid: {}", printable(&error.to_string()))))?;
        info.version = printable(&info.version);
        if !is_domain(&info.domain) {
            info.domain.clear();
        }
        Ok(info)
    }
}

/// Our CONNECT. An explicit list, so that nothing else can leak into it (CVE-2020-26149).
#[derive(Serialize)]
pub(crate) struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    headers: bool,
    no_responders: bool,
    protocol: u8,
    tls_required: bool,
    lang: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(flatten)]
    auth: ConnectAuth,
}

impl<'a> Connect<'a> {
    /// For a connection of this name; `over_tls`: it is encrypted already.
    pub(crate) fn new(name: &'a str, auth: ConnectAuth, over_tls: bool) -> Self {
        Connect {
            verbose: false,
            pedantic: false,
            headers: true,
            no_responders: true,
            protocol: 1,
            tls_required: over_tls,
            lang: "ackbus",
            version: env!("CARGO_PKG_VERSION"),
            name,
            auth,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// CONNECT, SUB and PING are sent, the PONG is awaited.
    Handshake,
    Ready,
    /// Lame duck: nothing more is staged, acks are read.
    Leaving,
    Ended,
}

/// What a connection tells its owner.
pub(crate) enum Told<'a> {
    Ready {
        version: &'a str,
        domain: &'a str,
        limits: Limits,
    },
    Limits(Limits),
    Servers(&'a [String]),
    LameDuck,
    Verdict(Token, Verdict<'a>),
    /// A reply to one of our questions. `None`: nobody is there to answer.
    Answer {
        ask: u32,
        body: Option<&'a [u8]>,
    },
    AlienReply,
    Fenced {
        mark: u64,
    },
    /// What permissions refused under this mark.
    Denied {
        mark: u64,
        denials: Denials,
    },
    /// A permission error was read, the first with this subject under its mark.
    PermissionError {
        subject: &'a str,
        text: &'a str,
    },
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) epoch: u32,
    pub(crate) server: std::sync::Arc<str>,
    phase: Phase,
    info: Info,
    inbox: Box<[u8]>,
    replies: Replies,
    acks: Acks,
    out: Outbox,
    fences: Fences,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ping_interval: Nanos,
    born: Nanos,
    last_read: Nanos,
    /// Any byte read; or newly accepted by the kernel, up to the end of the oldest PING that has no answer. A slow link shows life that way, while what the kernel
    /// takes after the PING says nothing: it takes the bytes of a server that stands still as well (X6).
    last_life: Nanos,
    /// Where that PING ends in all that was written.
    ping_end: u64,
    /// The last `-ERR` that the server said: usually why it hangs up.
    last_error: Option<Error>,
    violation: Option<Violation>,
}

/// How many ping intervals of silence end a connection: with the default less than the 15 s that are promised, so that what follows has its time too.
const SILENT: (u64, u64) = (11, 4);

fn broken(text: impl Into<String>) -> Error {
    Error::new(Status::ProtocolError, text)
}

impl Connection {
    /// Starts with the server's INFO read and, if need be, TLS done. Stages CONNECT, the inbox and a PING whose PONG says that all of it was accepted.
    pub(crate) fn new(epoch: u32, server: String, info: Info, connect: &Connect<'_>, inbox: &[u8], ping_interval: Nanos, now: Nanos) -> Result<Self, Error> {
        let mut out = Outbox::default();
        out.push(b"CONNECT ");
        // Its full size at once: a buffer that grows leaves copies behind.
        let mut json = zeroize::Zeroizing::new(Vec::with_capacity(CONNECT_SIZE));
        serde_json::to_writer(&mut *json, connect).map_err(|error| broken(format!("CONNECT cannot be written: {error}")))?;
        out.push_secret(json);
        out.push(b"\r\nSUB ");
        out.push(inbox);
        out.push(b"* 1\r\nPING\r\n");
        Ok(Connection {
            epoch,
            server: server.into(),
            phase: Phase::Handshake,
            info,
            inbox: inbox.into(),
            replies: Replies::new(inbox),
            acks: Acks::default(),
            out,
            fences: Fences::default(),
            buffer: vec![0; READ_BUFFER],
            start: 0,
            end: 0,
            ping_interval,
            born: now,
            last_read: now,
            last_life: now,
            ping_end: 0,
            last_error: None,
            violation: None,
        })
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    pub(crate) fn in_handshake(&self) -> bool {
        self.phase == Phase::Handshake
    }

    pub(crate) fn has_room(&self) -> bool {
        self.out.has_room()
    }

    pub(crate) fn unsent(&self) -> usize {
        self.out.unsent()
    }

    fn limits(&self) -> Limits {
        Limits { max_payload: if self.info.max_payload == 0 { 1 << 20 } else { self.info.max_payload }, lacks: lacks(&self.info.version) }
    }

    /// Takes a frame. Its mark is the fence that will follow it.
    pub(crate) fn stage(&mut self, encoder: &Encoder, slot: &mut Slot) {
        slot.mark = self.fences.mark();
        self.fences.note_silent(slot.ephemeral);
        slot.epoch = self.epoch;
        self.out.push_frame(encoder, slot);
    }

    /// Publishes a question with a reply token of its own, between two fences: a permission error there is about this question, whatever the server calls it.
    /// It has names of its own for the API: a domain's, an account's mappings. Returns the mark.
    pub(crate) fn ask(&mut self, subject: &str, ask: u32, body: &[u8]) -> u64 {
        self.part();
        let mut token = [0; TOKEN_LEN];
        frame::write_token(&mut token, Token { slot: frame::FIRST_ASK + (ask & 0xffff), id: u64::from(ask), attempt: 0 });
        self.out.push(b"PUB ");
        self.out.push(subject.as_bytes());
        self.out.push(b" ");
        self.out.push(&self.inbox.clone());
        self.out.push(&token);
        self.out.push(format!(" {}\r\n", body.len()).as_bytes());
        self.out.push(body);
        self.out.push(b"\r\n");
        let mark = self.fences.mark();
        self.part();
        mark
    }

    /// What is staged next has another mark than what was staged so far.
    pub(crate) fn part(&mut self) {
        if self.fences.is_open() {
            self.ping();
            self.fences.part();
        }
    }

    pub(crate) fn want_fence(&mut self) {
        self.fences.want();
    }

    /// Lame duck: another connection takes over, this one only reads.
    pub(crate) fn leave(&mut self) {
        if self.phase == Phase::Ready {
            self.phase = Phase::Leaving;
        }
    }

    /// What to write next.
    pub(crate) fn pieces<'a>(&'a self, into: &mut [IoSlice<'a>; PIECES]) -> usize {
        self.out.pieces(into)
    }

    /// The carrier below accepted this many bytes.
    pub(crate) fn wrote(&mut self, count: usize, now: Nanos, out: impl FnMut(End)) {
        if !self.fences.awaited() || self.out.taken() < self.ping_end {
            self.last_life = now;
        }
        self.out.accepted(count, out);
    }

    /// Where the next bytes go. Never empty.
    pub(crate) fn read_space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.start > READ_BUFFER / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// That many bytes were put there. Parses what is whole and tells it.
    pub(crate) fn read(&mut self, count: usize, now: Nanos, mut tell: impl FnMut(Told<'_>)) -> Result<(), Loss> {
        self.last_read = now;
        self.last_life = now;
        self.end = (self.end + count).min(self.buffer.len());
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = self.start;
        let result = loop {
            let bytes = buffer.get(at..self.end).unwrap_or_default();
            match self.operation(bytes, &mut tell) {
                Ok(0) => break Ok(()),
                Ok(used) => at += used,
                Err(loss) => break Err(loss),
            }
        };
        self.start = at;
        if self.start == self.end && buffer.len() > READ_BUFFER {
            buffer.truncate(READ_BUFFER);
            buffer.shrink_to_fit();
        }
        self.buffer = buffer;
        result
    }

    /// One protocol operation. Returns the bytes it took, 0 if it is not whole yet.
    fn operation(&mut self, bytes: &[u8], tell: &mut impl FnMut(Told<'_>)) -> Result<usize, Loss> {
        if let Some((token, body, used)) = self.replies.read(bytes) {
            tell(Told::Verdict(token, self.acks.parse(body)));
            return Ok(used);
        }
        let Some(newline) = memchr::memchr(b'\n', bytes) else {
            if bytes.len() > MAX_LINE {
                return Err(self.loss(broken(format!("the server sent a line of more than {MAX_LINE} bytes"))));
            }
            return Ok(0);
        };
        let (line, rest) = bytes.split_at_checked(newline).unwrap_or_default();
        let rest = rest.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(args) = line.strip_prefix(b"MSG ") {
            return self.message(args, rest, false, tell).map(|body| body.map_or(0, |n| newline + 1 + n));
        }
        if let Some(args) = line.strip_prefix(b"HMSG ") {
            return self.message(args, rest, true, tell).map(|body| body.map_or(0, |n| newline + 1 + n));
        }
        match line {
            b"PING" => self.out.push(b"PONG\r\n"),
            b"PONG" => self.pong(tell),
            b"+OK" | b"" => {}
            _ if line.starts_with(b"INFO ") => self.info(line, tell)?,
            _ if line.starts_with(b"-ERR") => self.error(line, tell)?,
            _ => {
                let start = String::from_utf8_lossy(line.get(..32).unwrap_or(line)).into_owned();
                return Err(self.loss(broken(format!("the server sent something unknown: {start:?}"))));
            }
        }
        Ok(newline + 1)
    }

    /// `[H]MSG <subject> <sid> [reply] [#headers] <#total>`. Returns how many bytes follow the line, `None` if they are not all here.
    fn message(&mut self, args: &[u8], rest: &[u8], with_headers: bool, tell: &mut impl FnMut(Told<'_>)) -> Result<Option<usize>, Loss> {
        let mut words = args.rsplit(|&b| b == b' ').filter(|w| !w.is_empty());
        let total = words.next().and_then(number);
        let headers = if with_headers { words.next().and_then(number) } else { Some(0) };
        let (Some(total), Some(headers)) = (total, headers) else {
            return Err(self.loss(broken("the server sent a message without a length")));
        };
        if total > MAX_BODY || headers > total {
            return Err(
                self.loss(broken(format!("the server sent a message of {total} bytes ({headers} of headers); {MAX_BODY} is the most that a reply has")))
            );
        }
        let Some(payload) = rest.get(..total) else { return Ok(None) };
        let Some(line_end) = rest.get(total..total + 2) else { return Ok(None) };
        if line_end != b"\r\n" {
            return Err(self.loss(broken("the server sent a message that is longer than it said")));
        }
        let (head, body) = payload.split_at_checked(headers).unwrap_or_default();
        // The subject is ours to the letter, so the token has its place.
        let token = args
            .strip_prefix(&*self.inbox)
            .and_then(|rest| rest.split_at_checked(TOKEN_LEN))
            .filter(|(_, after)| after.starts_with(SID))
            .and_then(|(token, _)| frame::read_token(token));
        match token {
            None => tell(Told::AlienReply),
            Some(token) if token.slot >= frame::FIRST_ASK => {
                let nobody = body.is_empty() && head.starts_with(b"NATS/1.0 503");
                tell(Told::Answer { ask: token.id as u32, body: (!nobody).then_some(body) });
            }
            Some(token) => {
                let verdict = if with_headers { self.acks.parse_with_headers(head, body) } else { self.acks.parse(body) };
                tell(Told::Verdict(token, verdict));
            }
        }
        Ok(Some(total + 2))
    }

    fn pong(&mut self, tell: &mut impl FnMut(Told<'_>)) {
        if self.phase == Phase::Handshake {
            self.phase = Phase::Ready;
            tell(Told::Ready { version: &self.info.version, domain: &self.info.domain, limits: self.limits() });
            if !self.info.connect_urls.is_empty() {
                tell(Told::Servers(&self.info.connect_urls));
            }
            if self.info.ldm {
                tell(Told::LameDuck);
            }
            return;
        }
        if let Some((mark, denials)) = self.fences.close() {
            // Where a later PING ended is not remembered; this is behind it, and this very PONG is life.
            self.ping_end = self.out.staged();
            if denials.total > 0 {
                tell(Told::Denied { mark, denials });
            }
            tell(Told::Fenced { mark });
        }
    }

    fn info(&mut self, line: &[u8], tell: &mut impl FnMut(Told<'_>)) -> Result<(), Loss> {
        let info = Info::parse(line).map_err(|error| self.loss(error))?;
        let before = std::mem::replace(&mut self.info, info);
        if self.phase == Phase::Handshake {
            return Ok(());
        }
        if self.info.max_payload != before.max_payload {
            tell(Told::Limits(self.limits()));
        }
        if self.info.connect_urls != before.connect_urls {
            tell(Told::Servers(&self.info.connect_urls));
        }
        if self.info.ldm && !before.ldm {
            tell(Told::LameDuck);
        }
        Ok(())
    }

    /// `-ERR '<text>'`.
    fn error(&mut self, line: &[u8], tell: &mut impl FnMut(Told<'_>)) -> Result<(), Loss> {
        let said = String::from_utf8_lossy(line.strip_prefix(b"-ERR").unwrap_or_default());
        let said = said.trim().trim_matches('\'');
        let text = &*printable(said);
        let lower = text.to_ascii_lowercase();
        if let Some(rest) = lower.strip_prefix("permissions violation for ") {
            if rest.starts_with("publish") {
                // A subject that we cannot have published to is not worth its memory (P9), and a reply subject is no name for a frame; both refuse one.
                let is_subject = |subject: &String| subject.len() <= LONGEST_SUBJECT && subject_fault(subject, false).is_none();
                let subject = if rest.starts_with("publish to") { fences::quoted(said).filter(is_subject) } else { None };
                let subject = subject.unwrap_or_default();
                if self.fences.refused(&subject, text) && !subject.is_empty() {
                    tell(Told::PermissionError { subject: &subject, text });
                }
                return Ok(());
            }
            // Without the inbox no ack can ever arrive (ADR-40).
            let inbox = String::from_utf8_lossy(&self.inbox).into_owned();
            return Err(self.loss(Error::new(
                Status::Denied,
                format!("{}: the server does not allow to subscribe to {inbox}*, so no ack could arrive; allow it, or set inbox_prefix: {text}", self.server),
            )));
        }
        let status = if lower.contains("authorization") || lower.contains("authentication") || lower.contains("credential") || lower.contains("revoked") {
            Status::AuthFailed
        } else if lower.contains("tls") {
            Status::TlsFailed
        } else if lower.contains("maximum payload") {
            self.violation = Some(Violation::Payload);
            Status::TooLarge
        } else if lower.contains("control line") {
            self.violation = Some(Violation::Topic);
            Status::TooLarge
        } else if self.phase == Phase::Handshake {
            Status::ConnectFailed
        } else {
            Status::Disconnected
        };
        let what = if text.is_empty() { "an error without text" } else { text };
        self.last_error = Some(Error::new(status, format!("{}: the server said: {what}", self.server)));
        if self.phase == Phase::Handshake {
            let error = self.last_error.take().unwrap_or_else(|| broken("unknown error"));
            return Err(self.loss(error));
        }
        Ok(())
    }

    /// Ends the connection, for the reason given or, if the server said one, for that.
    fn loss(&mut self, error: Error) -> Loss {
        self.phase = Phase::Ended;
        Loss { error: self.last_error.take().unwrap_or(error), violation: self.violation.take() }
    }

    /// The bytes ended: end of file, a reset, a failed write.
    pub(crate) fn cut(&mut self, what: &str) -> Loss {
        let during = if self.phase == Phase::Handshake { " before the handshake was done" } else { "" };
        let status = if self.phase == Phase::Handshake { Status::ConnectFailed } else { Status::Disconnected };
        let error = Error::new(status, format!("{}: {what}{during}", self.server));
        self.loss(error)
    }

    /// The same, for a reason that is known better.
    pub(crate) fn cut_for(&mut self, error: Error) -> Loss {
        self.loss(error)
    }

    /// Sends fences and keep-alives. Returns when it wants to be called next. Everything readable must have been read.
    pub(crate) fn tick(&mut self, now: Nanos, in_flight: bool) -> Result<Nanos, Loss> {
        if self.phase == Phase::Ended {
            return Ok(Nanos::MAX);
        }
        let silent = self.last_life + self.ping_interval * SILENT.0 / SILENT.1;
        if now >= silent {
            let seconds = (now - self.last_life) / 1_000_000_000;
            return Err(self.cut(&format!("the server is silent for {seconds} s")));
        }
        if self.phase == Phase::Handshake {
            return Ok(silent);
        }
        let ping_at = self.last_read.max(self.born) + self.ping_interval;
        let mut next = silent;
        match self.fences.due(now, in_flight) {
            Ok(()) => self.raise(now),
            Err(at) => next = next.min(at),
        }
        if now >= ping_at {
            if !self.fences.awaited() {
                self.raise(now);
            }
        } else {
            next = next.min(ping_at);
        }
        Ok(next)
    }

    fn raise(&mut self, now: Nanos) {
        self.ping();
        self.fences.raise(now);
    }

    fn ping(&mut self) {
        self.out.push(b"PING\r\n");
        if !self.fences.awaited() {
            self.ping_end = self.out.staged();
        }
    }
}

fn number(word: &[u8]) -> Option<usize> {
    if word.is_empty() || word.len() > 9 {
        return None;
    }
    word.iter().try_fold(0, |n: usize, b| b.is_ascii_digit().then(|| n * 10 + usize::from(b - b'0')))
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
