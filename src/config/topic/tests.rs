#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::*;
use crate::base::names::check_stream_name;

fn rules(patterns: &[&str]) -> Rules {
    let mut rules = Rules::new();
    for pattern in patterns {
        rules.set(pattern, "mode", "persistent").unwrap();
    }
    rules
}

fn refused(pattern: &str, key: &str, value: &str, status: Status) -> String {
    let mut rules = rules(&["kept"]);
    let error = rules.set(pattern, key, value).expect_err(&format!("{pattern} {key}={value}"));
    assert_eq!(error.status(), status, "{pattern} {key}={value}");
    assert_eq!(rules.len(), 2, "a refused key makes no rule");
    error.message().to_owned()
}

#[test]
fn without_rules_every_topic_has_the_defaults() {
    let rules = Rules::new();
    let rule = rules.matching("orders.created");
    assert_eq!((rule.index, rule.pattern.as_str(), rule.mode, rule.create, rules.len()), (0, ">", Mode::Persistent, false, 1));
    assert_eq!((rule.stream.as_deref(), rule.in_flight), (None, None));
    rules.check().unwrap();
}

#[test]
fn the_most_specific_rule_wins_whatever_the_order() {
    let mut patterns = ["orders.>", "orders.*", "orders.new", "orders.*.eu", "orders.new.>", "*.new", "*.>"];
    for _ in 0..patterns.len() {
        patterns.rotate_left(1);
        let rules = rules(&patterns);
        for (topic, pattern) in [
            ("orders.new", "orders.new"),
            ("orders.old", "orders.*"),
            ("orders.new.eu", "orders.new.>"),
            ("orders.old.eu", "orders.*.eu"),
            ("orders.old.us", "orders.>"),
            ("orders.a.b.c", "orders.>"),
            ("users.new", "*.new"),
            ("users.old", "*.>"),
            ("orders", ">"),
            ("ordersx.new.y", "*.>"),
            ("orders.newer", "orders.*"),
        ] {
            assert_eq!(rules.matching(topic).pattern, pattern, "{topic}");
        }
    }
}

#[test]
fn rules_keep_their_indexes_and_other_clones_their_rules() {
    let mut rules = rules(&["b.>", "a"]);
    let before = rules.clone();
    rules.set("a.*", "in_flight", "1").unwrap();
    rules.set("b.>", "stream", "B").unwrap();
    assert_eq!(rules.iter().map(|rule| (rule.index, rule.pattern.as_str())).collect::<Vec<_>>(), [(0, ">"), (1, "b.>"), (2, "a"), (3, "a.*")]);
    for (index, rule) in rules.iter().enumerate() {
        assert_eq!(rules.get(index as u32), rule);
    }
    assert_eq!(rules.get(1).stream.as_deref(), Some("B"));
    assert_eq!((before.len(), before.get(1).stream.as_deref(), before.matching("a.x").index), (3, None, 0));
    assert_eq!(rules.get(u32::MAX).index, 0, "an index that was never given out");
}

#[test]
fn the_rule_of_everything_can_be_set() {
    let mut rules = Rules::new();
    rules.set(">", "mode", "ephemeral").unwrap();
    assert_eq!((rules.len(), rules.matching("a.b").mode), (1, Mode::Ephemeral));
}

