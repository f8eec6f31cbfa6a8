//! The model server, spoken to in raw bytes by a tiny client.

use super::link::Output;
use super::model::{Gone, Model};
use super::reply::{Damage, Refusal};
use super::script::{Alien, Answer, ConnPlan, Cut, Fate, Happening, MS, Phase, Script, Trouble};
use super::store::StreamSpec;
use super::truth::{Effect, Told};

const HELLO: &str = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1}\r\nSUB _INBOX.x.* 1\r\n";

/// A client that writes what it is told and remembers what it read.
struct Client {
    model: Model,
    conn: u64,
    now: u64,
    end: Option<Output>,
}

impl Client {
    fn new(script: Script) -> Self {
        let mut model = Model::new(script);
        model.add_stream(0, StreamSpec::new("S", &["s.>"]));
        Self { model, conn: 0, now: 0, end: None }
    }

    fn connected(script: Script) -> Self {
        let mut client = Self::new(script);
        client.reconnect();
        client
    }

    fn reconnect(&mut self) {
        self.model.disconnect(self.now, self.conn);
        self.conn += 1;
        self.end = None;
        self.model.connect(self.now, self.conn).unwrap();
        let info = (0..100).map(|_| self.run(MS)).find(|heard| !heard.is_empty()).expect("INFO");
        assert!(info.starts_with("INFO {") && info.ends_with("\r\n"), "{info}");
        self.write(HELLO);
    }

    /// Writes all, however long it takes.
    fn write(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.model.receive(self.now, self.conn, rest) {
                Ok(0) => self.now = self.model.next_event(self.now).expect("a full network must drain one day"),
                Ok(taken) => rest = &rest[taken..],
                Err(Gone) => return,
            }
        }
    }

    /// Reads what comes in this time.
    fn run(&mut self, time: u64) -> String {
        let (until, mut heard) = (self.now + time, String::new());
        loop {
            match self.model.output(self.now, self.conn, 4096) {
                Output::Bytes(bytes) => heard.push_str(&String::from_utf8_lossy(&bytes)),
                Output::Empty => match self.model.next_event(self.now).filter(|&at| at <= until) {
                    Some(at) => self.now = at,
                    None => break,
                },
                end => {
                    self.end = Some(end);
                    break;
                }
            }
        }
        self.now = self.now.max(until);
        heard
    }

    fn effects(&self) -> Vec<&Effect> {
        self.model.truth.attempts.iter().map(|attempt| &attempt.effect).collect()
    }

    fn payloads(&self) -> Vec<&str> {
        self.model.truth.copies.iter().map(|copy| std::str::from_utf8(&copy.payload).unwrap()).collect()
    }
}

fn hpub(subject: &str, token: &str, id: &str, payload: &str) -> String {
    let headers = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
    format!("HPUB {subject} _INBOX.x.{token} {} {}\r\n{headers}{payload}\r\n", headers.len(), headers.len() + payload.len())
}

fn script(change: impl FnOnce(&mut Script)) -> Script {
    let mut script = Script::calm();
    change(&mut script);
    script
}

fn fates(fates: &[Fate]) -> Script {
    script(|script| script.planned = fates.to_vec().into())
}

fn plan(change: impl FnOnce(&mut ConnPlan)) -> Script {
    let mut plan = ConnPlan::calm();
    change(&mut plan);
    script(|script| script.planned_connections = [plan].into())
}

fn phase(from: u64, to: u64, trouble: Trouble) -> Script {
    script(|script| script.phases = vec![Phase { from, to, trouble }])
}

