//! What figures prove, and what is remembered.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::config::settings::MsgIdMode;
use crate::message::Message;
use crate::wire::nats::frame::Encoder;

fn account<'a>(errors: u64, open: u64, rest: (u64, u64), names: &[(&'a str, u64, u64)]) -> Account<'a> {
    Account { errors, open, given_up: rest.0, silent: rest.1, names: names.to_vec() }
}

#[test]
fn as_many_errors_as_frames_without_an_answer_prove_all() {
    assert_eq!(account(3, 3, (0, 0), &[]).proof(false), Proof::All);
    assert_eq!(account(3, 5, (0, 0), &[]).proof(false), Proof::After(2));
    assert_eq!(account(5, 3, (1, 1), &[]).proof(false), Proof::All, "what has no answer was denied with them");
    assert_eq!(account(3, 3, (0, 1), &[]).proof(true), Proof::After(1), "an ephemeral message may be the one");
    assert_eq!(account(3, 3, (1, 0), &[]).proof(true), Proof::After(1), "one that is settled may be the one");
    assert_eq!(account(4, 3, (0, 0), &[]).proof(true), Proof::After(u64::MAX), "more than there can be: nothing is known");
}

#[test]
fn a_name_proves_its_messages_if_no_others_can_be_meant() {
    assert_eq!(account(5, 9, (0, 0), &[("a", 5, 5)]).proof(false), Proof::Names(vec!["a"]), "four others cannot be five");
    assert_eq!(account(5, 10, (0, 0), &[("a", 5, 5)]).proof(false), Proof::After(1), "five others may be");
    assert_eq!(account(7, 11, (0, 0), &[("a", 5, 5)]).proof(false), Proof::Names(vec!["a"]), "two of the six have errors of their own");
    assert_eq!(account(5, 9, (0, 0), &[("a", 5, 6)]).proof(false), Proof::After(1));
    assert_eq!(account(5, 5, (0, 40), &[("a", 5, 5)]).proof(false), Proof::After(36));
    assert_eq!(account(5, 5, (0, 40), &[("a", 5, 5)]).proof(true), Proof::Names(vec!["a"]), "an ack would contradict by now");
    assert_eq!(account(5, 5, (5, 0), &[("a", 5, 5)]).proof(true), Proof::After(1));
    assert_eq!(account(8, 10, (0, 0), &[("a", 5, 5), ("b", 3, 3)]).proof(false), Proof::Names(vec!["a", "b"]));
    assert_eq!(account(7, 11, (0, 0), &[("a", 5, 5), ("b", 2, 2)]).proof(false), Proof::Names(vec!["a"]));
}

/// Worlds of a few topics, where mappings lead them here and there, some of which is denied. Whatever was answered and given up so far: what is proven is denied.
#[test]
fn nothing_is_proven_of_what_is_stored() {
    const TOPICS: [&str; 4] = ["a", "b", "c", "d"];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    let (mut all, mut some) = (0, 0);
    for _ in 0..200_000 {
        let leads_to = [(); 4].map(|()| draw(4) as usize);
        let denied = [(); 4].map(|()| draw(3) == 0);
        let mut errors = [0; 4];
        let (mut open, mut stored, mut account) = ([0; 4], [0; 4], Account::default());
        for _ in 0..draw(8) {
            let topic = draw(4) as usize;
            let (is_denied, fate) = (denied[leads_to[topic]], draw(6));
            errors[leads_to[topic]] += u64::from(is_denied);
            account.errors += u64::from(is_denied);
            match fate {
                0 => account.silent += 1,
                1 => account.given_up += 1,
                // It has its ack already.
                2 | 3 if !is_denied => {}
                _ => {
                    open[topic] += 1;
                    account.open += 1;
                    stored[topic] += u64::from(!is_denied);
                }
            }
        }
        account.names = (0..4).filter(|&n| errors[n] > 0 && open[n] > 0).map(|n| (TOPICS[n], errors[n], open[n])).collect();
        let is_true = |name: &str| stored[TOPICS.iter().position(|topic| *topic == name).unwrap()] == 0;
        match account.proof(false) {
            Proof::All if account.open > 0 => {
                assert_eq!(stored, [0; 4], "{account:?}");
                all += 1;
            }
            Proof::Names(names) => {
                assert!(names.iter().all(|name| is_true(name)), "{names:?}, {account:?}, {leads_to:?}, {denied:?}");
                some += 1;
            }
            _ => {}
        }
    }
    assert!(all > 1_000 && some > 1_000, "{all}, {some}");
}

fn slot(topic: &str, ephemeral: bool) -> Slot {
    let encoder = Encoder::new("_INBOX", MsgIdMode::Auto, &[7; 32]);
    let message = Message::new(topic, b"");
    let mut slot = Slot::new(0);
    slot.ephemeral = ephemeral;
    encoder.fill(&mut slot, &message, encoder.plan(&message, ephemeral).unwrap());
    slot
}

