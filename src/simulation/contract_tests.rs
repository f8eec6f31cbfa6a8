//! The checker's rooms of the contract, fed with runs that are right and with each kind that is wrong: whose word counts, absence, windows that change, in_flight,
//! and what may overtake what.

use super::book::{RuleBook, Saying};
use super::check::check;
use super::check_tests::{Run, S};
use super::truth::{Asking, Effect, Says, StoredCopy, Told, Word};
use crate::base::error::Persistence::{NotPersisted, Persisted, PossiblyPersisted};

/// A message that its stream stored, without an acknowledgement, and that somebody else refused.
fn refused_by(stream: Option<&str>, named: Option<&str>) -> Run {
    let mut run = Run::good();
    run.history.rules = RuleBook::of(named);
    run.accept(4);
    run.attempt(4, 1, 10 * S).words.push(word(Told::Refused, stream, 11 * S));
    run.store(4, 10 * S);
    run.report(4, 12 * S, NotPersisted);
    run
}

fn word(told: Told, stream: Option<&str>, read: u64) -> Word {
    Word { told, stream: stream.map(Into::into), domain: None, read: Some(read) }
}

#[test]
fn a_refusal_of_another_stream_is_no_proof() {
    const STORED: &str = "P2: reported NOT_PERSISTED, but a stream holds it";
    refused_by(Some("LEAF"), Some("S")).fails(STORED);
    refused_by(None, Some("S")).fails(STORED);
    // The rule has seen acknowledgements of S alone: another's refusal proves nothing.
    refused_by(Some("LEAF"), None).fails(STORED);
    refused_by(None, None).fails(STORED);
    // It had seen none: then nobody can know.
    let mut run = refused_by(Some("LEAF"), None);
    run.history.accepted.drain(..3);
    run.history.reports.drain(..3);
    run.truth.attempts.drain(..3);
    run.truth.copies.drain(..3);
    run.passes();
    run.truth.attempts[0].words[0].read = Some(13 * S);
    run.fails(STORED);
    run.truth.attempts[0].words[0].read = None;
    run.fails(STORED);
}

#[test]
fn a_copy_counts_where_the_rule_says() {
    let mut run = refused_by(Some("S"), Some("S"));
    run.truth.copies[3].abroad = true;
    run.fails("P2: reported NOT_PERSISTED");
    run.limits.domain = Some("hub".into());
    run.passes();
    run.truth.copies[3].stream = "LEAF".into();
    run.limits.domain = None;
    run.passes();
}

#[test]
fn an_ack_of_another_stream_or_domain_is_none() {
    let mut run = Run::good();
    run.truth.attempts[1].answered = None;
    run.truth.attempts[1].words.push(word(Told::Ack, Some("LEAF"), 2 * S + 2));
    run.fails("P2: reported PERSISTED before any ack");
    run.truth.attempts[1].words[0].stream = Some("S".into());
    run.passes();
    run.truth.attempts[1].words[0].domain = Some("leaf".into());
    run.passes();
    run.limits.domain = Some("hub".into());
    run.fails("P2: reported PERSISTED before any ack");
    run.truth.attempts[1].words[0].domain = Some("hub".into());
    run.passes();
    run.history.reports[1].stream = "LEAF".into();
    run.fails("by a stream that its rule does not name");
    run.history.rules = RuleBook::of(None);
    run.fails("another stream's");
}

/// A message that ended with NO_STREAM at 2 s: after a 503, and after the API said that there is none.
fn absent() -> Run {
    let mut run = Run::one();
    let attempt = run.attempt(1, 1, S);
    (attempt.effect, attempt.told, attempt.answered, attempt.said_by) = (Effect::NotStored("503".into()), Told::Refused, Some(S + 1), None);
    run.ask("STREAM.NAMES", Says::Absent);
    run.report(1, 2 * S, NotPersisted);
    run.history.reports[0].text = "NO_STREAM no stream takes it".into();
    run
}

