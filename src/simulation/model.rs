//! The model server: one NATS server with JetStream, without sockets, threads or a clock. It outlives its connections, obeys a [`Script`] and remembers the [`Truth`].
//!
//! All times are virtual nanoseconds that the caller passes and that never go back. What the client writes arrives after the connection's latency; replies of the
//! server's read loop keep the order of what it read, acknowledgements come from the streams in their own time, to whichever connection listens to the inbox by then.

use std::collections::BTreeMap;

use super::api;
use super::frame::{Frame, Parser, Publish, Spanned};
use super::link::{Link, Note, Output};
use super::reply::{self, Body, Damage};
use super::script::{Cut, Fate, Happening, Phase, Script, Trouble};
use super::store::{Proposals, Store, StreamSpec};
use super::truth::{Effect, Ephemeral, Reading, Says, Told, Truth, matches};

/// What a stream needs to store and answer.
pub(super) const STREAM_TIME: u64 = 100_000;
/// How long the client may take to answer a PING.
const PING_PATIENCE: u64 = 10_000_000_000;

/// The connection is not there: refused, cut or never made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The server.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) script: Script,
    pub(crate) store: Store,
    /// The other JetStream's streams.
    pub(crate) abroad: Store,
    pub(crate) truth: Truth,
    pub(super) sessions: BTreeMap<u64, Session>,
    /// Messages from the streams by the times at which they leave.
    pub(super) mail: BTreeMap<(u64, u64), Mail>,
    pub(super) mailed: u64,
    pub(super) proposals: BTreeMap<String, Proposals<Asked>>,
    /// Nothing happens at the server before this time; 0 when that is to be found out again.
    quiet_until: u64,
}

/// What the server knows of one connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) parser: Parser,
    pub(super) connected: bool,
    /// The client has read INFO.
    pub(super) informed: bool,
    pub(super) subscriptions: Vec<(String, String)>,
    pub(super) publishes: u64,
    /// The limit in force and the largest one told so far.
    pub(super) max_payload: usize,
    pub(super) told_payload: usize,
    /// Attempts that no PING has followed yet.
    pub(super) unfenced: Vec<usize>,
    pub(super) next_ping: Option<u64>,
    pub(super) pinged_at: Option<u64>,
    pub(super) close_at: Option<(u64, Option<&'static str>)>,
    /// The client is gone; what it wrote may still be read, but for this.
    pub(super) orphan: bool,
    pub(super) lost: Vec<u8>,
}

/// A message for an inbox.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) subject: String,
    pub(super) body: Body,
    pub(super) damage: Option<Damage>,
    pub(super) means: Option<Reading>,
}

/// Who waits for an answer, and what it shall be.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) conn: u64,
    pub(super) attempt: usize,
    pub(super) reply: String,
    pub(super) fate: Fate,
}

/// What happens next at the server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Read(u64),
    Commit(String),
    Mail(u64, u64),
    Happening,
    Ping(u64),
    Close(u64),
}

impl Model {
    /// A server without streams.
    pub(crate) fn new(script: Script) -> Self {
        let storm = |phase: &Phase| match &phase.trouble {
            Trouble::Storm { stream } => Some((stream.clone(), phase.from, phase.to)),
            _ => None,
        };
        let truth = Truth {
            storms: script.phases.iter().filter_map(storm).collect(),
            mapped: script.land.ways.iter().map(|way| (way.topic.clone(), way.from, way.targets.iter().map(|(target, _)| target.clone()).collect())).collect(),
            domain: script.domain.clone(),
            ..Truth::default()
        };
        let (store, abroad) = (Store::default(), Store::default());
        Self { script, store, abroad, truth, sessions: BTreeMap::new(), mail: BTreeMap::new(), mailed: 0, proposals: BTreeMap::new(), quiet_until: 0 }
    }