#[test]
fn a_publish_is_stored_and_acknowledged_once_per_id() {
    let mut client = Client::connected(Script::calm());
    client.write(&hpub("s.a", "t1", "1", "hello"));
    client.write(&hpub("s.a", "t2", "1", "hello"));
    assert_eq!(
        client.run(MS),
        "MSG _INBOX.x.t1 1 22\r\n{\"stream\":\"S\",\"seq\":1}\r\nMSG _INBOX.x.t2 1 40\r\n{\"stream\":\"S\",\"seq\":1,\"duplicate\": true}\r\n"
    );
    assert_eq!(client.payloads(), ["hello"]);
    let first = &client.model.truth.attempts[0];
    assert_eq!((first.told, first.msg_id.as_deref(), &first.payload[..]), (Told::Ack, Some("1"), &b"hello"[..]));
    assert!(first.last_byte < first.processed.unwrap() && first.processed < first.answered && first.answered.unwrap() < client.now);
    assert!(client.model.truth.breaches.is_empty());
}

#[test]
fn bytes_may_come_in_any_pieces_in_both_directions() {
    let expected = Client::connected(Script::calm()).after(&hpub("s.a", "t1", "1", "hello"));
    for most in 1..8 {
        let heard = Client::connected(plan(|plan| plan.choppy = Some(most))).after(&hpub("s.a", "t1", "1", "hello"));
        assert_eq!(heard, expected);
    }
}

impl Client {
    fn after(mut self, text: &str) -> String {
        self.write(text);
        self.run(50 * MS)
    }
}

#[test]
fn errors_503_and_pongs_come_in_the_order_of_the_wire() {
    // X2.
    let mut client = Client::connected(phase(0, 100 * MS, Trouble::Denied { pattern: "s.no".into() }));
    for (subject, token) in [("s.no", "a"), ("none", "b"), ("s.no", "c")] {
        client.write(&hpub(subject, token, token, "x"));
    }
    client.write("PING\r\n");
    client.write(&hpub("s.no", "d", "d", "x"));
    client.write("PING\r\n");
    let denied = "-ERR 'Permissions Violation for Publish to \"s.no\"'\r\n";
    let unheard = "HMSG _INBOX.x.b 1 36 36\r\nNATS/1.0 503\r\nNats-Subject: none\r\n\r\n\r\n";
    assert_eq!(client.run(MS), format!("{denied}{unheard}{denied}PONG\r\n{denied}PONG\r\n"));
    let told: Vec<Told> = client.model.truth.attempts.iter().map(|attempt| attempt.told).collect();
    assert_eq!(told, [Told::Denied, Told::Refused, Told::Denied, Told::Denied]);
    client.run(100 * MS);
    client.write(&hpub("s.no", "e", "e", "allowed again"));
    assert!(client.run(MS).contains("\"seq\":1"));
}

#[test]
fn a_pong_tells_which_attempts_were_read_before_it() {
    let mut client = Client::connected(fates(&[Fate::LOST_ACK, Fate::LOST_ACK]));
    client.write(&format!("{}PING\r\n{}", hpub("s.a", "1", "1", "1"), hpub("s.a", "2", "2", "2")));
    assert_eq!(client.run(MS), "PONG\r\n");
    let fenced: Vec<bool> = client.model.truth.attempts.iter().map(|attempt| attempt.fenced.is_some()).collect();
    assert_eq!(fenced, [true, false]);
}

#[test]
fn acks_are_lost_late_doubled_and_reordered() {
    let mut client = Client::connected(fates(&[Fate::LOST_ACK, Fate::late(10 * MS), Fate { again: Some(20 * MS), ..Fate::NORMAL }, Fate::NORMAL]));
    for n in ["1", "2", "3", "4"] {
        client.write(&hpub("s.a", n, n, n));
    }
    let heard = client.run(50 * MS);
    let tokens: Vec<&str> = heard.lines().filter_map(|line| line.strip_prefix("MSG _INBOX.x.")).map(|rest| &rest[..1]).collect();
    assert_eq!((tokens, client.payloads()), (vec!["3", "4", "2", "3"], vec!["1", "2", "3", "4"]));
    assert_eq!(client.model.truth.attempts[0].answered, None);
}

