//! The in-memory backend: `servers=memory:`. Everything is stored at once, in this process, and forgotten with it.
//!
//! For users' unit tests, without a server; and the second wire, which keeps the first one's words out of the handler. It takes every topic into the stream
//! that its rule names, else into `MEMORY`, knows Msg-Ids of the last two minutes' worth of messages (a bounded number) and checks expectations. It refuses what
//! exceeds 1 MiB, as servers do by default.

pub(crate) mod entry;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use self::entry::Expected;
use crate::base::error::Status;
use crate::base::time::Nanos;
use crate::config::topic::Rules;
use crate::ledger::refusal::{Refusal, Retry};
use crate::ledger::slot::Slot;
use crate::wire::{Limits, Peer, Placed, Question, Receiver, StreamAnswer, Token, Verdict, Wire, attempt_in_token, codes};

/// What servers take by default.
pub(crate) const MAX_PAYLOAD: u64 = 1 << 20;
/// How many Msg-Ids a stream remembers (P9).
const MOST_IDS: usize = 100_000;
/// What is under way at a time.
const ROOM: usize = 1024;

#[derive(Debug, Default)]
struct Stream {
    seq: u64,
    last_id: String,
    by_topic: HashMap<String, u64>,
    ids: HashMap<String, u64>,
    order: VecDeque<String>,
}

/// One sent message.
#[derive(Debug)]
struct Sent {
    token: Token,
    /// `None`: ephemeral, so nobody answers.
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Answer {
    stream: Arc<str>,
    verdict: Result<(u64, bool), Refusal>,
}

/// Streams in memory.
#[derive(Debug)]
pub(crate) struct MemoryWire {
    rules: Arc<arc_swap::ArcSwap<Rules>>,
    streams: HashMap<Arc<str>, Stream>,
    sent: Vec<Sent>,
    answers: Vec<(u32, StreamAnswer)>,
    connected: bool,
    fences: u64,
}

impl MemoryWire {
    pub(crate) fn new(rules: Arc<arc_swap::ArcSwap<Rules>>) -> Self {
        MemoryWire { rules, streams: HashMap::new(), sent: Vec::new(), answers: Vec::new(), connected: false, fences: 0 }
    }

    /// Tells what became of everything sent. Returns whether there was anything.
    pub(crate) fn deliver(&mut self, receiver: &mut impl Receiver) -> bool {
        if !self.connected {
            self.connected = true;
            receiver.connected(1);
            receiver.online(Peer { name: "memory:", software: "streams in", version: "memory", domain: "", limits: Limits::of(MAX_PAYLOAD) });
            return true;
        }
        let any = !self.sent.is_empty() || !self.answers.is_empty();
        for Sent { token, answer } in self.sent.drain(..) {
            receiver.begun(token.slot, token.id, 1);
            match answer {
                Some(Answer { stream, verdict: Ok((seq, duplicate)) }) => {
                    receiver.verdict(token, Verdict::Stored { stream: &stream, domain: "", seq, duplicate })
                }
                Some(Answer { verdict: Err(refusal), .. }) => receiver.verdict(token, Verdict::Refused(refusal)),
                None => {}
            }
        }
        for (ask, answer) in std::mem::take(&mut self.answers) {
            receiver.answer(ask, answer);
        }
        any
    }

    /// The stream's shared name. It is made with its first message.
    fn stream(&mut self, name: &str) -> Arc<str> {
        if let Some((name, _)) = self.streams.get_key_value(name) {
            return Arc::clone(name);
        }
        let name: Arc<str> = name.into();
        self.streams.insert(Arc::clone(&name), Stream::default());
        name
    }

