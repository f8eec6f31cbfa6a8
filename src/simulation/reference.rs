//! A small publisher that keeps the promises, and can be told to make one mistake: it shows that script, model and checker raise no false alarm,
//! and that each mistake is found by some seed. It is no part of the product and shares no code with it.

use std::collections::BTreeMap;

use super::book::RuleBook;
use super::check::check;
use super::history::{History, Limits, Message, Report};
use super::link::Output;
use super::model::Model;
use super::rng::Rng;
use super::script::{MS, Profile, Scene, Script, Timing};
use super::store::StreamSpec;
use crate::base::error::Persistence::{self, NotPersisted, Persisted, PossiblyPersisted};

const ACK_WAIT: u64 = 300 * MS;
const DELIVERY_TIMEOUT: u64 = 20_000 * MS;
const SILENCE: u64 = 1_000 * MS;
const STEP: u64 = 5 * MS;

/// What it may get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// Takes every code of a refusal for a proof.
    TrustsEveryCode,
    /// Forgets an attempt that may be stored when a later one is refused.
    ForgetsTaint,
    /// Takes `seq:0` for an ack.
    TakesSequenceZero,
    /// Reads the digits of a reply that ends early.
    TakesTornAcks,
    /// Sends again after ack_wait without a fence.
    NoFence,
    /// Does not look at the duplicate window.
    NoWindow,
    /// Gives each attempt an id of its own.
    FreshIds,
    /// Settles by the message in the token and not by the attempt: an old refusal counts for the newest attempt.
    MixesAttempts,
    /// After a cut goes on where it stopped within the frame.
    TearsFrames,
    /// Sends the newest first after a reconnect.
    WrongOrder,
    /// Takes what was not answered on a lost connection for not stored.
    LostMeansNotStored,
    /// Never reports what its deadline has passed.
    NoDeadline,
}

#[derive(Clone, Debug)]
struct Sent {
    epoch: u64,
    /// When its last byte was taken; none while it is going out.
    written: Option<u64>,
    closed: bool,
    fenced: bool,
}

#[derive(Debug)]
struct Pending {
    message: Message,
    attempts: Vec<Sent>,
    first_possible: Option<u64>,
    retry_at: Option<u64>,
}

struct Publisher {
    mistake: Mistake,
    window: u64,
    model: Model,
    now: u64,
    epoch: u64,
    connected: bool,
    hello: bool,
    connected_at: u64,
    heard_at: u64,
    inbox: Vec<u8>,
    out: Vec<u8>,
    /// Offsets in this epoch: bytes queued, bytes taken, and the ends of the attempts among them.
    queued: u64,
    taken: u64,
    ends: Vec<(u64, u64, usize)>,
    /// For each PING on its way, the attempts written before it.
    pings: Vec<Vec<(u64, usize)>>,
    pending: BTreeMap<u64, Pending>,
    history: History,
}

/// One seed: 60 messages, faults, and the verdict.
fn run(seed: u64, mistake: Mistake) -> Result<Profile, String> {
    let scene = Scene { streams: vec!["S".into()], topics: vec!["s.a".into(), "s.b".into()], named_streams: true };
    let script = Script::draw(seed, Timing { ack_wait: ACK_WAIT, give_up: SILENCE, busy: 3_000 * MS }, &scene);
    let (profile, mut rng) = (script.profile, Rng::new(!seed));
    let mut spec = StreamSpec::new("S", &["s.>"]);
    spec.duplicate_window = rng.pick(&[1_000 * MS, 60_000 * MS]);
    spec.replicas = rng.pick(&[1, 3]);
    let window = spec.duplicate_window;
    let pauses = script.client_pauses.clone();
    let mut model = Model::new(script);
    model.add_stream(0, spec);
    let mut publisher = Publisher::new(model, window, mistake);
    let mut due: Vec<u64> = (0..60).map(|_| rng.below(3_000 * MS)).collect();
    due.sort_unstable();
    let mut due = due.into_iter().peekable();
    while due.peek().is_some() || !publisher.pending.is_empty() {
        if publisher.now > 60_000 * MS {
            break;
        }
        if let Some((from, len)) = pauses.iter().find(|(from, len)| (*from..from + len).contains(&publisher.now)) {
            publisher.now = from + len;
        }
        while due.next_if(|&at| at <= publisher.now).is_some() {
            publisher.accept(&mut rng);
        }
        publisher.turn();
        let next = publisher.model.next_event(publisher.now).unwrap_or(u64::MAX);
        publisher.now = next.min(publisher.now + STEP);
    }
    publisher.model.disconnect(publisher.now, publisher.epoch);
    while !publisher.model.is_settled() {
        publisher.now += STEP;
        publisher.model.tick(publisher.now);
    }
    let limits = Limits {
        max_pending: 60,
        max_pending_bytes: 60 * 1000,
        ack_wait: ACK_WAIT,
        delivery_timeout: DELIVERY_TIMEOUT,
        duplicate_window: window,
        resend_without_msg_id: false,
        slack: 100 * MS,
        outbox: 0,
        client_pauses: pauses,
        suspends: Vec::new(),
        max_attempts: 300,
        max_attempts_total: 60 * 100,
        waits_for_streams: false,
        domain: None,
        probe_pauses: (50 * MS, 50 * MS),
        healed_at: u64::MAX / 2,
    };
    check(&publisher.history, &publisher.model.truth, &limits).map(|()| profile).map_err(|story| format!("seed {seed}, {profile:?}: {story}"))
}

