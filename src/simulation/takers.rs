//! Who takes a topic: mappings, imports, a second JetStream, and listeners that answer what they have no say in.

use super::frame::Publish;
use super::landscape::{Liar, Lie};
use super::model::{Asked, Model, STREAM_TIME};
use super::reply::{self, ApiError, Body};
use super::script::Script;
use super::store::Put;
use super::truth::{Reading, Told, Word, matches};

impl Script {
    /// Whether somebody who answers listens to this subject.
    fn liars(&self, now: u64, subject: &str) -> impl Iterator<Item = &Liar> {
        let subject = subject.to_string();
        self.land.liars.iter().filter(move |liar| liar.from <= now && now < liar.to && matches(&liar.pattern, &subject))
    }
}

impl Model {
    /// The stream that takes this message now.
    pub(super) fn route(&mut self, now: u64, subject: &str) -> Option<String> {
        let Script { land, rng, .. } = &mut self.script;
        let target = if land.ways.is_empty() { subject } else { land.target(now, subject, rng) };
        self.store.takes(target).map(str::to_string)
    }

    /// Gives the message to all who take it beside its stream. Tells whether there is one.
    pub(super) fn offer_others(&mut self, now: u64, publish: &Publish, asked: &Asked) -> bool {
        let abroad = self.offer_abroad(now, publish, asked);
        let mut heard = abroad;
        let liars: Vec<(Vec<Lie>, u64)> = self.script.liars(now, &publish.subject).map(|liar| (liar.says.clone(), liar.delay)).collect();
        for (says, delay) in liars {
            heard = true;
            let lie = self.script.rng.pick(&says);
            self.say_lie(now, lie, delay, asked);
        }
        heard
    }

    fn offer_abroad(&mut self, now: u64, publish: &Publish, asked: &Asked) -> bool {
        let Some(land) = self.script.land.abroad.clone() else { return false };
        let Some(stream) = self.abroad.takes(&publish.subject).map(str::to_string) else { return false };
        let (refuses, silent) = (self.script.rng.chance(land.refuses), self.script.rng.chance(land.silent));
        let put = if refuses { None } else { Some(self.abroad.put(now, &stream, publish)) };
        if let Some(put) = &put {
            self.record_copy(now, asked.conn, &stream, publish, put, true);
        }
        let domain = land.says_domain.then_some(land.domain.as_str());
        let (told, body) = match put {
            Some(Put::New(seq)) => (Told::Ack, reply::ack(&stream, domain, seq, false)),
            Some(Put::Duplicate(seq)) => (Told::Ack, reply::ack(&stream, domain, seq, true)),
            Some(Put::Refused(error)) => (Told::Refused, reply::refused(&stream, &error)),
            None => (Told::Refused, land.refusal.body(&publish.subject, &stream, true)),
        };
        if !silent {
            let domain = domain.filter(|_| told == Told::Ack).map(Into::into);
            let delay = self.script.rng.below(land.delay + 1);
            self.say_word(now + delay, asked, Word { told, stream: Some(stream), domain, read: None }, body);
        }
        true
    }

    fn say_lie(&mut self, now: u64, lie: Lie, delay: u64, asked: &Asked) {
        let error = ApiError::new(503, 10077, "maximum messages exceeded");
        let (told, stream, body) = match lie {
            Lie::NamelessRefusal => (Told::Unclear, None, Body::plain(format!(r#"{{"error":{}}}"#, error.json()))),
            Lie::RefusalInAName => (Told::Refused, Some("NOBODYS".to_string()), reply::refused("NOBODYS", &error)),
            Lie::Junk => (Told::Nothing, None, Body::plain("\u{1}{not json")),
            Lie::ServiceError => {
                let headers = "NATS/1.0\r\nNats-Service-Error: no\r\nNats-Service-Error-Code: 500\r\n\r\n".into();
                (Told::Nothing, None, Body { headers, payload: Vec::new() })
            }
        };
        let delay = self.script.rng.below(delay + 1);
        self.say_word(now + delay, asked, Word { told, stream, domain: None, read: None }, body);
    }

    fn say_word(&mut self, now: u64, asked: &Asked, word: Word, body: Body) {
        let Some(attempt) = self.truth.attempts.get_mut(asked.attempt) else { return };
        attempt.words.push(word);
        let reading = Reading::Word(asked.attempt, attempt.words.len() - 1);
        self.mail(now + STREAM_TIME, super::model::Mail { subject: asked.reply.clone(), body, damage: None, means: Some(reading) });
    }
}