impl Run {
    fn ask(&mut self, words: &str, says: Says) {
        self.truth.questions.push(Asking { conn: 1, asked: S, words: words.into(), says, read: Some(S + 2) });
    }

    /// The rule's first message, acknowledged early.
    fn acked_before(mut self) -> Self {
        self.accept(2);
        self.attempt(2, 1, 1);
        self.store(2, 1);
        let last = self.truth.attempts.len() - 1;
        self.ack(last, 3);
        self.report(2, 3, Persisted);
        self.history.reports[1].seq = 1;
        self
    }
}

#[test]
fn absence_needs_a_word_and_a_try() {
    absent().passes();
    let mut run = absent();
    run.limits.waits_for_streams = true;
    run.fails("although on_no_stream=wait");
    let mut run = absent();
    run.truth.questions.clear();
    run.fails("nobody said that there is none");
    for says in [Says::Refuses, Says::Nothing, Says::Exists] {
        let mut run = absent();
        run.truth.questions[0].says = says;
        run.fails("nobody said that there is none");
    }
    let mut run = absent();
    run.truth.attempts.clear();
    run.fails("no message was tried");
    let mut run = absent();
    run.history.rules.0.get_mut(&0).unwrap()[0].create = true;
    run.fails("the rule creates its stream");
    run.ask("STREAM.CREATE.S", Says::Refuses);
    run.passes();
}

#[test]
fn whose_stream_acknowledged_before_is_told_to_be_gone_only_when_it_is() {
    let mut run = absent().acked_before();
    run.passes();
    run.truth.lives.insert("S".into(), vec![(0, u64::MAX)]);
    run.fails("although a stream takes the topic");
    absent_here(run.truth.lives.get_mut("S").unwrap());
    run.passes();
    // By a mapping to a stream that is there: only who acknowledged can be known.
    run.truth.mapped = vec![("s.a".into(), 0, vec!["t.a".into()])];
    run.truth.streams.insert("T".into(), vec!["t.>".into()]);
    run.truth.lives.insert("T".into(), vec![(0, u64::MAX)]);
    run.passes();
    run.truth.lives.insert("S".into(), vec![(0, u64::MAX)]);
    run.fails("although a stream takes the topic");
    // Nothing was acknowledged yet: the API's word and a try are enough.
    let mut run = absent();
    run.truth.lives.insert("S".into(), vec![(0, u64::MAX)]);
    run.passes();
}

fn absent_here(lives: &mut [(u64, u64)]) {
    lives[0].1 = S;
}

#[test]
fn ends_without_a_reason() {
    let mut run = absent();
    run.history.reports[0].text = "CREATE_FAILED no".into();
    run.fails("nobody refused to create");
    let mut run = absent();
    run.truth.attempts.clear();
    run.history.reports[0].text = "REJECTED JetStream not enabled".into();
    run.fails("none of its attempts was refused");
    let mut run = absent();
    run.history.reports[0].text = "ACK_TIMEOUT 4095 attempts were made".into();
    run.limits.max_attempts = 1000;
    run.fails("every attempt was refused");
    (run.truth.attempts[0].told, run.truth.attempts[0].answered) = (Told::Nothing, None);
    run.history.reports[0].persistence = PossiblyPersisted;
    run.fails("there was time and leave");
    let mut run = Run::one();
    run.report(1, 60 * S, NotPersisted);
    run.truth.lives.insert("S".into(), vec![(0, u64::MAX)]);
    run.passes();
    run.limits.healed_at = 50 * S;
    run.fails("nothing has been wrong for long");
}