    fn store(&mut self, name: &Arc<str>, slot: &Slot) -> Result<(u64, bool), Refusal> {
        let stream = self.streams.entry(Arc::clone(name)).or_default();
        let expects = Expected::of(slot);
        let id = slot.content.msg_id();
        let wrong =
            |code, text: String| Err(Refusal { status: Status::WrongExpectation, definite: true, retry: Retry::No, server_code: code, stream: None, text });
        if let Some(expected) = expects.stream
            && expected != &**name
        {
            return wrong(codes::WRONG_STREAM, format!("expected stream {expected} does not match {name}"));
        }
        if let Some(&seq) = stream.ids.get(id) {
            return Ok((seq, true));
        }
        if let Some(expected) = expects.last_seq
            && expected != stream.seq
        {
            return wrong(codes::WRONG_LAST_SEQ, format!("wrong last sequence: {}", stream.seq));
        }
        let last = stream.by_topic.get(slot.topic()).copied().unwrap_or(0);
        if let Some(expected) = expects.last_topic_seq
            && expected != last
        {
            return wrong(codes::WRONG_LAST_SEQ, format!("wrong last sequence: {last}"));
        }
        if let Some(expected) = expects.last_id
            && expected != stream.last_id
        {
            return wrong(codes::WRONG_LAST_ID, format!("wrong last msg ID: {}", stream.last_id));
        }
        stream.seq += 1;
        id.clone_into(&mut stream.last_id);
        if let Some(last) = stream.by_topic.get_mut(slot.topic()) {
            *last = stream.seq;
        } else if expects.last_topic_seq.is_some() || stream.by_topic.len() < MOST_IDS {
            stream.by_topic.insert(slot.topic().to_owned(), stream.seq);
        }
        if !id.is_empty() {
            stream.remember(id);
        }
        Ok((stream.seq, false))
    }
}

impl Stream {
    /// The newest Msg-Id takes the memory of the oldest.
    fn remember(&mut self, id: &str) {
        let (mut key, mut place) = Default::default();
        if self.order.len() >= MOST_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            key = self.ids.remove_entry(&oldest).map(|(key, _)| key).unwrap_or_default();
            place = oldest;
        }
        id.clone_into(&mut key);
        id.clone_into(&mut place);
        self.ids.insert(key, self.seq);
        self.order.push_back(place);
    }
}

impl Wire for MemoryWire {
    const WATCHES_SILENCE: bool = false;

    #[inline]
    fn place(&mut self, _slot: &mut Slot) -> Placed {
        Placed::Here
    }

    fn is_ready(&self) -> bool {
        self.connected
    }

    fn has_room(&self) -> bool {
        self.sent.len() < ROOM
    }

    fn stage(&mut self, slot: &mut Slot) {
        slot.epoch = 1;
        slot.mark = self.fences;
        let token = Token { slot: slot.index, id: slot.id, attempt: attempt_in_token(slot.attempt) };
        let answer = (!slot.ephemeral).then(|| {
            let rules = self.rules.load();
            let stream = self.stream(rules.get(slot.rule).stream.as_deref().unwrap_or("MEMORY"));
            let verdict = self.store(&stream, slot);
            Answer { stream, verdict }
        });
        self.sent.push(Sent { token, answer });
    }

    fn fence(&mut self) {
        self.fences += 1;
    }

    fn part(&mut self) {
        self.fences += 1;
    }

    fn ask(&mut self, ask: u32, question: &Question) {
        let name = match question {
            Question::WhoTakes { .. } | Question::WhoTakesHere { .. } => "MEMORY".to_owned(),
            Question::Describe { stream, .. } | Question::Condition { stream } => stream.clone(),
            Question::Create { rule } => rule.stream.clone().unwrap_or_else(|| "MEMORY".to_owned()),
        };
        let duplicate_window = Some(std::time::Duration::from_secs(120));
        self.answers.push((ask, StreamAnswer::Exists { name, subjects: Vec::new(), duplicate_window, differences: Vec::new(), risks: Vec::new() }));
    }

    fn give_up(&mut self, _epoch: u32, _why: &str, _receiver: &mut impl Receiver) {
        // Nothing is ever stuck in here.
    }

    fn tick(&mut self, _now: Nanos, _in_flight: bool, _receiver: &mut impl Receiver) -> Nanos {
        if self.connected && self.sent.is_empty() && self.answers.is_empty() { Nanos::MAX } else { 0 }
    }
}