#[test]
fn a_denied_topic_is_tried_once_a_second() {
    let mut permissions = Permissions::default();
    assert!(permissions.are_quiet() && permissions.word_on("a", 0).is_none());
    permissions.learn("a", "b", "no", 3, 0);
    assert_eq!(permissions.name_of("a"), "b");
    assert!(matches!(permissions.word_on("a", PROBE - 1), Some(Word::Denied(text)) if text == "no"));
    assert!(matches!(permissions.word_on("a", PROBE), Some(Word::Try)));
    assert!(matches!(permissions.word_on("a", PROBE), Some(Word::Denied(_))));
    // It was not allowed again: only a part of it is denied. Now many errors say more than one.
    permissions.passed("a");
    permissions.learn("a", "b", "no", SURE - 1, PROBE);
    assert!(permissions.word_on("a", PROBE).is_none());
    permissions.learn("a", "b", "no", 1, PROBE);
    assert!(matches!(permissions.word_on("a", PROBE), Some(Word::Denied(_))));
    for _ in 0..FORGOTTEN {
        permissions.passed("a");
    }
    assert!(permissions.are_quiet());
    assert_eq!(permissions.name_of("a"), "a");
}

#[test]
fn topics_in_doubt_have_marks_of_their_own() {
    let mut permissions = Permissions::default();
    assert!(!permissions.watch());
    permissions.suspect("a");
    permissions.suspect("b");
    assert!(permissions.watch());
    let mut fences = |topic: &str, ephemeral| permissions.part(&slot(topic, ephemeral));
    assert!(!fences("c", false));
    assert!(fences("a", false), "before it");
    assert!(!fences("a", false), "the topic may have the mark with all that it sends");
    assert!(fences("c", false), "behind it");
    assert!(!fences("c", true) && !fences("a", true), "ephemeral messages have no answer to wait for");
    assert!(fences("a", false) && fences("b", false));
    assert!(permissions.end_run() && !permissions.end_run());
    permissions.passed("a");
    permissions.passed("b");
    assert!(!permissions.watch());
}

#[test]
fn a_topic_without_an_error_under_its_own_mark_is_in_doubt_no_more() {
    let mut permissions = Permissions::default();
    let staged = |permissions: &mut Permissions, topic: &str, mark: u64, ephemeral| {
        let mut slot = slot(topic, ephemeral);
        (slot.epoch, slot.mark) = (1, mark);
        permissions.part(&slot);
        permissions.note_staged(&slot);
    };
    permissions.suspect("a");
    permissions.suspect("b");
    permissions.sample();
    for (topic, mark, ephemeral) in [("a", 1, false), ("a", 1, false), ("b", 2, false), ("e", 3, true), ("c", 4, false)] {
        staged(&mut permissions, topic, mark, ephemeral);
    }
    assert_eq!([1, 2, 3, 4].map(|mark| permissions.sampled(1, mark).map(str::to_owned)), [None, None, Some("e".to_owned()), None]);
    permissions.close(1, 0);
    assert!(permissions.doubtful.contains("a"));
    let trouble = Trouble { epoch: 1, mark: 2, denials: Denials::default(), given_up: 0, open: 1, weigh_at: 0, since: 0, again_at: 0 };
    permissions.weigh(trouble);
    permissions.close(1, 1);
    permissions.close(1, 2);
    assert_eq!((permissions.doubtful.contains("a"), permissions.doubtful.contains("b")), (false, true));
    permissions.close(1, 4);
    assert!(permissions.runs.is_empty());
}

#[test]
fn what_is_given_up_counts_under_its_mark() {
    let mut permissions = Permissions::default();
    permissions.give_up(1, 5);
    permissions.give_up(1, 5);
    permissions.give_up(1, 6);
    assert_eq!((permissions.take_given_up(1, 5), permissions.take_given_up(1, 5)), (2, 0));
    permissions.close(1, 6);
    assert_eq!(permissions.take_given_up(1, 6), 0);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut permissions = Permissions::default();
    for n in 0..3 * MOST_TOPICS {
        let topic = n.to_string();
        permissions.suspect(&topic);
        permissions.learn(&topic, "", "", 1, 0);
        permissions.suspect(&topic);
        permissions.passed(&format!("p{n}"));
        permissions.is_news(&topic);
    }
    assert!(permissions.sizes().iter().all(|&size| size <= MOST_TOPICS), "{:?}", permissions.sizes());
    permissions.begin_epoch();
    assert!(permissions.sizes().iter().all(|&size| size <= MOST_TOPICS), "{:?}", permissions.sizes());
}
