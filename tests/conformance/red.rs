//! The runner sees what is wrong: scenarios that hold, each with one thing changed.

use serde_json::{Value, json};

use crate::{run, scenario};

const STREAM: &str = "headers_are_stored_as_given";
const MEMORY: &str = "memory_is_a_bus_without_a_server";

/// Scenario, the place in it, what is put there, and what the runner says then. Null takes the field out.
fn changes() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    vec![
        (MEMORY, "/expect/reports/0/status", json!("CLOSED"), "status is not"),
        (MEMORY, "/expect/reports/0/tags", json!([1, 2]), "nobody expected"),
        (MEMORY, "/expect/reports/3/tag", json!(7), "no report of 7"),
        (MEMORY, "/expect/reports/0/attempts_at_least", json!(2), "attempts_at_least is not 2"),
        (MEMORY, "/expect/reports/2/flags", Value::Null, "flags is not []"),
        (MEMORY, "/expect/reports/3/text", json!("all is well"), "text is not"),
        (MEMORY, "/expect/reports/3/colour", json!("red"), "no report has a colour"),
        (MEMORY, "/expect/stats/published", json!(5), "published is 6, not 5"),
        (MEMORY, "/expect/stats_at_least", json!({ "accepted": 8 }), "accepted is 7, less than 8"),
        (MEMORY, "/expect/stats_at_most", json!({ "accepted": 6 }), "accepted is 7, more than 6"),
        (MEMORY, "/expect/stats/publishd", json!(5), "no figure publishd"),
        (MEMORY, "/expect/events", json!(["LAME_DUCK"]), "missing Some(\"LAME_DUCK\")"),
        (MEMORY, "/expect/no_events", json!(["CONNECTED"]), "unwanted Some(\"CONNECTED\")"),
        (MEMORY, "/publisher/fails", json!({ "status": "INVALID_OPTION" }), "it succeeded"),
        (MEMORY, "/publisher/options/max_pending", json!("0"), "INVALID_OPTION"),
        (MEMORY, "/steps/5/outcome/stream_seq", json!(5), "step 6 (publish_wait): stream_seq is not 5"),
        (MEMORY, "/steps/0/fails", json!({ "status": "CLOSED" }), "step 1 (publish): it succeeded"),
        (MEMORY, "/steps/0/topic", json!("orders.*"), "step 1 (publish): INVALID_TOPIC"),
        (STREAM, "/steps/0/fails/status", json!("CLOSED"), "step 1 (publish): failed with INVALID_HEADER"),
        (STREAM, "/steps/0/fails/text", json!("something else"), "step 1 (publish): failed with INVALID_HEADER"),
        (STREAM, "/expect/streams/ORDERS/0/payload", json!("y"), "stream ORDERS:"),
        (STREAM, "/expect/streams/ORDERS/0/subject", json!("orders.paid"), "stream ORDERS:"),
        (STREAM, "/expect/streams/ORDERS/0/headers/Trace", json!(["d", "a b: c"]), "stream ORDERS:"),
        (STREAM, "/expect/streams/ORDERS/0/msg_id", json!(false), "stream ORDERS:"),
        (STREAM, "/expect/streams/ORDERS/0/msg_id", json!("another"), "stream ORDERS:"),
        (STREAM, "/expect/streams/ORDERS/0/repeat", json!(2), "messages are too few"),
        (STREAM, "/expect/streams/ORDERS", json!([]), "messages are too many"),
        (STREAM, "/expect/streams/OTHER", json!([]), "stream not found"),
        ("a_refused_creation_is_the_reports_text", "/expect/streams", json!({ "TAKEN": null }), "stream TAKEN exists"),
        ("no_ids_at_all", "/expect/streams/ORDERS/0/msg_id", Value::Null, "stream ORDERS:"),
        ("ephemeral_topics_are_sent_and_forgotten", "/expect/received/1/0/repeat", json!(19), "subscription 1: 20 messages are too many"),
        ("ephemeral_topics_are_sent_and_forgotten", "/expect/received/1/0/payload", json!("tock #"), "subscription 1:"),
        ("a_batch_ends_before_its_first_bad_message", "/steps/0/accepted", json!(4), "2 were accepted"),
        ("purge_takes_back_what_is_asked_for", "/steps/4/count", json!(6), "step 5 (purge): 5 were purged"),
    ]
}

#[test]
fn a_wrong_expectation_is_seen() {
    for (name, place, value, expected) in changes() {
        let mut scenario = scenario::raw(name);
        put(&mut scenario, place, value.clone());
        let seen = run(&serde_json::from_value(scenario).unwrap()).expect_err(place);
        assert!(seen.contains(expected), "{name}, {place} = {value}: {seen}");
    }
}

fn put(scenario: &mut Value, place: &str, value: Value) {
    let (parent, field) = place.rsplit_once('/').unwrap();
    let parent = scenario.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() { drop(parent.remove(field)) } else { drop(parent.insert(field.to_owned(), value)) }
}