impl Publisher {
    fn new(model: Model, window: u64, mistake: Mistake) -> Self {
        Self {
            mistake,
            window,
            model,
            now: 0,
            epoch: 0,
            connected: false,
            hello: false,
            connected_at: 0,
            heard_at: 0,
            inbox: Vec::new(),
            out: Vec::new(),
            queued: 0,
            taken: 0,
            ends: Vec::new(),
            pings: Vec::new(),
            pending: BTreeMap::new(),
            history: History { rules: RuleBook::of(Some("S")), ..History::default() },
        }
    }

    fn accept(&mut self, rng: &mut Rng) {
        let id = self.history.accepted.len() as u64 + 1;
        let (thread, topic) = (0, rng.pick(&["s.a", "s.b"]).to_string());
        let payload = format!("payload {id} {}", "x".repeat(rng.index(200))).into_bytes();
        let message = Message { id, thread, rule: 0, topic, payload, msg_id: None, accepted_at: self.now, delivery_timeout: None };
        self.history.accepted.push(message.clone());
        self.pending.insert(id, Pending { message, attempts: Vec::new(), first_possible: None, retry_at: Some(0) });
        self.history.pending = self.history.pending.max(self.pending.len() as u64);
    }

    /// One turn of the loop: reads all, judges deadlines, sends.
    fn turn(&mut self) {
        if !self.connected && self.now >= self.connected_at + 20 * MS {
            (self.epoch, self.connected_at, self.heard_at) = (self.epoch + 1, self.now, self.now);
            self.connected = self.model.connect(self.now, self.epoch).is_ok();
        }
        while self.connected {
            match self.model.output(self.now, self.epoch, 300) {
                Output::Bytes(bytes) => {
                    self.heard_at = self.now;
                    self.inbox.extend(bytes);
                    self.parse();
                }
                Output::Empty => break,
                Output::End | Output::Reset => self.lose(),
            }
        }
        if self.connected && self.now > self.heard_at + SILENCE {
            self.lose();
        }
        self.judge_deadlines();
        if self.connected && self.hello {
            self.send();
            self.write();
        }
    }

    fn parse(&mut self) {
        while let Some(end) = self.inbox.windows(2).position(|pair| pair == b"\r\n") {
            let line = String::from_utf8_lossy(&self.inbox[..end]).into_owned();
            let words: Vec<&str> = line.split(' ').collect();
            let mut used = end + 2;
            match words[0] {
                "INFO" if !self.hello => {
                    self.hello = true;
                    self.queue("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB _INBOX.x.* 1\r\n".as_bytes());
                }
                "PING" => self.queue(b"PONG\r\n"),
                "PONG" if !self.pings.is_empty() => self.fenced(),
                "MSG" | "HMSG" => {
                    let header = if words[0] == "HMSG" { words[3].parse().unwrap() } else { 0 };
                    let total: usize = words[words.len() - 1].parse().unwrap();
                    if self.inbox.len() < used + total + 2 {
                        return;
                    }
                    let body = self.inbox[used..used + total].to_vec();
                    used += total + 2;
                    if words[2] == "1" {
                        self.reply(words[1], &body[..header], &body[header..]);
                    }
                }
                _ => {}
            }
            self.inbox.drain(..used);
        }
    }