#[test]
fn every_key_reaches_the_rule() {
    let mut rules = Rules::new();
    for (key, value) in [
        ("mode", "ephemeral"),
        ("stream", "ORDERS"),
        ("in_flight", "1"),
        ("create", "if_missing"),
        ("subjects", "orders.>, billing.*"),
        ("storage", "memory"),
        ("replicas", "3"),
        ("retention", "workqueue"),
        ("discard", "new"),
        ("max_msgs", "9223372036854775807"),
        ("max_bytes", "-1"),
        ("max_age_ms", "3600000"),
        ("duplicate_window_ms", "600000"),
    ] {
        rules.set("orders.>", key, value).unwrap();
    }
    let rule = rules.matching("orders.x");
    assert_eq!((rule.mode, rule.stream.as_deref(), rule.in_flight, rule.create), (Mode::Ephemeral, Some("ORDERS"), Some(1), true));
    let expected = Creation {
        subjects: vec!["orders.>".to_owned(), "billing.*".to_owned()],
        storage: Storage::Memory,
        replicas: Some(3),
        retention: Retention::WorkQueue,
        discard: Discard::New,
        max_msgs: Some(i64::MAX),
        max_bytes: None,
        max_age: Some(Duration::from_secs(3_600)),
        duplicate_window: Some(Duration::from_secs(600)),
    };
    assert_eq!(rule.creation, expected);
    rules.check().unwrap();
    for (key, value) in [("subjects", ""), ("stream", ""), ("in_flight", "-1"), ("replicas", "-1"), ("create", "never")] {
        rules.set("orders.>", key, value).unwrap();
    }
    let rule = rules.matching("orders.x");
    assert_eq!((rule.stream.as_deref(), rule.in_flight, rule.creation.replicas), (None, None, None));
    assert_eq!(rule.creation.subjects, ["orders.>"], "back to the pattern");
}

/// The table's defaults and those of a new rule are one.
#[test]
fn a_new_rule_has_the_defaults_of_the_table() {
    let fresh = Rule::new(1, "a.*");
    let mut set = fresh.clone();
    for row in TOPIC_KEYS {
        row.apply(&mut set, &row.default_text()).unwrap();
        assert_eq!(set, fresh, "{}", row.key);
    }
}

#[test]
fn bad_values_are_refused_with_the_rule_and_what_is_allowed() {
    let text = refused("a.>", "in_flight", "0", Status::InvalidOption);
    assert_eq!(text, "topic \"a.>\": in_flight: \"0\" is not allowed; allowed: 1 to 1,000,000 messages, or -1 = the window alone");
    for (key, value) in [
        ("mode", "durable"),
        ("create", "true"),
        ("storage", ""),
        ("replicas", "6"),
        ("in_flight", ""),
        ("max_msgs", "0"),
        ("max_msgs", "9223372036854775808"),
        ("max_age_ms", "99"),
        ("duplicate_window_ms", "99"),
        ("subjects", "a,,b"),
        ("subjects", "a b"),
        ("subjects", "a.>.b"),
    ] {
        assert!(refused("a", key, value, Status::InvalidOption).contains(key));
    }
    for stream in ["a.b", "a b", "a*", ">", "a/b", "a\\b", "a\n", &"s".repeat(256)] {
        refused("a", "stream", stream, Status::InvalidOption);
        assert!(check_stream_name("expected_stream", stream, Status::InvalidArgument).is_err());
    }
    assert!(check_stream_name("stream", "Orders_2-é", Status::InvalidOption).is_ok());
}

#[test]
fn bad_patterns_are_refused() {
    for pattern in ["", ".", "a.", ".a", "a..b", ">.a", "a.>.b", "a b", "a\tb", "a\r\nb", "a\u{7f}", "$JS.API.>", "$SYS.x", &"a".repeat(MAX_TOPIC + 1)] {
        refused(pattern, "mode", "ephemeral", Status::InvalidTopic);
    }
    for pattern in [">", "*", "a", "a.*.>", "a*.b>", "é.>"] {
        Rules::new().set(pattern, "mode", "ephemeral").unwrap();
    }
}

#[test]
fn what_keys_need_from_each_other_is_checked_together() {
    let check = |keys: &[(&str, &str)], pattern: &str| {
        let mut rules = Rules::new();
        for (key, value) in keys {
            rules.set(pattern, key, value).unwrap();
        }
        rules.check().map_err(|error| error.message().to_owned())
    };
    assert!(check(&[("create", "if_missing")], "a.>").unwrap_err().contains("needs stream"));
    check(&[("create", "if_missing"), ("stream", "A")], "a.>").unwrap();
    assert!(check(&[("create", "if_missing"), ("stream", "A")], ">").unwrap_err().contains("give subjects"));
    check(&[("create", "if_missing"), ("stream", "A"), ("subjects", "a.>")], ">").unwrap();
    let window = [("create", "if_missing"), ("stream", "A"), ("max_age_ms", "1000"), ("duplicate_window_ms", "1001")];
    assert!(check(&window, "a").unwrap_err().contains("larger than max_age_ms"));
    check(&window[1..], "a").unwrap();
}