    /// Makes a stream, as another client would.
    pub(crate) fn add_stream(&mut self, now: u64, spec: StreamSpec) {
        if let Err(error) = self.store.create(now, spec) {
            self.truth.breaches.push(format!("the test's own stream was refused: {}", error.description));
        }
        self.remember_streams(now);
    }

    /// A new connection. Its id must not have been used before.
    pub(crate) fn connect(&mut self, now: u64, conn: u64) -> Result<(), Gone> {
        self.tick(now);
        self.truth.opened.insert(conn, now);
        if self.script.trouble(now, |trouble| *trouble == Trouble::Refusing).is_some() {
            return Err(Gone);
        }
        let plan = self.script.connection(now);
        let mut session = Session {
            parser: Parser::default(),
            connected: false,
            informed: false,
            subscriptions: Vec::new(),
            publishes: 0,
            max_payload: plan.secret_payload.unwrap_or(plan.max_payload).min(plan.max_payload),
            told_payload: plan.max_payload,
            unfenced: Vec::new(),
            next_ping: plan.ping_every.map(|every| now + every),
            pinged_at: None,
            close_at: plan.close_after.map(|(after, text)| (now + after, Some(text))),
            orphan: false,
            lost: Vec::new(),
            link: Link::new(now, plan),
        };
        if !session.link.plan.mute {
            let info = reply::info(conn, session.told_payload, false, self.script.local_domain());
            session.link.send_in_order(self.script.awake(now), 0, info, Note { is_info: true, ..Note::default() });
        }
        self.sessions.insert(conn, session);
        self.quiet_until = 0;
        Ok(())
    }

    /// The client writes. Tells how many bytes the network took; 0 means that it must wait for [`Model::next_event`].
    pub(crate) fn receive(&mut self, now: u64, conn: u64, bytes: &[u8]) -> Result<usize, Gone> {
        self.tick(now);
        let session = self.sessions.get_mut(&conn).ok_or(Gone)?;
        let taken = session.link.accept(now, bytes, &mut self.script.rng).ok_or(Gone)?;
        if taken > 0 {
            self.quiet_until = 0;
        }
        if session.link.dead {
            self.bury(conn);
        }
        Ok(taken)
    }

    /// The client reads at most `max` bytes.
    pub(crate) fn output(&mut self, now: u64, conn: u64, max: usize) -> Output {
        self.tick(now);
        let Some(session) = self.sessions.get_mut(&conn) else { return Output::Reset };
        let (output, notes) = session.link.read(now, max, &mut self.script.rng);
        for note in notes {
            session.informed |= note.is_info;
            if let Some(reading) = note.means {
                self.truth.note_read(reading, now);
            }
            for attempt in note.fences {
                self.truth.note_fence(attempt, now);
            }
        }
        output
    }

    /// Whether the client would read something from this connection, be it its end. So it is with one that is gone.
    pub(super) fn is_readable(&self, now: u64, conn: u64) -> bool {
        self.sessions.get(&conn).is_none_or(|session| session.link.is_readable(now))
    }

    pub(super) fn is_writable(&self, now: u64, conn: u64) -> bool {
        self.sessions.get(&conn).is_none_or(|session| session.link.is_writable(now))
    }

    /// The attempts whose answers have arrived at the client and were not read.
    pub(super) fn unread(&self, now: u64) -> Vec<usize> {
        let notes = self.sessions.values().filter(|session| !session.orphan).flat_map(|session| session.link.unread(now));
        notes.filter_map(|note| if let Some(Reading::Answer(attempt)) = note.means { Some(attempt) } else { None }).collect()
    }

    /// Whether nothing of what is written arrives.
    pub(super) fn is_unheard(&self, now: u64, conn: u64) -> bool {
        self.sessions.get(&conn).is_some_and(|session| session.link.is_deaf(now))
    }