    /// The token is the message and the attempt, such as `000000012.000034` without the dot: 15 digits.
    fn reply(&mut self, subject: &str, header: &[u8], body: &[u8]) {
        let token = subject.rsplit('.').next().unwrap_or_default();
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
        let (Some(id), Some(attempt), 15) = (number(token.get(..9)), number(token.get(9..)), token.len()) else { return };
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let attempt = if self.mistake == Mistake::MixesAttempts { pending.attempts.len() - 1 } else { attempt as usize };
        let status = std::str::from_utf8(header).unwrap_or_default();
        let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let (stream, code) = (json["stream"].as_str().unwrap_or_default(), json["error"]["err_code"].as_u64());
        let seq = json["seq"].as_u64();
        let torn = self.mistake == Mistake::TakesTornAcks && body.starts_with(b"{\"stream\":\"S\",\"seq\":");
        let torn =
            torn.then(|| String::from_utf8_lossy(&body[20..]).chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().ok()).flatten();
        let zero = self.mistake == Mistake::TakesSequenceZero && json["duplicate"] == true;
        let open = pending.attempts.get(attempt).is_some_and(|attempt| !attempt.closed);
        if stream == "S" && code.is_none() && (seq.is_some_and(|seq| seq > 0) || zero) {
            self.settle(id, Persisted, seq.unwrap_or(0));
        } else if let Some(seq) = torn {
            self.settle(id, Persisted, seq);
        } else if open && (status.contains(" 503") || matches!(code, Some(10167 | 10008))) {
            self.refused(id, attempt, true);
        } else if open && let Some(code) = code {
            let description = json["error"]["description"].as_str().unwrap_or_default();
            let proof = matches!(code, 10002 | 10109) || (code == 10077 && description.ends_with("exceeded")) || self.mistake == Mistake::TrustsEveryCode;
            self.refused(id, attempt, proof);
            if proof || code == 19_999 {
                let tainted = self.pending.get(&id).is_some_and(|pending| pending.first_possible.is_some());
                self.settle(id, if tainted { PossiblyPersisted } else { NotPersisted }, 0);
            }
        } else if open && seq == Some(0) && json["duplicate"] == true {
            self.refused(id, attempt, false);
        }
    }

    /// An attempt was answered, but not with an ack: it is sent again in a while.
    fn refused(&mut self, id: u64, attempt: usize, proof: bool) {
        let (now, forgets) = (self.now, self.mistake == Mistake::ForgetsTaint);
        let Some(pending) = self.pending.get_mut(&id) else { return };
        pending.attempts[attempt].closed = true;
        if !proof {
            let written = pending.attempts[attempt].written.unwrap_or(now);
            pending.first_possible = Some(pending.first_possible.map_or(written, |first| first.min(written)));
        } else if forgets {
            pending.first_possible = None;
        }
        if pending.attempts.iter().all(|attempt| attempt.closed) {
            pending.retry_at = Some(now + 50 * MS);
        }
    }