#[test]
fn rules_are_bounded() {
    let mut rules = Rules::new();
    for index in 1..Rules::MOST {
        rules.set(&format!("t.{index}.*"), "in_flight", "1").unwrap();
    }
    assert_eq!(rules.set("one.more", "in_flight", "1").unwrap_err().status(), Status::InvalidOption);
    rules.set("t.7.*", "in_flight", "2").unwrap();
    assert_eq!((rules.len(), rules.matching("t.1023.x").index), (Rules::MOST, 1_023));
}

/// Matching by the book: slow and obvious.
fn matches(pattern: &str, topic: &str) -> bool {
    let (pattern, topic): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), topic.split('.').collect());
    let open = pattern.last() == Some(&">");
    let fixed = if open { &pattern[..pattern.len() - 1] } else { &pattern[..] };
    let length_fits = if open { topic.len() > fixed.len() } else { topic.len() == fixed.len() };
    length_fits && fixed.iter().zip(&topic).all(|(wanted, token)| *wanted == "*" || wanted == token)
}

/// Whether one pattern beats another at the first token that tells them apart.
fn beats(one: &str, other: &str) -> bool {
    let rank = |token: &str| ["*", ">"].iter().position(|wildcard| *wildcard == token).map_or(0, |at| at + 1);
    one.split('.').zip(other.split('.')).map(|(a, b)| rank(a).cmp(&rank(b))).find(|order| order.is_ne()).is_some_and(|order| order.is_lt())
}

#[test]
fn matching_agrees_with_the_definition() {
    let mut state = 3_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..2_000 {
        let mut rules = Rules::new();
        for _ in 0..random(9) {
            let mut tokens: Vec<&str> = (0..1 + random(4)).map(|_| ["a", "b", "ab", "*", "*"][random(5)]).collect();
            if random(3) == 0 {
                tokens.push(">");
            }
            rules.set(&tokens.join("."), "in_flight", "1").unwrap();
        }
        for _ in 0..30 {
            let topic = (0..1 + random(5)).map(|_| ["a", "b", "ab", "c"][random(4)]).collect::<Vec<_>>().join(".");
            let found = rules.matching(&topic);
            assert!(matches(&found.pattern, &topic), "{topic} does not match {}", found.pattern);
            for rule in rules.iter().filter(|rule| rule.index != found.index && matches(&rule.pattern, &topic)) {
                assert!(beats(&found.pattern, &rule.pattern), "{topic}: {} was chosen before {}", found.pattern, rule.pattern);
            }
        }
    }
}

/// `cargo test --release -- --ignored --nocapture what_matching_costs`
#[test]
#[ignore = "a measurement, not a check"]
#[expect(clippy::print_stdout, reason = "a measurement")]
fn what_matching_costs() {
    let ten: Vec<String> = (0..5).map(|i| format!("orders.{i}.>")).chain((0..5).map(|i| format!("orders.{i}.created"))).collect();
    let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
    for (what, rules) in [("no rules", Rules::new()), ("orders.>", rules(&["orders.>"])), ("ten rules", rules(&ten))] {
        let begin = std::time::Instant::now();
        for _ in 0..10_000_000 {
            std::hint::black_box(rules.matching(std::hint::black_box("orders.3.created.europe")).index);
        }
        println!("{what}: {:.1} ns", begin.elapsed().as_secs_f64() * 100.0);
    }
    let begin = std::time::Instant::now();
    for _ in 0..10_000_000 {
        crate::message::check_topic(std::hint::black_box("orders.3.created.europe")).unwrap();
    }
    println!("check_topic: {:.1} ns", begin.elapsed().as_secs_f64() * 100.0);
}