    /// The client drops the connection. What the network took may still be read, in part and later.
    pub(crate) fn disconnect(&mut self, now: u64, conn: u64) {
        self.tick(now);
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let (share, later) = session.link.plan.zombie;
        self.quiet_until = 0;
        session.orphan = true;
        session.subscriptions.clear();
        (session.next_ping, session.close_at) = (None, None);
        if !session.link.dead {
            session.lost = session.link.orphan(share, later);
        }
        if session.link.readable_at().is_none() {
            self.bury(conn);
            self.sessions.remove(&conn);
        }
    }

    /// Lets everything happen that is due.
    pub(crate) fn tick(&mut self, now: u64) {
        while now >= self.quiet_until {
            match self.next_server_event() {
                Some((at, event)) if at <= now => self.happen(at, event),
                next => self.quiet_until = next.map_or(u64::MAX, |(at, _)| at),
            }
        }
    }

    /// Lets everything happen that is due, and tells the next time at which something happens, at the server or for a waiting client.
    pub(crate) fn next_event(&mut self, now: u64) -> Option<u64> {
        self.tick(now);
        let server = Some(self.quiet_until).filter(|&at| at < u64::MAX);
        let clients = self.sessions.values().filter(|session| !session.orphan).filter_map(|session| session.link.next_change(now));
        clients.chain(server).min()
    }

    /// Whether a frame of a connection that is gone may still be read, or a proposal be decided.
    pub(crate) fn is_settled(&self) -> bool {
        // One that was cut after its client had left is never read again, and nobody removes it.
        self.sessions.values().all(|session| !session.orphan || session.link.readable_at().is_none()) && self.proposals.values().all(Proposals::is_empty)
    }

    fn next_server_event(&self) -> Option<(u64, Event)> {
        let mail = self.mail.keys().next().map(|&(at, number)| (at, Event::Mail(at, number)));
        let happening = self.script.happenings.front().map(|(at, _)| (*at, Event::Happening));
        let commits = self.proposals.iter().filter_map(|(stream, proposals)| proposals.next_due().map(|at| (at, Event::Commit(stream.clone()))));
        let connections = self.sessions.iter().flat_map(|(&conn, session)| {
            let read = session.link.readable_at().map(|at| (at, Event::Read(conn)));
            let alive = !session.link.dead;
            let ping = session.next_ping.filter(|_| alive).map(|at| (at, Event::Ping(conn)));
            let close = session.close_at.filter(|_| alive).map(|(at, _)| (at, Event::Close(conn)));
            [read, ping, close].into_iter().flatten()
        });
        // A stopped server does nothing of it before it runs again.
        let events = mail.into_iter().chain(happening).chain(commits).chain(connections);
        events.map(|(at, event)| (self.script.awake(at), event)).min()
    }

    fn happen(&mut self, now: u64, event: Event) {
        match event {
            Event::Read(conn) => self.read(now, conn),
            Event::Commit(stream) => self.commit(now, &stream),
            Event::Mail(at, number) => self.deliver(now, (at, number)),
            Event::Happening => self.happening(now),
            Event::Ping(conn) => self.ping(now, conn),
            Event::Close(conn) => {
                let text = self.sessions.get(&conn).and_then(|session| session.close_at).and_then(|(_, text)| text);
                self.close(now, conn, text);
            }
        }
    }