#[test]
fn refusals_store_nothing_or_what_the_coin_says() {
    let all = [
        (Refusal::NoResponders, "503", Told::Refused),
        (Refusal::TooMany, "10167", Told::Refused),
        (Refusal::LimitReached, "maximum bytes exceeded", Told::Refused),
        (Refusal::StagedDuplicate, "\"seq\":0,\"duplicate\": true", Told::Unclear),
        (Refusal::InProcess, "10158", Told::Unclear),
        (Refusal::Insufficient, "10023", Told::Unclear),
        (Refusal::OddStoreFailure, "10077", Told::Unclear),
        (Refusal::Unknown4xx, "19999", Told::Unclear),
    ];
    for (refusal, text, told) in all {
        for coin in [false, true] {
            let mut client = Client::connected(fates(&[Fate::refused(refusal, coin)]));
            client.write(&hpub("s.a", "1", "1", "m"));
            let heard = client.run(MS);
            assert!(heard.contains(text), "{refusal:?}: {heard}");
            assert_eq!((client.payloads().len(), client.model.truth.attempts[0].told), (usize::from(coin && refusal.may_have_stored()), told), "{refusal:?}");
            client.write(&hpub("s.a", "2", "1", "m"));
            assert!(client.run(MS).contains("\"seq\":1"), "the next attempt is heard");
            assert_eq!(client.payloads(), ["m"]);
        }
    }
}

#[test]
fn damaged_and_alien_replies_tell_nothing() {
    let alien = |alien| Fate { alien: Some(alien), ..Fate::NORMAL };
    let mut client = Client::connected(fates(&[Fate::damaged(Damage::NoStream), Fate::SWALLOWED, alien(Alien::UnknownToken), alien(Alien::Status)]));
    for n in ["1", "2", "3", "4"] {
        client.write(&hpub("s.a", n, n, n));
    }
    let heard = client.run(MS);
    assert!(heard.contains("{\"stream\":\"\",\"seq\":1}") && heard.contains("NATS/1.0 100") && !heard.contains("_INBOX.x.2"), "{heard}");
    let answered: Vec<bool> = client.model.truth.attempts.iter().map(|attempt| attempt.answered.is_some()).collect();
    assert_eq!((answered, client.payloads()), (vec![false, false, true, true], vec!["1", "3", "4"]));
}

#[test]
fn a_stream_without_leader_gives_503_or_silence() {
    let leaderless = Trouble::Leaderless { stream: "S".into() };
    let mut client = Client::connected(phase(0, 100 * MS, leaderless.clone()));
    client.write(&hpub("s.a", "1", "1", "m"));
    assert!(client.run(MS).contains(" 503"));
    client.run(100 * MS);
    client.write(&hpub("s.a", "2", "1", "m"));
    assert!(client.run(MS).contains("\"seq\":1"));

    let mut script = phase(0, 100 * MS, leaderless);
    script.phases.push(Phase { from: 0, to: 100 * MS, trouble: Trouble::CoreSubscriber { pattern: "s.>".into() } });
    let mut client = Client::connected(script);
    client.write(&hpub("s.a", "1", "1", "m"));
    assert_eq!((client.run(MS).as_str(), client.model.truth.attempts[0].told), ("", Told::Nothing));
}

#[test]
fn slow_replicas_commit_in_order_or_lose_all_that_was_proposed() {
    for dropped in [false, true] {
        let mut client = Client::connected(phase(0, 100 * MS, Trouble::SlowCommit { stream: "S".into(), dropped }));
        client.write(&format!("{}{}{}", hpub("s.a", "1", "1", "1"), hpub("s.a", "2", "2", "2"), hpub("s.a", "3", "1", "1")));
        let heard = client.run(50 * MS);
        assert!(heard.starts_with("MSG _INBOX.x.3 ") && heard.contains("10158"), "{heard}");
        assert!(!client.model.is_settled());
        let heard = client.run(100 * MS);
        assert!(client.model.is_settled());
        if dropped {
            assert_eq!((heard.as_str(), client.payloads().len()), ("", 0));
            assert!(client.effects().iter().all(|effect| matches!(effect, Effect::NotStored(_))));
        } else {
            assert!(heard.starts_with("MSG _INBOX.x.1 "));
            assert_eq!(client.payloads(), ["1", "2"]);
        }
    }
}