    fn fenced(&mut self) {
        for (id, attempt) in self.pings.remove(0) {
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.attempts[attempt].fenced = true;
            }
        }
    }

    fn settle(&mut self, id: u64, persistence: Persistence, seq: u64) {
        if self.pending.remove(&id).is_some() {
            self.history.reports.push(Report {
                id,
                at: self.now,
                persistence,
                seq,
                stream: String::new(),
                duplicate: false,
                staged: false,
                text: String::new(),
            });
        }
    }

    /// The connection is gone: what was written whole may be stored, what was not is not.
    fn lose(&mut self) {
        self.model.disconnect(self.now, self.epoch);
        (self.connected, self.hello, self.queued, self.taken) = (false, false, 0, 0);
        self.inbox.clear();
        self.ends.clear();
        self.pings.clear();
        let cut = if self.mistake == Mistake::TearsFrames { std::mem::take(&mut self.out) } else { Vec::new() };
        (self.queued, self.out) = (cut.len() as u64, cut);
        for pending in self.pending.values_mut() {
            for attempt in pending.attempts.iter_mut().filter(|attempt| !attempt.closed && attempt.epoch == self.epoch) {
                attempt.closed = true;
                pending.retry_at = Some(0);
                if let Some(written) = attempt.written.filter(|_| self.mistake != Mistake::LostMeansNotStored) {
                    pending.first_possible = Some(pending.first_possible.map_or(written, |first| first.min(written)));
                }
            }
        }
    }

    fn judge_deadlines(&mut self) {
        let deadline = |pending: &&Pending| self.now >= pending.message.accepted_at + DELIVERY_TIMEOUT && self.mistake != Mistake::NoDeadline;
        let due: Vec<u64> = self.pending.values().filter(deadline).map(|pending| pending.message.id).collect();
        for id in due {
            let pending = &self.pending[&id];
            let possible = pending.first_possible.is_some() || pending.attempts.iter().any(|attempt| !attempt.closed && attempt.written.is_some());
            // What is still going out belongs to this connection's last bytes: it must be whole before it is forgotten.
            if pending.attempts.iter().all(|attempt| attempt.closed || attempt.written.is_some()) {
                self.settle(id, if possible { PossiblyPersisted } else { NotPersisted }, 0);
            }
        }
    }

    /// Sends what is new or due again, oldest first, and fences what waits too long.
    fn send(&mut self) {
        let mut ids: Vec<u64> = self.pending.keys().copied().collect();
        if self.mistake == Mistake::WrongOrder {
            ids.reverse();
        }
        let mut wants_fence = false;
        for id in ids {
            let (now, no_fence, no_window) = (self.now, self.mistake == Mistake::NoFence, self.mistake == Mistake::NoWindow);
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            for attempt in pending.attempts.iter_mut().filter(|attempt| !attempt.closed) {
                let Some(written) = attempt.written.filter(|written| now >= written + ACK_WAIT) else { continue };
                if attempt.fenced || no_fence {
                    attempt.closed = true;
                    pending.first_possible = Some(pending.first_possible.map_or(written, |first| first.min(written)));
                    pending.retry_at = Some(now);
                } else {
                    wants_fence = true;
                }
            }
            let in_window = pending.first_possible.is_none_or(|first| no_window || now < first + self.window - ACK_WAIT);
            // Little is kept in front of the network: what waits there would be sent too late.
            if pending.retry_at.is_some_and(|at| at <= now) && in_window && self.out.is_empty() {
                self.send_one(id);
                self.write();
            }
        }
        if wants_fence && self.pings.is_empty() {
            let written = |pending: &Pending| {
                let id = pending.message.id;
                let open = |(n, attempt): (usize, &Sent)| (!attempt.closed && attempt.written.is_some()).then_some((id, n));
                pending.attempts.iter().enumerate().filter_map(open).collect::<Vec<_>>()
            };
            let before = self.pending.values().flat_map(written).collect();
            self.pings.push(before);
            self.queue(b"PING\r\n");
        }
    }

    fn send_one(&mut self, id: u64) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        pending.retry_at = None;
        let attempt = pending.attempts.len();
        pending.attempts.push(Sent { epoch: self.epoch, written: None, closed: false, fenced: false });
        let fresh = if self.mistake == Mistake::FreshIds { format!("-{attempt}") } else { String::new() };
        let headers = format!("NATS/1.0\r\nNats-Msg-Id: id{id}{fresh}\r\n\r\n");
        let (message, total) = (&pending.message, headers.len() + pending.message.payload.len());
        let mut frame = format!("HPUB {} _INBOX.x.{id:09}{attempt:06} {} {total}\r\n{headers}", message.topic, headers.len()).into_bytes();
        frame.extend_from_slice(&message.payload);
        frame.extend_from_slice(b"\r\n");
        self.queue(&frame);
        self.ends.push((self.queued, id, attempt));
    }

    fn queue(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.queued += bytes.len() as u64;
    }

    fn write(&mut self) {
        while !self.out.is_empty() {
            // A write error is no end: the reads tell it (X5).
            let taken = self.model.receive(self.now, self.epoch, &self.out).unwrap_or(0);
            if taken == 0 {
                break;
            }
            self.out.drain(..taken);
            self.taken += taken as u64;
        }
        let taken = self.taken;
        for (_, id, attempt) in self.ends.extract_if(.., |(end, ..)| *end <= taken) {
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.attempts[attempt].written = Some(self.now);
            }
        }
    }
}

#[test]
fn a_careful_publisher_passes_every_seed() {
    let failures: Vec<String> = (0..1500).filter_map(|seed| run(seed, Mistake::None).err()).collect();
    assert!(failures.is_empty(), "{} seeds fail; the first: {}", failures.len(), failures[0]);
}

#[test]
fn every_mistake_is_found() {
    for (mistake, words) in [
        (Mistake::TrustsEveryCode, "P2: reported NOT_PERSISTED, but a stream holds it"),
        (Mistake::ForgetsTaint, "P2: reported NOT_PERSISTED, but a stream holds it"),
        (Mistake::TakesSequenceZero, "P2: reported PERSISTED"),
        (Mistake::TakesTornAcks, "P2: reported"),
        (Mistake::NoFence, "before a PONG"),
        (Mistake::NoWindow, "P4: "),
        (Mistake::FreshIds, "P4: sent again with another id"),
        (Mistake::MixesAttempts, "sent again"),
        (Mistake::TearsFrames, "breach"),
        (Mistake::WrongOrder, "P10: "),
        (Mistake::LostMeansNotStored, "P2: reported NOT_PERSISTED, but a stream holds it"),
        (Mistake::NoDeadline, "P1: 0 reports"),
    ] {
        let found = (0..1000).filter_map(|seed| run(seed, mistake).err()).find(|story| story.contains(words));
        assert!(found.is_some(), "{mistake:?} was not found");
    }
}