#[test]
fn a_window_counts_from_when_it_can_be_known() {
    // In doubt on connection 1, sent again on connection 2 at 20 s; the window was 120 s, and is 10 s since then.
    let run = |changed: u64, opened: u64| {
        let mut run = Run::one();
        run.attempt(1, 1, 0);
        run.store(1, 1);
        run.attempt(1, 2, 20 * S);
        run.ack(1, 20 * S + 2);
        run.report(1, 20 * S + 3, Persisted);
        run.truth.windows.insert("S".into(), vec![(0, 120 * S), (changed, 10 * S)]);
        run.truth.opened = [(1, 0), (2, opened)].into();
        run
    };
    run(15 * S, 10 * S).passes();
    let late = run(5 * S, 10 * S);
    late.fails("P4: sent again too late");
    let mut deaf = run(5 * S, 10 * S);
    deaf.truth.questions.push(Asking { conn: 2, asked: 11 * S, words: "STREAM.INFO.S".into(), says: Says::Refuses, read: Some(12 * S) });
    deaf.passes();
    deaf.truth.questions[0].says = Says::Exists;
    deaf.fails("P4: sent again too late");
    // Nobody answers: a second is enough.
    (deaf.truth.questions[0].says, deaf.truth.questions[0].read) = (Says::Nothing, None);
    deaf.passes();
    deaf.truth.questions[0].asked = 19 * S + S / 2;
    deaf.fails("P4: sent again too late");
}

#[test]
fn two_copies_are_judged_by_the_window_that_held() {
    let mut run = Run::good();
    run.store(1, 50 * S);
    run.fails("P4: two copies");
    run.truth.windows.insert("S".into(), vec![(0, 120 * S), (10 * S, 5 * S)]);
    run.passes();
    run.truth.windows.clear();
    run.truth.copies.last_mut().unwrap().born = 40 * S;
    run.passes();
}

#[test]
fn questions_about_known_streams_are_few_at_a_time() {
    let mut run = Run::good();
    let ask = |conn, n| Asking { conn, asked: conn * 10 * S, words: format!("STREAM.INFO.S{n}"), says: Says::Exists, read: Some(conn * 10 * S + S / 2) };
    run.truth.questions.extend((0..17).map(|n| ask(1, n)));
    run.truth.questions.extend((0..16).map(|n| ask(2, n)));
    run.passes();
    run.truth.questions.push(ask(2, 16));
    run.fails("17 questions");
    run.truth.questions.last_mut().unwrap().asked += S / 2;
    run.passes();
}

#[test]
fn a_storm_lets_probes_pass_and_no_more() {
    let mut run = Run::one();
    run.truth.storms = vec![("S".into(), 0, 10 * S)];
    run.limits.max_attempts_total = 100_000;
    run.limits.max_attempts = 100_000;
    run.limits.ack_wait = 0;
    run.limits.probe_pauses = (S / 10, S / 10);
    let mut storm = |from: u64, to: u64| {
        for n in from..to {
            let attempt = run.attempt(1, 1, n * 1000);
            (attempt.effect, attempt.told, attempt.answered) = (Effect::NotStored("10023".into()), Told::Unclear, Some(n * 1000 + 1));
        }
        run.report(1, 60 * S, PossiblyPersisted);
        let told = check(&run.history, &run.truth, &run.limits);
        run.history.reports.clear();
        told
    };
    assert_eq!(storm(0, 202), Ok(()));
    assert!(storm(202, 203).unwrap_err().contains("storm: S refused 203 attempts of 1 messages"));
}

/// Messages of one rule, given to the wire at these times; each is acknowledged a second later.
fn sendings(times: &[u64]) -> Run {
    let mut run = Run::one();
    (run.history.accepted, run.limits.max_pending) = (Vec::new(), 100);
    for (n, &at) in times.iter().enumerate() {
        let id = n as u64 + 1;
        run.accept(id);
        run.attempt(id, 1, at);
        run.store(id, at);
        run.ack(n, at + S);
        run.report(id, at + S, Persisted);
        run.history.stagings.insert(id, vec![at]);
    }
    run.limits.max_attempts_total = 100;
    run
}

