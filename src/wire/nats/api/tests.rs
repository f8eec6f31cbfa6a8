#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};

use super::*;
use crate::config::topic::Rules;

/// What nats-server 2.15 says of a stream, with the settings given here.
fn info(settings: &Value) -> Vec<u8> {
    let mut config = json!({
        "name": "ORDERS", "subjects": ["orders.>"], "retention": "limits", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        "max_msgs_per_subject": -1, "max_msg_size": -1, "discard": "old", "storage": "file", "num_replicas": 1,
        "duplicate_window": 120_000_000_000_u64, "compression": "none", "allow_direct": false, "mirror_direct": false, "sealed": false,
        "deny_delete": false, "deny_purge": false, "allow_rollup_hdrs": false, "consumer_limits": {}, "allow_msg_ttl": false,
        "metadata": {"_nats.level": "4"}, "of_a_newer_server": [1, 2]
    });
    for (key, value) in settings.as_object().unwrap() {
        config[key] = value.clone();
    }
    json!({
        "type": "io.nats.jetstream.api.v1.stream_info_response", "total": 0, "offset": 0, "limit": 0, "created": "2026-01-02T03:04:05.678Z",
        "config": config, "state": {"messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0, "consumer_count": 0}, "ts": "2026-01-02T03:04:05Z"
    })
    .to_string()
    .into_bytes()
}

fn refused(code: u32, err_code: u32, description: &str) -> Vec<u8> {
    json!({"type": "t", "error": {"code": code, "err_code": err_code, "description": description}}).to_string().into_bytes()
}

fn rule(settings: &[(&str, &str)]) -> Box<Rule> {
    let mut rules = Rules::new();
    rules.set("orders.>", "stream", "ORDERS").unwrap();
    for (key, value) in settings {
        rules.set("orders.>", key, value).unwrap();
    }
    Box::new(rules.matching("orders.new").clone())
}

fn who_takes() -> Question {
    Question::WhoTakes { topic: "orders.new".to_owned() }
}

fn describe(rule: Option<Box<Rule>>) -> Question {
    Question::Describe { stream: "ORDERS".to_owned(), rule }
}

/// What is told of an existing stream: its window, differences and risks.
fn exists(answer: StreamAnswer) -> (Option<Duration>, Vec<String>, Vec<String>) {
    match answer {
        StreamAnswer::Exists { name, duplicate_window, differences, risks, .. } => {
            assert_eq!(name, "ORDERS");
            (duplicate_window, differences, risks)
        }
        other => panic!("{other:?}"),
    }
}

fn risks_of(settings: &Value) -> Vec<String> {
    exists(answer(&describe(None), &info(settings))).2
}

#[test]
fn requests_have_their_subject_and_body() {
    assert_eq!(api_prefix(None), "$JS.API");
    let prefix = api_prefix(Some("hub"));
    let ask = |question| request(&prefix, &question);
    let topic = "a\"b\\".to_owned();
    let (subject, body) = ask(Question::WhoTakes { topic: topic.clone() }).unwrap();
    assert_eq!(subject, "$JS.hub.API.STREAM.NAMES");
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({"subject": topic}));
    assert_eq!(ask(describe(None)).unwrap(), ("$JS.hub.API.STREAM.INFO.ORDERS".to_owned(), Vec::new()));
    for name in ["", "a b", "a\r\nPUB x 0\r\n", "a.b", "*", ">", &"x".repeat(256)] {
        assert_eq!(ask(Question::Describe { stream: name.to_owned(), rule: None }), None, "{name:?}");
    }
    assert_eq!(ask(Question::Create { rule: Box::new(Rules::new().get(0).clone()) }), None, "a rule without a stream");
}

