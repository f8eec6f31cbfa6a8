//! From a publish to its answer: leader, stream, replicas, and the message that leaves for the inbox.

use super::api;
use super::frame::Publish;
use super::landscape::Creation;
use super::link::Note;
use super::model::{Asked, Mail, Model, STREAM_TIME};
use super::reply::{self, ApiError, Body, Refusal};
use super::script::{Alien, Answer, Fate, Script, Trouble};
use super::store::{Proposal, Put};
use super::truth::{Asking, Effect, Reading, Says, Told};

/// For answers that the script has replaced.
const NOTHING: (Told, Body) = (Told::Nothing, Body { headers: String::new(), payload: Vec::new() });

impl Model {
    /// What asks for an acknowledgement goes to the stream that takes it, if its leader is there and the script lets it.
    pub(super) fn offer(&mut self, now: u64, publish: Publish, asked: Asked) {
        if let Some(alien) = asked.fate.alien {
            self.send_alien(now, &asked.reply, alien);
        }
        let others = self.offer_others(now, &publish, &asked);
        let stream = self.route(now, &publish.subject);
        let led = stream.filter(|stream| !self.script.leaderless(now, stream));
        let Some(stream) = led else {
            let heard = others || self.script.core_subscriber(now, &publish.subject);
            self.refuse(asked.attempt, "no stream or no leader");
            if !heard {
                self.say_no_responders(now, &publish.subject, &asked);
            }
            return;
        };
        let mut asked = asked;
        if others && asked.fate.answer == Answer::Refusal(Refusal::NoResponders) {
            // Who took it is somebody.
            asked.fate.answer = Answer::Silence;
        }
        if self.script.storm(now, &stream) {
            asked.fate = Fate::refused(Refusal::Insufficient, self.script.rng.chance(200));
        }
        if !asked.fate.store {
            let why = if let Answer::Refusal(refusal) = asked.fate.answer { format!("{refusal:?}") } else { "swallowed".into() };
            self.refuse(asked.attempt, &why);
            self.answer(now, &publish.subject, &stream, asked, NOTHING);
            return;
        }
        let queue = self.proposals.entry(stream.clone()).or_default();
        if publish.msg_id().is_some_and(|id| queue.holds(id)) {
            self.refuse(asked.attempt, "its id is in process");
            let fate = Fate { answer: Answer::Refusal(Refusal::InProcess), ..asked.fate };
            return self.answer(now, &publish.subject, &stream, Asked { fate, ..asked }, NOTHING);
        }
        match self.script.slow_commit(now, &stream) {
            Some((due, dropped)) => queue.push(Proposal { due, publish, dropped, then: asked }),
            None if !queue.is_empty() => queue.push(Proposal { due: now, publish, dropped: false, then: asked }),
            None => self.store(now, &stream, &publish, asked),
        }
    }

    pub(super) fn commit(&mut self, now: u64, stream: &str) {
        let Some(proposal) = self.proposals.get_mut(stream).and_then(|proposals| proposals.pop(now)) else { return };
        if proposal.dropped {
            self.refuse(proposal.then.attempt, "proposed, then lost by a change of leader");
        } else {
            self.store(now, stream, &proposal.publish, proposal.then);
        }
    }

    fn store(&mut self, now: u64, stream: &str, publish: &Publish, asked: Asked) {
        let put = self.store.put(now, stream, publish);
        self.record_copy(now, asked.conn, stream, publish, &put, false);
        let (domain, name) = (self.script.domain.as_deref(), stream.to_string());
        let (effect, honest) = match put {
            Put::New(seq) => (Effect::Stored { stream: name, seq }, (Told::Ack, reply::ack(stream, domain, seq, false))),
            Put::Duplicate(seq) => (Effect::Duplicate { stream: name, seq }, (Told::Ack, reply::ack(stream, domain, seq, true))),
            Put::Refused(error) => (Effect::NotStored(error.description.clone()), (Told::Refused, reply::refused(stream, &error))),
        };
        self.set_effect(asked.attempt, effect);
        self.answer(now, &publish.subject, stream, asked, honest);
    }

    /// Answers as the fate wants it; `honest` is what a good server would say.
    fn answer(&mut self, now: u64, subject: &str, stream: &str, asked: Asked, (told, honest): (Told, Body)) {
        let (told, body, damage) = match asked.fate.answer {
            Answer::Silence => return,
            Answer::Truth => (told, honest, None),
            Answer::Damaged(damage) => (Told::Nothing, honest, Some(damage)),
            Answer::Refusal(Refusal::NoResponders) => return self.say_no_responders(now, subject, &asked),
            Answer::Refusal(refusal) => {
                let told = if refusal.is_definite() { Told::Refused } else { Told::Unclear };
                (told, refusal.body(subject, stream, self.script.named_503), None)
            }
        };
        self.set_told(asked.attempt, told);
        self.set_said_by(asked.attempt, stream);
        let means = damage.is_none().then_some(Reading::Answer(asked.attempt));
        let leaves = now + STREAM_TIME + asked.fate.delay;
        if let Some(later) = asked.fate.again {
            self.mail(leaves + later, Mail { subject: asked.reply.clone(), body: body.clone(), damage, means });
        }
        self.mail(leaves, Mail { subject: asked.reply, body, damage, means });
    }