#[test]
fn in_flight_is_counted_per_rule_and_follows_its_changes() {
    let limit = |at, in_flight| Saying { at, stream: Some("S".into()), in_flight, ..Saying::default() };
    let with = |times: &[u64], sayings: Vec<Saying>| {
        let mut run = sendings(times);
        run.history.rules = RuleBook([(0, sayings)].into());
        run
    };
    let (two, second) = ([S, S + 1, 3 * S, 3 * S + 1], Some(2));
    with(&two, vec![limit(0, second)]).passes();
    with(&two, vec![limit(0, Some(1))]).fails("as number 2 of its rule that is not answered, in_flight is 1");
    with(&two, vec![limit(0, second), limit(2 * S, Some(1))]).fails("sent at 3.000000 s as number 2");
    with(&two, vec![limit(0, Some(1)), limit(S, None)]).passes();
    // The wire had it when the limit came.
    let mut run = with(&two[..2], vec![limit(0, None), limit(S + 1, Some(1))]);
    run.fails("in_flight is 1");
    run.history.rules.0.get_mut(&0).unwrap()[1].under_way.insert(2);
    run.passes();
    // One that was refused gives its place up, one that is silent keeps it.
    let mut run = with(&[S, 3 * S], vec![limit(0, Some(1))]);
    run.history.reports[0].at = 10 * S;
    run.truth.attempts[0].answered = Some(10 * S);
    run.fails("as number 2");
    // Another rule's messages do not count.
    run.history.accepted[1].rule = 1;
    run.passes();
}

#[test]
fn nothing_new_passes_what_was_refused_or_is_silent() {
    // Message 1 is sent at 1 s and answered at 10 s, message 2 sent at 8 s.
    let run = |told: Told, fenced: Option<u64>, again: Option<u64>| {
        let mut run = sendings(&[S, 8 * S]);
        run.limits.max_attempts = 1_000;
        let first = &mut run.truth.attempts[0];
        (first.told, first.answered, first.fenced, first.effect) = (told, (told != Told::Nothing).then_some(2 * S), fenced, Effect::NotStored("no".into()));
        run.attempt(1, 2, 9 * S + S / 2);
        run.ack(2, 10 * S);
        run.history.stagings.get_mut(&1).unwrap().extend(again);
        run.history.reports[0].at = 10 * S;
        run.truth.copies.swap(0, 1);
        (run.truth.copies[0].at, run.truth.copies[1].at) = (8 * S, 9 * S + S / 2);
        run
    };
    run(Told::Refused, None, Some(9 * S)).fails("P10: it was refused and is not settled");
    run(Told::Unclear, None, Some(9 * S)).fails("P10: it was refused and is not settled");
    // ack_wait is 5 s: noticed at 6 s.
    run(Told::Nothing, Some(7 * S), Some(9 * S)).fails("P10: it was silent");
    run(Told::Nothing, Some(7 * S), Some(7 * S + 1)).passes();
    run(Told::Nothing, Some(8 * S), Some(9 * S)).passes();
    run(Told::Nothing, None, Some(9 * S)).passes();
    // Nobody can know that they go to one stream.
    let mut unknown = run(Told::Refused, None, Some(9 * S));
    unknown.history.rules = RuleBook::of(None);
    unknown.passes();
}

#[test]
fn order_is_excused_by_trouble_of_its_own_alone() {
    let mut run = sendings(&[S, S + 1]);
    run.truth.copies.swap(0, 1);
    run.fails("P10: stored behind message 2");
    // Another message was refused: that excuses nothing.
    run.accept(3);
    run.attempt(3, 1, 0).effect = Effect::NotStored("503".into());
    run.report(3, S, PossiblyPersisted);
    run.fails("P10: stored behind message 2");
    // This one was.
    run.truth.attempts[0].effect = Effect::NotStored("503".into());
    run.passes();
    run.history.rules.0.get_mut(&0).unwrap()[0].in_flight = Some(1);
    run.fails("P10: stored behind message 2");
    let foreign = StoredCopy { abroad: true, ..run.truth.copies[0].clone() };
    run.truth.copies = vec![foreign, run.truth.copies[1].clone()];
    assert!(!check(&run.history, &run.truth, &run.limits).unwrap_err().contains("stored behind"));
}
