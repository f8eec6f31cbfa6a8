//! The checker, fed with histories that are right, and with each kind that is wrong.

use super::book::RuleBook;
use super::check::check;
use super::history::{History, Limits, Message, Report};
use super::truth::{Attempt, Effect, Ephemeral, StoredCopy, Told, Truth};
use crate::base::error::Persistence::{self, NotPersisted, Persisted, PossiblyPersisted};

pub(super) const S: u64 = 1_000_000_000;

/// A run, ready to be spoiled.
pub(super) struct Run {
    pub(super) history: History,
    pub(super) truth: Truth,
    pub(super) limits: Limits,
}

impl Run {
    /// Three messages of one thread, each stored at its first attempt and reported.
    pub(super) fn good() -> Self {
        let limits = Limits {
            max_pending: 10,
            max_pending_bytes: 1000,
            ack_wait: 5 * S,
            delivery_timeout: 60 * S,
            duplicate_window: 120 * S,
            resend_without_msg_id: false,
            slack: S / 10,
            outbox: 0,
            client_pauses: Vec::new(),
            suspends: Vec::new(),
            max_attempts: 5,
            max_attempts_total: 8,
            waits_for_streams: false,
            domain: None,
            probe_pauses: (S / 100, S),
            healed_at: 1000 * S,
        };
        let mut run =
            Self { history: History { pending: 3, pending_bytes: 30, rules: RuleBook::of(Some("S")), ..Default::default() }, truth: Truth::default(), limits };
        run.truth.streams.insert("S".into(), vec!["s.>".into()]);
        for id in 1..=3 {
            run.accept(id);
            run.attempt(id, 1, id * S);
            run.store(id, id * S);
            run.ack(id as usize - 1, id * S + 2);
            run.report(id, id * S + 3, Persisted);
        }
        run
    }

    /// One message, accepted and no more.
    pub(super) fn one() -> Self {
        let mut run = Self::good();
        (run.history.accepted, run.history.reports) = Default::default();
        (run.truth.attempts, run.truth.copies) = Default::default();
        run.accept(1);
        run
    }

    pub(super) fn accept(&mut self, id: u64) {
        let payload = format!("payload {id}").into_bytes();
        self.history.accepted.push(Message { id, thread: 0, rule: 0, topic: "s.a".into(), payload, msg_id: None, accepted_at: 0, delivery_timeout: None });
    }

    pub(super) fn attempt(&mut self, id: u64, conn: u64, at: u64) -> &mut Attempt {
        self.truth.attempts.push(Attempt {
            conn,
            subject: "s.a".into(),
            payload: format!("payload {id}").into_bytes(),
            msg_id: Some(format!("id{id}")),
            first_byte: at,
            last_byte: at,
            processed: Some(at + 1),
            effect: Effect::Stored { stream: "S".into(), seq: id },
            told: Told::Nothing,
            answered: None,
            said_by: Some("S".into()),
            words: Vec::new(),
            fenced: None,
        });
        self.truth.attempts.last_mut().unwrap()
    }

    pub(super) fn store(&mut self, id: u64, at: u64) {
        let payload = format!("payload {id}").into_bytes();
        let (seq, msg_id) = (self.truth.copies.len() as u64 + 1, Some(format!("id{id}")));
        self.truth.copies.push(StoredCopy { stream: "S".into(), seq, subject: "s.a".into(), payload, msg_id, at, conn: 1, abroad: false, born: 0 });
    }

    pub(super) fn ack(&mut self, attempt: usize, at: u64) {
        (self.truth.attempts[attempt].told, self.truth.attempts[attempt].answered) = (Told::Ack, Some(at));
    }

    pub(super) fn report(&mut self, id: u64, at: u64, persistence: Persistence) {
        let seq = if persistence == Persisted { id } else { 0 };
        self.history.reports.push(Report { id, at, persistence, seq, stream: String::new(), duplicate: false, staged: false, text: "OK".into() });
    }

    pub(super) fn passes(&self) {
        check(&self.history, &self.truth, &self.limits).unwrap();
    }

    /// Fails with these words, and tells the message's story where there is one.
    #[track_caller]
    pub(super) fn fails(&self, words: &str) {
        let story = check(&self.history, &self.truth, &self.limits).expect_err(words);
        assert!(story.contains(words), "{story}");
    }
}

#[test]
fn a_good_run_passes() {
    Run::good().passes();
}

#[test]
fn p1_no_report_two_reports_a_stray_one_or_a_late_one() {
    let mut run = Run::good();
    let report = run.history.reports.remove(1);
    run.fails("P1: 0 reports");
    run.history.reports.extend([report.clone(), report.clone()]);
    run.fails("P1: 2 reports");
    let mut run = Run::good();
    run.history.reports.push(Report { id: 9, ..report });
    run.fails("P1: a report for id 9");
    let mut run = Run::good();
    run.history.reports[2].at = 61 * S;
    run.fails("P1: reported later");
    run.limits.client_pauses = vec![(59 * S, 2 * S)];
    run.passes();
}

#[test]
fn p2_reports_that_are_not_true() {
    let mut run = Run::good();
    run.truth.copies.remove(1);
    run.fails("P2: reported PERSISTED, but no stream holds it");
    let mut run = Run::good();
    run.history.reports[1].seq = 3;
    run.fails("P2: reported with another message's sequence");
    let mut run = Run::good();
    run.history.reports[1].duplicate = true;
    run.fails("P2: flagged as a duplicate");
    let mut run = Run::good();
    run.truth.attempts[1].answered = None;
    run.fails("P2: reported PERSISTED before any ack");
    let mut run = Run::good();
    run.history.reports[1].persistence = NotPersisted;
    run.fails("P2: reported NOT_PERSISTED, but a stream holds it");
    let mut run = Run::good();
    (run.history.reports[1].persistence, run.history.reports[1].at) = (PossiblyPersisted, 10 * S);
    run.fails("P2: its ack was read long before");
    let mut run = Run::one();
    run.report(1, S, PossiblyPersisted);
    run.fails("P2: reported POSSIBLY_PERSISTED, but it never left");
}

