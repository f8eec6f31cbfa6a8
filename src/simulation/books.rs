//! The model server's books: what it writes into the [`Truth`](super::truth::Truth).

use super::api;
use super::frame::{Frame, Publish, Spanned};
use super::link::Note;
use super::model::Model;
use super::store::Put;
use super::truth::{Attempt, Effect, Reading, StoredCopy, Told};

impl Model {
    pub(super) fn say(&mut self, now: u64, conn: u64, frame: Vec<u8>, means: Option<Reading>) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.link.send_in_order(now, 0, frame, Note { means, ..Note::default() });
        }
    }

    pub(super) fn breach(&mut self, now: u64, conn: u64, what: &str) {
        self.truth.breaches.push(format!("at {now} ns on connection {conn}: {what}"));
    }

    /// No frame may be larger than every limit that the client was told on this connection.
    pub(super) fn check_told(&mut self, now: u64, conn: u64, size: usize) {
        let told = self.sessions.get(&conn).map_or(usize::MAX, |session| session.told_payload);
        if size > told {
            self.breach(now, conn, &format!("a message of {size} bytes although INFO allows {told}"));
        }
    }

    /// Writes down an attempt and gives its number. What asks for no reply is none.
    pub(super) fn attempt(&mut self, conn: u64, publish: &Publish, first: u64, end: u64, processed: Option<u64>, effect: Effect) -> Option<usize> {
        publish.reply.as_ref()?;
        let session = self.sessions.get_mut(&conn)?;
        let number = self.truth.attempts.len();
        session.unfenced.push(number);
        self.truth.attempts.push(Attempt {
            conn,
            subject: publish.subject.clone(),
            payload: publish.payload.clone(),
            msg_id: publish.msg_id().map(Into::into),
            first_byte: session.link.accepted_at(first),
            last_byte: session.link.accepted_at(end - 1),
            processed,
            effect,
            told: Told::Nothing,
            answered: None,
            said_by: None,
            words: Vec::new(),
            fenced: None,
        });
        Some(number)
    }

    pub(super) fn set_effect(&mut self, attempt: usize, effect: Effect) {
        if let Some(attempt) = self.truth.attempts.get_mut(attempt) {
            attempt.effect = effect;
        }
    }

    /// The attempt is not stored.
    pub(super) fn refuse(&mut self, attempt: usize, why: &str) {
        self.set_effect(attempt, Effect::NotStored(why.into()));
    }

    pub(super) fn set_said_by(&mut self, attempt: usize, stream: &str) {
        if let Some(attempt) = self.truth.attempts.get_mut(attempt) {
            attempt.said_by = Some(stream.into());
        }
    }

    pub(super) fn set_told(&mut self, attempt: usize, told: Told) {
        if let Some(attempt) = self.truth.attempts.get_mut(attempt) {
            attempt.told = told;
        }
    }

    pub(super) fn record_copy(&mut self, now: u64, conn: u64, stream: &str, publish: &Publish, put: &Put, abroad: bool) {
        let store = if abroad { &self.abroad } else { &self.store };
        let born = store.streams.get(stream).map_or(0, |stream| stream.created);
        if let Put::New(seq) = *put {
            let (subject, payload) = (publish.subject.clone(), publish.payload.clone());
            let msg_id = publish.msg_id().map(Into::into);
            self.truth.copies.push(StoredCopy { stream: stream.into(), seq, subject, payload, msg_id, at: now, conn, abroad, born });
        }
    }

    /// Writes down which streams there are, and their windows.
    pub(super) fn remember_streams(&mut self, now: u64) {
        for (name, lives) in &mut self.truth.lives {
            if let Some(life) = lives.last_mut().filter(|life| life.1 == u64::MAX && !self.store.streams.contains_key(name)) {
                life.1 = now;
            }
        }
        for stream in self.store.streams.values() {
            let name = &stream.spec.name;
            self.truth.streams.entry(name.clone()).or_insert_with(|| stream.spec.subjects.clone());
            let lives = self.truth.lives.entry(name.clone()).or_default();
            if lives.last().is_none_or(|life| life.1 < u64::MAX) {
                lives.push((stream.created, u64::MAX));
            }
            let windows = self.truth.windows.entry(name.clone()).or_default();
            if windows.last().is_none_or(|(_, window)| *window != stream.spec.duplicate_window) {
                windows.push((now, stream.spec.duplicate_window));
            }
        }
    }

    /// Writes down what the client had written to a connection that the server will not read any more.
    pub(super) fn bury(&mut self, conn: u64) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.link.dead = true;
        let rest = session.link.take_rest();
        session.parser.push(&rest);
        session.parser.push(&std::mem::take(&mut session.lost));
        while let Some(session) = self.sessions.get_mut(&conn) {
            // A breach among them was told when the server read it, or nobody ever saw it.
            let Ok(Some(Spanned { frame, first, end })) = session.parser.next(usize::MAX) else { return };
            if let Frame::Publish(publish) = frame
                && api::request(&publish.subject).is_none()
            {
                self.attempt(conn, &publish, first, end, None, Effect::Unread);
            }
        }
    }
}