#[test]
fn a_cut_at_any_byte_stores_whole_frames_only() {
    let frames = [hpub("s.a", "1", "1", "one"), hpub("s.a", "2", "2", "two"), hpub("s.a", "3", "3", "three")];
    let text = frames.concat();
    for at in 0..=text.len() {
        let mut client = Client::connected(plan(|plan| plan.cut = Some(Cut::AtByte((HELLO.len() + at) as u64))));
        client.write(&text);
        client.run(MS);
        let whole = (0..=3).rev().find(|&n| frames[..n].concat().len() <= at).unwrap();
        assert_eq!(client.payloads(), &["one", "two", "three"][..whole], "cut at {at}");
        assert_eq!(client.end, Some(Output::End));
        let unread = client.effects().iter().filter(|effect| ***effect == Effect::Unread).count();
        assert_eq!(unread, 3 - whole, "what the server did not read is known as an attempt");
        client.reconnect();
        client.write(&text);
        client.run(MS);
        assert_eq!(client.payloads(), ["one", "two", "three"]);
        assert!(client.model.truth.breaches.is_empty());
    }
}

#[test]
fn a_cut_before_or_after_the_store() {
    for (cut, stored) in [(Cut::BeforePublish(2), 1), (Cut::AfterPublish(2), 2)] {
        let mut client = Client::connected(plan(|plan| plan.cut = Some(cut)));
        for n in ["1", "2", "3"] {
            client.write(&hpub("s.a", n, n, n));
        }
        let heard = client.run(MS);
        assert!(!heard.contains("_INBOX.x.2"), "{heard}");
        assert_eq!((client.payloads().len(), client.end.as_ref()), (stored, Some(&Output::End)));
        assert_eq!(client.model.receive(client.now, client.conn, b"PING\r\n"), Err(Gone));
    }
}

#[test]
fn a_hard_cut_tears_the_last_frame_or_loses_all() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let mut script = plan(|plan| (plan.cut, plan.clean_end, plan.latency_down) = (Some(Cut::BeforePublish(2)), false, 10 * MS));
        script.rng = super::rng::Rng::new(seed);
        let mut client = Client::connected(script);
        // The connection's INFO needs 10 ms.
        client.write(&hpub("s.a", "1", "1", "m"));
        client.run(5 * MS);
        client.write(&hpub("s.a", "2", "2", "m2"));
        let heard = client.run(50 * MS);
        assert_eq!(client.end, Some(Output::Reset));
        assert_eq!(client.model.truth.attempts[0].answered, None);
        seen.insert(heard.len());
    }
    assert!(seen.len() > 5 && seen.contains(&0), "{seen:?}");
}

#[test]
fn a_late_ack_finds_the_inbox_on_the_next_connection() {
    let mut client = Client::connected(fates(&[Fate::late(20 * MS)]));
    client.write(&hpub("s.a", "1", "1", "m"));
    client.run(MS);
    client.reconnect();
    assert!(client.run(50 * MS).starts_with("MSG _INBOX.x.1 1 22\r\n"));
}

#[test]
fn a_payload_too_large_closes_after_all_earlier_replies() {
    // X5, and a limit that was never told.
    let mut client = Client::connected(plan(|plan| plan.secret_payload = Some(200)));
    client.write(&format!("{}{}{}", hpub("s.a", "1", "1", "m"), hpub("s.a", "2", "2", &"x".repeat(200)), hpub("s.a", "3", "3", "behind")));
    client.run(0);
    let heard = client.run(MS);
    assert!(heard.ends_with("-ERR 'Maximum Payload Violation'\r\n"), "{heard}");
    assert_eq!(client.end, Some(Output::End));
    let [Effect::Stored { .. }, Effect::NotStored(why), Effect::Unread] = client.effects()[..] else { panic!("{:?}", client.effects()) };
    assert!(why.contains("max_payload") && client.model.truth.attempts[1].payload.len() == 200);
    assert!(client.model.truth.breaches.is_empty(), "the client could not know");

    let mut client = Client::connected(plan(|plan| plan.max_payload = 200));
    client.write(&hpub("s.a", "2", "2", &"x".repeat(200)));
    client.run(MS);
    assert!(client.model.truth.breaches[0].contains("although INFO allows 200"));
}