#[test]
fn a_rule_becomes_a_configuration() {
    let create = |settings: &[(&str, &str)]| {
        let (subject, body) = request("$JS.API", &Question::Create { rule: rule(settings) }).unwrap();
        assert_eq!(subject, "$JS.API.STREAM.CREATE.ORDERS");
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    let check = |config: &Value, expected: Value| {
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&config[key], value, "{key} in {config}");
        }
    };
    let plain = create(&[("create", "if_missing")]);
    check(
        &plain,
        json!({"name": "ORDERS", "subjects": ["orders.>"], "storage": "file", "num_replicas": 1, "retention": "limits", "discard": "old",
               "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1, "max_consumers": -1, "duplicate_window": null}),
    );
    let full = create(&[
        ("create", "if_missing"),
        ("subjects", "orders.>,refunds"),
        ("storage", "memory"),
        ("replicas", "3"),
        ("retention", "workqueue"),
        ("discard", "new"),
        ("max_msgs", "1000"),
        ("max_bytes", "2000000"),
        ("max_age_ms", "60000"),
        ("duplicate_window_ms", "30000"),
    ]);
    check(
        &full,
        json!({"subjects": ["orders.>", "refunds"], "storage": "memory", "num_replicas": 3, "retention": "workqueue", "discard": "new", "max_msgs": 1000,
               "max_bytes": 2_000_000, "max_age": 60_000_000_000_u64, "duplicate_window": 30_000_000_000_u64}),
    );
}

#[test]
fn the_taker_of_a_topic_is_found() {
    let ask = |streams: Value| answer(&who_takes(), json!({"type": "t", "total": 1, "offset": 0, "limit": 1024, "streams": streams}).to_string().as_bytes());
    assert_eq!(exists(ask(json!(["ORDERS"]))), (None, vec![], vec![]));
    assert!(matches!(ask(json!(null)), StreamAnswer::None));
    assert!(matches!(ask(json!([])), StreamAnswer::None));
    for streams in [json!(["a\r\nb"]), json!([7]), json!(7), json!({})] {
        assert!(matches!(ask(streams), StreamAnswer::Unavailable { .. }));
    }
    // That there is none takes the server's word: it writes the list always.
    assert!(matches!(answer(&who_takes(), b"{}"), StreamAnswer::Unavailable { .. }));
    assert_eq!(exists(ask(json!(["ORDERS", 7]))), (None, vec![], vec![]));
}

#[test]
fn a_stream_is_described() {
    let (window, differences, risks) = exists(answer(&describe(None), &info(&json!({}))));
    assert_eq!((window, differences, risks), (Some(Duration::from_secs(120)), vec![], vec![]));
    let created = Question::Create { rule: rule(&[("create", "if_missing")]) };
    let (window, differences, risks) = exists(answer(&created, &info(&json!({"duplicate_window": 500_000_000}))));
    assert_eq!((window, differences, risks), (Some(Duration::from_millis(500)), vec![], vec![]));
}

#[test]
fn a_newer_servers_settings_do_not_hide_the_stream() {
    let (window, differences, risks) = exists(answer(&describe(Some(rule(&[("create", "if_missing")]))), &info(&json!({"retention": "of the\nfuture"}))));
    assert_eq!((window, risks.len()), (Some(Duration::from_secs(120)), 0));
    assert_eq!(differences, ["retention is of the future, not limits"]);
}

#[test]
fn what_a_server_does_not_tell_of_a_stream_is_not_known_and_the_rest_is() {
    let all = [
        ("create", "if_missing"),
        ("replicas", "3"),
        ("max_msgs", "1000"),
        ("max_bytes", "2000000"),
        ("max_age_ms", "600000"),
        ("duplicate_window_ms", "30000"),
    ];
    let question = describe(Some(rule(&all)));
    let whole: Value = serde_json::from_slice(&info(&json!({"retention": "interest", "no_ack": true}))).unwrap();
    let told = |info: &Value| exists(answer(&question, info.to_string().as_bytes()));
    let (window, differences, risks) = told(&whole);
    assert_eq!((window, differences.len(), risks.len()), (Some(Duration::from_secs(120)), 6, 2));
    // What each field tells is missing then, and nothing else.
    let tells = |field: &str| {
        match field {
            "num_replicas" => "replicas",
            "max_msgs" | "max_bytes" | "max_age" | "retention" | "duplicate_window" => field,
            _ => "-",
        }
        .to_owned()
    };
    let fields: Vec<String> = whole["config"].as_object().unwrap().keys().filter(|field| *field != "name").cloned().collect();
    assert!(fields.len() > 20);
    for field in fields {
        let without = |text: &String| !text.starts_with(&tells(&field));
        let fewer: Vec<String> = differences.iter().filter(|text| without(text)).cloned().collect();
        for other in [None, Some(Value::Null), Some(json!({"a": [1]})), Some(json!([])), Some(json!(-1.5))] {
            let mut info = whole.clone();
            match &other {
                None => drop(info["config"].as_object_mut().unwrap().remove(&field)),
                Some(other) => info["config"][&field] = other.clone(),
            }
            let (seen_window, seen, seen_risks) = told(&info);
            let left_out = other.as_ref().is_none_or(Value::is_null);
            match &*field {
                // They are left out when they are zero, or when there are none.
                "duplicate_window" if left_out => {
                    assert_eq!(seen_window, Some(Duration::ZERO));
                    assert!(seen_risks.iter().any(|risk| risk.contains("no duplicate window")), "{seen_risks:?}");
                    continue;
                }
                "subjects" if left_out || other == Some(json!([])) => {
                    assert_eq!(seen.iter().filter(|text| *text == "subjects is none, not orders.>").count(), 1, "{seen:?}");
                    continue;
                }
                "duplicate_window" => assert_eq!(seen_window, None),
                _ => assert_eq!(seen_window, window, "{field}: {other:?}"),
            }
            assert_eq!(seen, fewer, "{field}: {other:?}");
            let expected = risks.len() - usize::from(matches!(&*field, "retention" | "no_ack"));
            assert_eq!(seen_risks.len(), expected, "{field}: {other:?}: {seen_risks:?}");
        }
    }
    // Nor does what stands beside the configuration matter.
    let text = whole.to_string();
    let odd = text.replacen('{', r#"{"deep":[[[{"x":1e999}]]],"\ud800":0,"streams":7,"cluster":"?","#, 1);
    assert_ne!(odd, text);
    assert_eq!(exists(answer(&question, odd.as_bytes())), (window, differences, risks));
}

#[test]
fn a_described_streams_subjects_are_told() {
    for (subjects, expected) in [
        (json!(["orders.>", "refunds\u{a0}\"x\""]), vec!["orders.>", "refunds\u{a0}\"x\""]),
        (json!(null), vec![]),
        (json!("orders.>"), vec![]),
        (json!(["orders.>", 7]), vec!["orders.>"]),
    ] {
        let StreamAnswer::Exists { subjects: told, .. } = answer(&describe(None), &info(&json!({"subjects": subjects}))) else { panic!("{subjects}") };
        assert_eq!(told, expected);
    }
}

#[test]
fn no_jetstream_is_told_apart_from_a_refusal() {
    let created = Question::Create { rule: rule(&[("create", "if_missing")]) };
    for question in [who_takes(), describe(None), created, Question::Condition { stream: "ORDERS".to_owned() }] {
        for (err_code, words) in [(10039, "JetStream not enabled for account"), (10076, "JetStream not enabled")] {
            match answer(&question, &refused(503, err_code, words)) {
                StreamAnswer::Disabled { text, nobody: None } => {
                    assert_eq!(text, format!("JetStream is not enabled here: {words} (code 503, error {err_code})"))
                }
                other => panic!("{err_code}: {other:?}"),
            }
        }
    }
    assert!(matches!(nobody_answers(), StreamAnswer::Disabled { text, nobody: Some(_) } if text.contains("nobody answers JetStream here: it is not enabled")));
}

#[test]
fn errors_are_final_or_for_later() {
    let created = Question::Create { rule: rule(&[("create", "if_missing")]) };
    for question in [who_takes(), describe(None)] {
        assert!(matches!(answer(&question, &refused(404, 10059, "stream not found")), StreamAnswer::None));
    }
    for (code, err_code) in [(503, 10008), (500, 10009), (500, 10118), (500, 10194), (429, 10167), (503, 0)] {
        for question in [&who_takes(), &describe(None), &created] {
            assert!(matches!(answer(question, &refused(code, err_code, "x")), StreamAnswer::Unavailable { .. }), "{err_code}");
        }
    }
    // Created by somebody else in the meantime: the next look finds it.
    assert!(matches!(answer(&created, &refused(400, 10058, "stream name already in use")), StreamAnswer::Unavailable { .. }));
    for (code, err_code) in [(400, 10065), (500, 10052), (500, 10074), (500, 10047), (400, 10026), (400, 10113), (503, 10023)] {
        match answer(&created, &refused(code, err_code, "because\r\nof this")) {
            StreamAnswer::Refused { server_code, text } => {
                assert_eq!(server_code, err_code);
                assert_eq!(text, format!("because  of this (code {code}, error {err_code})"));
            }
            other => panic!("{err_code}: {other:?}"),
        }
    }
}

#[test]
fn differences_are_told_by_setting() {
    let all = [
        ("create", "if_missing"),
        ("replicas", "3"),
        ("max_msgs", "1000"),
        ("max_bytes", "2000000"),
        ("max_age_ms", "600000"),
        ("duplicate_window_ms", "30000"),
        ("subjects", "orders.new,refunds.*"),
    ];
    let other = json!({"storage": "memory", "retention": "interest", "discard": "new"});
    let (_, differences, _) = exists(answer(&describe(Some(rule(&all))), &info(&other)));
    assert_eq!(
        differences,
        [
            "subjects is orders.>, not orders.new,refunds.*",
            "storage is memory, not file",
            "replicas is 1, not 3",
            "retention is interest, not limits",
            "discard is new, not old",
            "max_msgs is unlimited, not 1000",
            "max_bytes is unlimited, not 2000000",
            "max_age is none, not 600s",
            "duplicate_window is 120s, not 30s",
        ]
    );
    // What the rule leaves open, or would not create, cannot differ; wider subjects are as good.
    let (_, differences, _) =
        exists(answer(&describe(Some(rule(&[("create", "if_missing"), ("subjects", "orders.new")]))), &info(&json!({"max_msgs": 5_000_000}))));
    assert_eq!(differences, [""; 0]);
    let (_, differences, _) = exists(answer(&describe(Some(rule(&all[1..]))), &info(&other)));
    assert_eq!(differences, [""; 0]);
}

#[test]
fn risks_are_told() {
    for (settings, part) in [
        (json!({"retention": "workqueue"}), "work queue"),
        (json!({"retention": "interest"}), "by interest"),
        (json!({"no_ack": true}), "no_ack"),
        (json!({"sealed": true}), "sealed"),
        (json!({"duplicate_window": 0}), "no duplicate window"),
        (json!({"max_age": 60_000_000_000_u64}), "max_age 60s removes messages before the duplicate window of 120s ends"),
        (json!({"max_msgs": 1}), "max_msgs 1 removes messages, from a rate of 1 per second on,"),
        (json!({"max_msgs": 11_999}), "from a rate of 100 per second on,"),
        (json!({"max_bytes": 1_000_000}), "max_bytes 1000000 removes messages, from a rate of 8334 bytes per second on,"),
        (json!({"max_msgs_per_subject": 1}), "max_msgs_per_subject 1"),
        (json!({"max_msgs_per_subject": 1, "discard": "new"}), "max_msgs_per_subject 1"),
    ] {
        let risks = risks_of(&settings);
        assert!(risks.len() == 1 && risks[0].contains(part), "{settings}: {risks:?}");
    }
    for settings in [
        json!({"max_age": 120_000_000_000_u64}),
        json!({"max_msgs": 12_000, "max_bytes": 12_288_000, "max_msgs_per_subject": 120}),
        json!({"max_msgs": 1, "max_bytes": 1, "discard": "new"}),
        json!({"max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": true}),
        json!({"max_msgs": 0, "max_bytes": 0, "max_msgs_per_subject": 0}),
    ] {
        assert_eq!(risks_of(&settings), [""; 0], "{settings}");
    }
}

#[test]
fn patterns_cover_each_other() {
    for (outer, inner, expected) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "a.b", false),
        ("a.b", "a", false),
        ("*", "a", true),
        ("*", "*", true),
        ("a", "*", false),
        (">", "a.b", true),
        (">", ">", true),
        ("a.>", "a", false),
        ("a.>", "a.b.c", true),
        ("a.>", "a.*", true),
        ("a.*", "a.>", false),
        ("a.*.c", "a.b.c", true),
        ("*.>", "a.>", true),
    ] {
        assert_eq!(covers(outer, inner), expected, "{outer} {inner}");
    }
}