    /// Reads one piece of a connection, up to the byte where the script cuts it.
    fn read(&mut self, now: u64, conn: u64) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let cut = if let Some(Cut::AtByte(at)) = session.link.plan.cut { Some(at) } else { None };
        let left = cut.map_or(u64::MAX, |at| at.saturating_sub(session.parser.received()));
        let piece = session.link.take(left);
        session.parser.push(&piece);
        while let Some(session) = self.sessions.get_mut(&conn).filter(|session| !session.link.dead) {
            match session.parser.next(session.max_payload) {
                Ok(Some(spanned)) => self.frame(now, conn, spanned),
                Ok(None) => break,
                Err(what) => {
                    self.breach(now, conn, &what);
                    self.close(now, conn, Some("Unknown Protocol Operation"));
                }
            }
        }
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if cut.is_some_and(|at| session.parser.received() >= at) && !session.link.dead {
            self.cut(now, conn);
        } else if session.orphan && session.link.readable_at().is_none() {
            self.bury(conn);
            self.sessions.remove(&conn);
        }
    }

    fn frame(&mut self, now: u64, conn: u64, Spanned { frame, first, end }: Spanned) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if session.connected == matches!(frame, Frame::Connect(_)) {
            let what = if session.connected { "CONNECT twice" } else { "a frame before CONNECT" };
            self.breach(now, conn, what);
            return;
        }
        match frame {
            Frame::Connect(options) => {
                session.connected = true;
                let informed = session.informed;
                for (key, wanted) in [("verbose", false), ("headers", true), ("no_responders", true)] {
                    if options[key] != wanted {
                        self.breach(now, conn, &format!("CONNECT must say {key}: {wanted}: {options}"));
                    }
                }
                if !informed {
                    self.breach(now, conn, "CONNECT before INFO was read");
                }
            }
            Frame::Ping => {
                let slow = session.link.plan.slow_pong.filter(|_| now < self.script.heal_at);
                let extra = slow.filter(|(_, odds)| self.script.rng.chance(*odds)).map_or(0, |(extra, _)| extra);
                let note = Note { fences: std::mem::take(&mut session.unfenced), ..Note::default() };
                session.link.send_in_order(now, extra, b"PONG\r\n".to_vec(), note);
            }
            Frame::Pong => {
                if session.pinged_at.take().is_none() {
                    self.breach(now, conn, "PONG without PING");
                }
            }
            Frame::Sub { subject, .. } if session.link.plan.deny_inbox => {
                let text = format!("Permissions Violation for Subscription to \"{subject}\"");
                session.link.send_in_order(now, 0, reply::err(&text), Note::default());
            }
            Frame::Sub { subject, sid } => session.subscriptions.push((subject, sid)),
            Frame::Unsub { sid } => session.subscriptions.retain(|(_, other)| *other != sid),
            Frame::TooLarge { subject, size } => self.too_large(now, conn, subject, size, first, end),
            Frame::Publish(publish) => self.publish(now, conn, publish, first, end),
        }
    }

    /// The server does not read a payload that is too large: it says so and closes.
    fn too_large(&mut self, now: u64, conn: u64, subject: String, size: usize, first: u64, end: u64) {
        self.check_told(now, conn, size);
        let number = self.truth.attempts.len();
        self.close(now, conn, Some("Maximum Payload Violation"));
        if self.truth.attempts.len() == number {
            // Its payload has not come; without it the attempt has no message, but it is one.
            let publish = Publish { subject, reply: Some(String::new()), size, ..Publish::default() };
            self.attempt(conn, &publish, first, end, None, Effect::Unread);
        }
        if let Some(attempt) = self.truth.attempts.get_mut(number) {
            attempt.processed = Some(now);
            attempt.effect = Effect::NotStored("larger than max_payload".into());
            attempt.told = Told::Unclear;
        }
    }

    fn publish(&mut self, now: u64, conn: u64, publish: Publish, first: u64, end: u64) {
        self.check_told(now, conn, publish.size);
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.publishes += 1;
        let (count, orphan, cut) = (session.publishes, session.orphan, session.link.plan.cut);
        let api = api::request(&publish.subject).map(str::to_string);
        if let Some(inbox) = publish.reply.as_deref().filter(|_| !orphan)
            && session.sid_of(inbox).is_none()
            && !session.link.plan.deny_inbox
        {
            self.breach(now, conn, &format!("a reply subject that the connection does not listen to: {inbox}"));
        }
        if cut == Some(Cut::BeforePublish(count)) {
            self.attempt(conn, &publish, first, end, None, Effect::Unread);
            self.cut(now, conn);
            return;
        }
        if self.script.denied(now, &publish.subject) {
            // API requests are not attempts: nothing of theirs is stored.
            let attempt = if api.is_some() { None } else { self.attempt(conn, &publish, first, end, Some(now), Effect::NotStored("denied".into())) };
            if let Some(attempt) = attempt {
                self.set_told(attempt, Told::Denied);
            }
            let means = match &api {
                Some(words) => Some(Reading::Question(self.note_question(now, conn, words, Says::Refuses))),
                None => attempt.map(Reading::Answer),
            };
            let text = format!("Permissions Violation for Publish to \"{}\"", self.script.land.shown(&publish.subject));
            self.say(now, conn, reply::err(&text), means);
        } else if let Some(words) = api {
            self.api(now, conn, &words, &publish);
        } else if let Some(inbox) = publish.reply.clone() {
            let fate = self.script.fate(now);
            if let Some(attempt) = self.attempt(conn, &publish, first, end, Some(now), Effect::Proposed) {
                self.offer(now, publish, Asked { conn, attempt, reply: inbox, fate });
            }
        } else {
            self.truth.ephemeral.push(Ephemeral { subject: publish.subject.clone(), payload: publish.payload.clone(), at: now, conn });
            if let Some(stream) = self.route(now, &publish.subject) {
                let put = self.store.put(now, &stream, &publish);
                self.record_copy(now, conn, &stream, &publish, &put, false);
            }
        }
        if cut == Some(Cut::AfterPublish(count)) {
            self.cut(now, conn);
        }
    }

    fn happening(&mut self, now: u64) {
        let Some((_, what)) = self.script.happenings.pop_front() else { return };
        let domain = self.script.local_domain().map(str::to_string);
        match &what {
            Happening::Window { stream, window } => {
                if let Some(stream) = self.store.streams.get_mut(stream) {
                    stream.spec.duplicate_window = *window;
                }
                return self.remember_streams(now);
            }
            Happening::Deletion { stream } => {
                self.store.streams.remove(stream);
                return self.remember_streams(now);
            }
            Happening::Info { .. } | Happening::LameDuck { .. } => {}
        }
        for (&conn, session) in self.sessions.iter_mut().filter(|(_, session)| !session.link.dead && session.connected) {
            let info = match what {
                Happening::Window { .. } | Happening::Deletion { .. } => continue,
                Happening::Info { max_payload } => {
                    (session.max_payload, session.told_payload) = (max_payload, session.told_payload.max(max_payload));
                    reply::info(conn, max_payload, false, domain.as_deref())
                }
                Happening::LameDuck { grace } => {
                    session.close_at = Some((now + grace, None));
                    reply::info(conn, session.max_payload, true, domain.as_deref())
                }
            };
            session.link.send_in_order(now, 0, info, Note::default());
        }
    }

    fn ping(&mut self, now: u64, conn: u64) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.next_ping = session.link.plan.ping_every.filter(|_| now < self.script.heal_at).map(|every| now + every);
        match session.pinged_at {
            Some(at) if now > at + PING_PATIENCE => {
                self.truth.unanswered_pings += 1;
                session.next_ping = None;
            }
            Some(_) => {}
            None => {
                session.pinged_at = Some(now);
                session.link.send_in_order(now, 0, b"PING\r\n".to_vec(), Note::default());
            }
        }
    }

    fn close(&mut self, now: u64, conn: u64, text: Option<&str>) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if let Some(text) = text {
            session.link.send_in_order(now, 0, reply::err(text), Note::default());
        }
        session.link.close(now);
        self.bury(conn);
    }

    pub(super) fn cut(&mut self, now: u64, conn: u64) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.link.cut(now, &mut self.script.rng);
            self.bury(conn);
        }
    }
}

impl Session {
    /// The subscription of this connection that takes the subject.
    pub(super) fn sid_of(&self, subject: &str) -> Option<String> {
        self.subscriptions.iter().find(|(pattern, _)| matches(pattern, subject)).map(|(_, sid)| sid.clone())
    }
}