#[test]
fn a_deaf_connection_swallows_everything_in_silence() {
    let mut client = Client::connected(plan(|plan| plan.deaf_after = Some(10 * MS)));
    client.write(&hpub("s.a", "1", "1", "m"));
    assert!(client.run(10 * MS).contains("\"seq\":1"));
    client.write(&hpub("s.a", "2", "2", "lost"));
    client.write("PING\r\n");
    assert_eq!((client.run(60_000 * MS).as_str(), &client.end), ("", &None));
    client.reconnect();
    assert_eq!(client.payloads(), ["m"]);
    assert_eq!(client.effects()[1], &Effect::Unread);
}

#[test]
fn the_network_holds_so_much_and_no_more() {
    let mut script = plan(|plan| plan.capacity = 100);
    script.phases = vec![Phase { from: 10 * MS, to: 50 * MS, trouble: Trouble::Stopped }];
    let mut client = Client::connected(script);
    client.run(12 * MS);
    let text = hpub("s.a", "1", "1", &"x".repeat(300));
    assert_eq!(client.model.receive(client.now, client.conn, text.as_bytes()), Ok(100));
    assert_eq!(client.model.receive(client.now, client.conn, &text.as_bytes()[100..]), Ok(0));
    assert_eq!(client.model.next_event(client.now), Some(50 * MS), "room comes when the server runs again");
    client.write(&text[100..]);
    assert!(client.now >= 50 * MS && client.run(MS).contains("\"seq\":1"));
}

#[test]
fn what_a_client_left_behind_may_still_be_read() {
    for (share, stored) in [(1000, 2), (600, 1), (0, 0)] {
        let mut client = Client::connected(plan(|plan| plan.zombie = (share, 100 * MS)));
        client.run(MS);
        client.write(&format!("{}{}", hpub("s.a", "1", "1", "m1"), hpub("s.a", "2", "2", "m2")));
        client.model.disconnect(client.now, client.conn);
        assert_eq!((client.model.is_settled(), client.payloads().len()), (share == 0, 0));
        client.model.tick(200 * MS);
        assert!(client.model.is_settled());
        assert_eq!((client.payloads().len(), client.effects().len()), (stored, 2));
    }
}

#[test]
fn a_slow_pong_holds_back_only_what_keeps_its_order() {
    let mut script = plan(|plan| plan.slow_pong = Some((500 * MS, 1000)));
    script.heal_at = u64::MAX;
    let mut client = Client::connected(script);
    client.write(&format!("PING\r\n{}", hpub("s.a", "1", "1", "m")));
    assert!(client.run(100 * MS).starts_with("MSG "));
    assert_eq!(client.run(500 * MS), "PONG\r\n");
}

#[test]
fn the_server_pings_tells_limits_and_leaves() {
    let mut script = plan(|plan| plan.ping_every = Some(100 * MS));
    script.heal_at = u64::MAX;
    script.happenings = [(250 * MS, Happening::Info { max_payload: 77 }), (300 * MS, Happening::LameDuck { grace: 50 * MS })].into();
    let mut client = Client::connected(script);
    assert_eq!(client.run(200 * MS), "PING\r\n", "one at a time");
    client.write("PONG\r\n");
    let heard = client.run(MS * 200);
    assert!(heard.contains("\"max_payload\":77") && heard.contains("\"ldm\":true"), "{heard}");
    assert_eq!((&client.end, client.model.truth.breaches.len()), (&Some(Output::End), 0));
}

