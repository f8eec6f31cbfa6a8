use ackbus_test_support::StoredMsg;
use ackbus_test_support::async_nats::HeaderMap;

use super::*;
use crate::books::Books;
use crate::clients::CLIENTS;

fn load() -> Load {
    Load { count: 6, sizes: vec![20], ..Load::new(&CLIENTS[0], "p".into()) }
}

/// What message `id` looks like in the stream.
fn stored(load: &Load, seq: u64, id: u64) -> StoredMsg {
    let msg_id = Some(load.msg_id(id));
    StoredMsg { seq, subject: load.subject(id).into(), headers: HeaderMap::new(), msg_id, payload: load.payload(id) }
}

/// Lines as a driver writes them; each message was accepted a second before its outcome.
fn told(outcomes: &[(u64, &str, u64)]) -> Books {
    let books = Books::default();
    for (id, kind, seq) in outcomes {
        books.line(&format!(r#"{{"e":"accept","id":{id},"t":1000000}}"#));
        if *kind != "none" {
            books.line(&format!(r#"{{"e":"outcome","id":{id},"t":2000000,"kind":"{kind}","seq":{seq},"dup":false}}"#));
        }
    }
    books
}

fn count(books: &Books, load: &Load, messages: Vec<StoredMsg>) -> Figures {
    let mut figures = Figures::count(&books.read(), load, &Evidence { stored: messages, ..Evidence::default() }, false);
    figures.judge(false);
    figures
}

#[test]
fn what_is_told_truly_has_no_fault() {
    let load = load();
    let books = told(&[(1, "acked", 1), (2, "acked", 2), (3, "refused", 0), (4, "in_doubt", 0), (5, "in_doubt", 0)]);
    let figures = count(&books, &load, vec![stored(&load, 1, 1), stored(&load, 2, 2), stored(&load, 3, 4)]);
    assert_eq!(figures.problems, [""; 0]);
    assert_eq!((figures.accepted, figures.acked, figures.true_fail, figures.in_doubt), (5, 2, 1, 2));
}

#[test]
fn each_fault_is_counted() {
    let load = load();
    let one = |outcome: (u64, &str, u64), messages: Vec<StoredMsg>| count(&told(&[outcome]), &load, messages).problems.join(", ");
    assert_eq!(one((1, "none", 0), vec![]), "hung 1");
    assert_eq!(one((1, "acked", 1), vec![]), "lost 1");
    assert_eq!(one((1, "acked", 2), vec![stored(&load, 1, 1)]), "lost 1", "stored, but not where it was told");
    assert_eq!(one((1, "refused", 0), vec![stored(&load, 1, 1)]), "false_fail 1");
    assert_eq!(one((1, "failed", 0), vec![stored(&load, 1, 1)]), "mislabelled 1");
    assert_eq!(one((1, "acked", 1), vec![stored(&load, 1, 1), stored(&load, 2, 1)]), "dups 1");
    assert_eq!(one((1, "acked", 1), vec![stored(&load, 1, 1), stored(&load, 2, 9)]), "unexpected 1", "never published");
    let torn = StoredMsg { payload: b"2 torn".to_vec(), ..stored(&load, 2, 2) };
    assert_eq!(one((1, "acked", 1), vec![stored(&load, 1, 1), torn]), "unexpected 1");
    let elsewhere = StoredMsg { subject: "f.z".into(), ..stored(&load, 1, 1) };
    assert_eq!(one((1, "acked", 1), vec![elsewhere]), "lost 1, unexpected 1");
}

#[test]
fn outcomes_that_come_twice_late_or_for_a_refused_message_are_faults() {
    let load = load();
    let books = told(&[(1, "acked", 1)]);
    books.line(r#"{"e":"outcome","id":1,"t":2000001,"kind":"failed","text":"again"}"#);
    books.line(r#"{"e":"close_begin","t":3000000}"#);
    books.line(r#"{"e":"close_end","t":3100000,"text":"OK"}"#);
    books.line(r#"{"e":"accept","id":2,"t":1000000}"#);
    books.line(r#"{"e":"outcome","id":2,"t":3200000,"kind":"acked","seq":2,"dup":false}"#);
    books.line(r#"{"e":"reject","id":3,"t":1000000,"text":"full"}"#);
    books.line(r#"{"e":"pending","n":10004,"t":1000000}"#);
    let figures = count(&books, &load, vec![stored(&load, 1, 1), stored(&load, 2, 2), stored(&load, 3, 3)]);
    assert_eq!(figures.problems, ["multi 1", "false_fail 1", "over 4", "late_cb 1"]);
    assert_eq!(figures.close_ms, Some(100.0));
}

#[test]
fn an_outcome_after_the_deadline_counts_as_none() {
    let load = Load { deadline_ms: 1_000, ..load() };
    let books = Books::default();
    books.line(r#"{"e":"accept","id":1,"t":1000000}"#);
    books.line(r#"{"e":"outcome","id":1,"t":4000001,"kind":"in_doubt"}"#);
    assert_eq!(count(&books, &load, vec![]).problems, ["hung 1"]);
}

#[test]
fn of_two_with_one_id_the_second_is_where_the_first_is() {
    let load = Load { pairs: true, ..load() };
    let books = told(&[(1, "acked", 1)]);
    books.line(r#"{"e":"accept","id":2,"t":1000000}"#);
    books.line(r#"{"e":"outcome","id":2,"t":2000000,"kind":"acked","seq":1,"dup":true}"#);
    let figures = count(&books, &load, vec![stored(&load, 1, 1)]);
    assert_eq!((figures.problems.len(), figures.flagged), (0, 1), "{:?}", figures.problems);
}

#[test]
fn a_deleted_stream_is_judged_by_what_it_held() {
    let load = load();
    // 1 was read before the deletion, 2 was taken after that, 3 was never there, 4 came into the new stream.
    let books = told(&[(1, "acked", 1), (2, "acked", 2), (4, "acked", 1)]);
    books.line(r#"{"e":"accept","id":3,"t":1000000}"#);
    books.line(r#"{"e":"outcome","id":3,"t":9000000,"kind":"acked","seq":5,"dup":false}"#);
    let evidence = Evidence { stored: vec![stored(&load, 1, 4)], before: Some((vec![stored(&load, 1, 1)], 8_000_000)), ..Evidence::default() };
    let figures = Figures::count(&books.read(), &load, &evidence, false);
    assert_eq!((figures.lost, figures.dups, figures.unexpected), (1, 0, 0));
}

#[test]
fn what_is_no_line_of_the_protocol_is_kept() {
    let books = Books::default();
    books.line(r#"{"e":"outcome","id":1}"#);
    books.line("panic!");
    assert_eq!(books.read().garbage.len(), 2);
}