#[test]
fn no_reply_makes_the_parser_panic() {
    let questions = [who_takes(), describe(Some(rule(&[("create", "if_missing")]))), Question::Create { rule: rule(&[("create", "if_missing")]) }];
    for body in [
        "",
        "null",
        "1",
        "[]",
        "{}",
        "\"x\"",
        "{\"config\":1}",
        "{\"config\":{}}",
        "{\"config\":{\"name\":1}}",
        "{\"streams\":1}",
        "{\"error\":1}",
        "{\"error\":{}}",
    ] {
        for question in &questions {
            let _ = answer(question, body.as_bytes());
        }
    }
    assert!(matches!(answer(&describe(None), b"{}"), StreamAnswer::Unavailable { .. }));
    let good = info(&json!({"max_msgs": i64::MAX, "max_age": i64::MAX}));
    let mut state = 3_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..5_000 {
        let mut body = good.clone();
        for _ in 0..=next() % 3 {
            let at = next() % body.len();
            body[at] = b"{}[],:\"-09e\\\x00\xff"[next() % 14];
        }
        body.truncate(if next() % 2 == 0 { next() % body.len() } else { body.len() });
        for question in &questions {
            let _ = answer(question, &body);
        }
    }
}

// ---- how a stream fares ----

/// The answer about a stream with these settings, kept by these servers.
#[track_caller]
fn condition_of(settings: &Value, cluster: Option<Value>) -> String {
    let mut reply: Value = serde_json::from_slice(&info(settings)).unwrap();
    if let Some(cluster) = cluster {
        reply["cluster"] = cluster;
    }
    match answer(&Question::Condition { stream: "ORDERS".to_owned() }, reply.to_string().as_bytes()) {
        StreamAnswer::Condition { text } => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_condition_tells_why_a_stream_may_be_silent() {
    let slow = "stream \"ORDERS\" takes it and acknowledges: the server is alive, and slow";
    assert_eq!(condition_of(&json!({}), None), slow);
    let mute = "stream \"ORDERS\" takes it and is configured with no_ack: it stores and never acknowledges";
    assert_eq!(condition_of(&json!({"no_ack": true}), Some(json!({"leader": "n1"}))), mute);
    let leaderless = "stream \"ORDERS\" takes it and has no leader: its servers elect one, or too many of them are down";
    assert_eq!(condition_of(&json!({}), Some(json!({"name": "C"}))), leaderless);
    let replicas = json!([{"name": "n2", "current": true, "lag": 0}, {"name": "n3", "current": false, "lag": 1200}, {"name": "n\n4", "offline": true}]);
    assert_eq!(
        condition_of(&json!({}), Some(json!({"leader": "n1", "replicas": replicas}))),
        "stream \"ORDERS\" takes it, has a leader (n1) and acknowledges: the server is alive, and slow (replicas: n3 is 1200 operations behind, n 4 is offline)"
    );
}

#[test]
fn a_condition_that_the_server_cannot_tell() {
    let question = Question::Condition { stream: "ORDERS".to_owned() };
    for code in [10008, 10009, 10118] {
        let reply = answer(&question, &refused(503, code, "no leader to ask"));
        assert!(matches!(&reply, StreamAnswer::Condition { text } if text.contains("has no leader")), "{code}: {reply:?}");
    }
    assert!(matches!(answer(&question, &refused(404, 10059, "stream not found")), StreamAnswer::None));
    assert!(matches!(answer(&question, b"{}"), StreamAnswer::Unavailable { .. }));
}