#[test]
fn a_refused_connection_a_mute_one_and_a_denied_inbox() {
    let mut client = Client::new(phase(0, 10 * MS, Trouble::Refusing));
    assert_eq!((client.model.connect(0, 1), client.model.connect(10 * MS, 2)), (Err(Gone), Ok(())));

    let mut client = Client::new(plan(|plan| plan.mute = true));
    client.model.connect(0, 1).unwrap();
    client.conn = 1;
    assert_eq!(client.run(1000 * MS), "");

    let mut client = Client::connected(plan(|plan| plan.deny_inbox = true));
    client.write(&hpub("s.a", "1", "1", "m"));
    assert_eq!(client.run(MS), "-ERR 'Permissions Violation for Subscription to \"_INBOX.x.*\"'\r\n");
}

#[test]
fn the_api_answers_is_silent_or_unavailable() {
    let ask = "PUB $JS.API.STREAM.NAMES _INBOX.x.api 17\r\n{\"subject\":\"s.a\"}\r\n";
    for (trouble, expected) in [(None, "\"streams\":[\"S\"]"), (Some(Trouble::ApiSilent), ""), (Some(Trouble::ApiUnavailable), "NATS/1.0 503")] {
        let script = trouble.map_or_else(Script::calm, |trouble| phase(0, 100 * MS, trouble));
        let mut client = Client::connected(script);
        client.write(ask);
        let heard = client.run(10 * MS);
        assert!(heard.contains(expected) && heard.is_empty() == expected.is_empty(), "{heard}");
        assert_eq!((client.model.truth.questions.len(), client.model.truth.attempts.len()), (1, 0));
    }
}

#[test]
fn ephemeral_messages_are_counted_and_not_answered() {
    let mut client = Client::connected(Script::calm());
    client.write("PUB news 2\r\nhi\r\n");
    assert_eq!(client.run(MS), "");
    assert_eq!((client.model.truth.ephemeral.len(), client.model.truth.attempts.len()), (1, 0));
}

#[test]
fn breaches_of_the_session_are_seen() {
    for (bad, word) in [
        ("CONNECT {}\r\n", "twice"),
        ("PONG\r\n", "PONG without PING"),
        ("PUB s.a _INBOX.y.1 1\r\nx\r\n", "does not listen"),
        ("PUB s.* _INBOX.x.1 1\r\nx\r\n", "not a subject"),
        ("UB s.a 1\r\nx\r\n", "torn frame"),
    ] {
        let mut client = Client::connected(Script::calm());
        client.write(bad);
        client.run(MS);
        assert!(client.model.truth.breaches.first().is_some_and(|breach| breach.contains(word)), "{bad:?}: {:?}", client.model.truth.breaches);
    }
    for (hello, word) in [("PING\r\n", "before CONNECT"), ("CONNECT {\"verbose\":true,\"headers\":true}\r\n", "must say verbose")] {
        let mut client = Client::new(Script::calm());
        client.model.connect(0, 1).unwrap();
        client.conn = 1;
        client.run(MS);
        client.write(hello);
        client.run(MS);
        assert!(client.model.truth.breaches[0].contains(word), "{:?}", client.model.truth.breaches);
    }
    let mut client = Client::new(Script::calm());
    client.model.connect(0, 1).unwrap();
    client.conn = 1;
    client.write(HELLO);
    client.run(MS);
    assert!(client.model.truth.breaches[0].contains("before INFO"));
}

#[test]
fn an_answer_by_refusal_is_what_the_fate_says_even_when_stored() {
    let fate = Fate::refused(Refusal::Insufficient, true);
    assert_eq!((fate.store, fate.answer), (true, Answer::Refusal(Refusal::Insufficient)));
    assert!(!Fate::refused(Refusal::NoResponders, true).store, "no coin where the refusal is a proof");
}