    fn send_alien(&mut self, now: u64, inbox: &str, alien: Alien) {
        let prefix = inbox.rsplit_once('.').map_or("", |(prefix, _)| prefix);
        let unknown: String = (0..15).map(|_| self.script.rng.pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ") as char).collect();
        let (subject, body) = match alien {
            Alien::SameToken => (inbox.to_string(), Body::plain(r#"{"type":"ack","seq":10,"msgs":15}"#)),
            Alien::UnknownToken => (format!("{prefix}.{unknown}"), reply::ack("S", None, 1, false)),
            Alien::Status => (inbox.to_string(), Body { headers: "NATS/1.0 100 Idle Heartbeat\r\n\r\n".into(), payload: Vec::new() }),
        };
        self.mail(now, Mail { subject, body, damage: None, means: None });
    }

    fn say_no_responders(&mut self, now: u64, subject: &str, asked: &Asked) {
        let body = reply::no_responders(subject, self.script.named_503);
        let sid = self.sessions.get(&asked.conn).and_then(|session| session.sid_of(&asked.reply));
        if let Some(sid) = sid {
            self.set_told(asked.attempt, Told::Refused);
            // From the server's read loop, to the same connection (X2).
            self.say(now, asked.conn, body.frame(&asked.reply, &sid), Some(Reading::Answer(asked.attempt)));
        }
    }

    /// A request to the JetStream API: of the streams that are meant, or of the client's own server where that is another.
    pub(super) fn api(&mut self, now: u64, conn: u64, words: &str, publish: &Publish) {
        let question = self.note_question(now, conn, words, Says::Nothing);
        let Some(inbox) = publish.reply.clone() else { return };
        let asked_domain = publish.subject.strip_prefix("$JS.").and_then(|rest| rest.split_once(".API.")).map(|(domain, _)| domain);
        let (home, known) = match (&self.script.land.asked_domain, asked_domain) {
            (None, None) => (true, true),
            (Some(_), None) => (false, self.script.land.abroad.is_some()),
            (home, Some(domain)) => (true, home.as_deref() == Some(domain) || self.script.domain.as_deref() == Some(domain)),
        };
        if self.script.trouble(now, |trouble| *trouble == Trouble::ApiSilent).is_some() {
            return;
        }
        let creation = if words.starts_with("STREAM.CREATE.") { self.script.land.creations.pop_front() } else { None };
        // The other JetStream is well: what takes messages answers questions.
        let unavailable = !known || (home && self.script.trouble(now, |trouble| *trouble == Trouble::ApiUnavailable).is_some());
        if unavailable {
            let sid = self.sessions.get(&conn).and_then(|session| session.sid_of(&inbox));
            if let Some(sid) = sid {
                let body = reply::no_responders(&publish.subject, self.script.named_503);
                self.set_says(question, Says::Refuses);
                self.say(now, conn, body.frame(&inbox, &sid), Some(Reading::Question(question)));
            }
            return;
        }
        let error = match creation {
            Some(Creation::LostRequest) => return,
            Some(Creation::Cut) => return self.cut(now, conn),
            Some(Creation::Unavailable) => Some(ApiError::new(503, 10008, "JetStream system temporarily unavailable")),
            Some(Creation::LostAnswer) | None => self.script.api_error(now).filter(|_| home),
        };
        let answer = match (&error, home) {
            (Some(error), _) => api::failure(words, error),
            (None, true) => api::respond(&mut self.store, now, words, &publish.payload, &self.script),
            (None, false) => api::respond(&mut self.abroad, now, words, &publish.payload, &Script::calm()),
        };
        if home {
            self.remember_streams(now);
        }
        if creation == Some(Creation::LostAnswer) {
            return;
        }
        self.set_says(question, api::says(&answer));
        let delay = STREAM_TIME * self.script.rng.between(1, 20);
        self.mail(now + delay, Mail { subject: inbox, body: Body::plain(answer.to_string()), damage: None, means: Some(Reading::Question(question)) });
    }

    pub(super) fn note_question(&mut self, now: u64, conn: u64, words: &str, says: Says) -> usize {
        self.truth.questions.push(Asking { conn, asked: now, words: words.into(), says, read: None });
        self.truth.questions.len() - 1
    }

    fn set_says(&mut self, question: usize, says: Says) {
        if let Some(question) = self.truth.questions.get_mut(question) {
            question.says = says;
        }
    }

    pub(super) fn mail(&mut self, leaves: u64, mail: Mail) {
        self.mailed += 1;
        self.mail.insert((leaves, self.mailed), mail);
    }

    /// A message leaves its stream, for every connection that listens to its subject now.
    pub(super) fn deliver(&mut self, now: u64, key: (u64, u64)) {
        let Some(mail) = self.mail.remove(&key) else { return };
        for session in self.sessions.values_mut().filter(|session| !session.link.dead) {
            if let Some(sid) = session.sid_of(&mail.subject) {
                let frame = match mail.damage {
                    Some(damage) => damage.frame(&mail.body, &mail.subject, &sid, &mut self.script.rng),
                    None => mail.body.frame(&mail.subject, &sid),
                };
                session.link.send(now, frame, Note { means: mail.means, ..Note::default() });
            }
        }
    }
}