#[test]
fn p2_what_is_true_passes() {
    let mut run = Run::one();
    run.report(1, S, NotPersisted);
    run.passes();
    run.attempt(1, 1, 0).effect = Effect::Unread;
    run.passes();
    run.history.reports[0].persistence = PossiblyPersisted;
    run.passes();
}

#[test]
fn p2_stored_things_that_nobody_published() {
    let mut run = Run::good();
    run.store(8, 9 * S);
    run.fails("holds what was never accepted");
    let mut run = Run::good();
    run.truth.copies[0].subject = "s.b".into();
    run.fails("P2: stored under s.b");
    let mut run = Run::good();
    run.history.accepted[0].msg_id = Some("mine".into());
    run.fails("P2: stored with the id");
    let mut run = Run::good();
    let ephemeral = Ephemeral { subject: "news".into(), payload: b"n".to_vec(), at: 1, conn: 1 };
    run.truth.ephemeral = vec![ephemeral.clone()];
    run.passes();
    run.truth.ephemeral.push(ephemeral);
    run.fails("sent twice");
}

#[test]
fn p3_too_much_pending() {
    let mut run = Run::good();
    run.history.pending = 11;
    run.fails("P3: 11 messages pending");
    let mut run = Run::good();
    run.history.pending_bytes = 1001;
    run.fails("P3: 1001 bytes");
}

#[test]
fn p4_two_copies_or_shared_ids() {
    let mut run = Run::good();
    run.store(1, 50 * S);
    run.fails("P4: two copies");
    run.truth.copies.last_mut().unwrap().at = 122 * S;
    // What the network delays beyond the window is nobody's fault.
    run.passes();
    let mut run = Run::good();
    run.truth.attempts[1].msg_id = Some("id1".into());
    run.fails("P4: two messages share the id id1");
}

/// A first attempt at 0 on connection 1, and a second one.
fn resent(first: impl FnOnce(&mut Attempt), conn: u64, at: u64) -> Run {
    let mut run = Run::one();
    first(run.attempt(1, 1, 0));
    run.store(1, 1);
    run.attempt(1, conn, at);
    run.ack(1, at + 2);
    run.report(1, at + 3, Persisted);
    run.limits.delivery_timeout = 1000 * S;
    run
}

#[test]
fn p4_resends_in_time_and_behind_a_fence() {
    resent(|_| (), 2, S).passes();
    resent(|_| (), 2, 115 * S).passes();
    resent(|_| (), 2, 116 * S).fails("P4: sent again too late");
    resent(|_| (), 1, 4 * S).fails("before ack_wait");
    resent(|_| (), 1, 6 * S).fails("before a PONG");
    resent(|a| a.fenced = Some(7 * S), 1, 6 * S).fails("before a PONG");
    resent(|a| a.fenced = Some(6 * S), 1, 6 * S).passes();
    resent(|a| (a.told, a.answered) = (Told::Unclear, Some(S)), 1, 2 * S).passes();
    resent(|a| (a.told, a.answered) = (Told::Unclear, Some(S)), 1, 116 * S).fails("P4: sent again too late");
    resent(|a| (a.told, a.answered) = (Told::Ack, Some(S)), 1, 2 * S).fails("although its ack had been read");
    resent(|a| a.msg_id = Some("other".into()), 2, S).fails("P4: sent again with another id");
    resent(|a| a.last_byte = 2 * S, 2, S).fails("still going out");
    let refused = |a: &mut Attempt| (a.effect, a.told, a.answered) = (Effect::NotStored("503".into()), Told::Refused, Some(S));
    resent(refused, 1, 500 * S).passes();
}

#[test]
fn p4_without_an_id_nothing_that_may_be_stored_is_sent_again() {
    let mut run = resent(|_| (), 2, S);
    run.truth.attempts.iter_mut().for_each(|attempt| attempt.msg_id = None);
    run.fails("P4: sent again without an id");
    run.limits.resend_without_msg_id = true;
    run.passes();
}

#[test]
fn p10_order_is_judged_where_nothing_was_refused() {
    let mut run = Run::good();
    run.truth.copies.swap(0, 1);
    run.fails("P10: stored behind message 2");
    run.history.accepted[0].thread = 1;
    run.passes();
}

#[test]
fn breaches_and_useless_frames() {
    let mut run = Run::good();
    run.truth.breaches.push("a torn frame".into());
    run.fails("a torn frame");
    let mut run = Run::good();
    run.limits.max_attempts_total = 2;
    run.fails("3 attempts for 3 messages");
    let mut run = resent(|_| (), 2, S);
    run.limits.max_attempts = 1;
    run.fails("2 attempts, 1 are enough");
}

#[test]
fn the_story_tells_everything_that_is_known() {
    let mut run = Run::good();
    run.truth.copies.remove(1);
    let story = check(&run.history, &run.truth, &run.limits).unwrap_err();
    for part in ["message 2 of thread 0 to s.a, 9 bytes", "0.000000 s accepted", "sent on connection 1", "told Ack", "reported Persisted, sequence 2"] {
        assert!(story.contains(part), "no {part:?} in {story}");
    }
}
