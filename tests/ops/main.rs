//! What operators get: alert rules and a dashboard that fit the metrics, and metrics that Prometheus takes as they are.
//!
//! promtool and prometheus come from `make prometheus`, or are on the PATH; without them, what needs them says that it was skipped.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]

mod prometheus;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ackbus::{Config, Handlers, Publisher};
use ackbus_test_support::{Reader, Server};
use serde_json::Value;

use crate::prometheus::{Prometheus, Served};

/// Names of metrics in a text, whatever else it is.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| word.starts_with("ackbus_")).collect()
}

fn ops(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(ops(path)).unwrap()
}

/// Where a program of Prometheus' is; `None` says why not.
fn program(name: &str) -> Option<PathBuf> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/prometheus/usr/bin").join(name);
    let found = [fetched, PathBuf::from(name)]
        .into_iter()
        .find(|program| Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()));
    if found.is_none() {
        // Not through `eprintln!`, which a passing test swallows.
        let _ = writeln!(std::io::stderr(), "skipped: {name} is not installed; `make prometheus` fetches it where apt-get can");
    }
    found
}

/// Runs promtool, which must succeed. Returns what it printed.
fn promtool(program: &Path, arguments: &[&str], stdin: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(ops("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "promtool {arguments:?}: {text}");
    text
}

/// A publisher that met success and failure.
fn publisher(server: &Server) -> Publisher {
    let reader = Reader::connect(&server.url());
    reader.create_stream("ORDERS", &["orders.>"]);
    let mut config = Config::new();
    config.set("servers", &server.url()).unwrap().set("name", "the \"shop\"").unwrap();
    let bus = Publisher::connect(&config, Handlers::default()).unwrap();
    for topic in ["orders.created", "orders.paid", "nowhere"] {
        bus.publish(topic, b"{}", 0).unwrap();
    }
    bus.flush(Some(Duration::from_secs(30))).unwrap();
    bus
}

/// The expressions of the dashboard's panels.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("grafana/ackbus.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// What is mentioned must be told: a metric that was renamed would leave a panel empty, and an alert silent.
#[test]
fn dashboard_and_alerts_mention_metrics_that_exist() {
    let server = Server::start();
    let text = publisher(&server).metrics();
    let told: BTreeSet<_> = text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| names(line.split_once("publisher=").unwrap().0)).collect();
    let rules = read("prometheus/ackbus.rules.yml");
    for (what, text) in [("the dashboard", expressions().join("\n")), ("the rules", rules)] {
        let mentioned = names(&text);
        let unknown: Vec<_> = mentioned.iter().filter(|name| !told.contains(*name)).collect();
        assert!(unknown.is_empty() && mentioned.len() > 8, "{what}: {unknown:?} of {mentioned:?}");
    }
}

/// The dashboard is what its source writes.
#[test]
fn the_dashboard_is_up_to_date() {
    let output = Command::new("python3").arg(ops("grafana/dashboard.py")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap() == read("grafana/ackbus.json"), "python3 ops/grafana/dashboard.py >ops/grafana/ackbus.json");
}

/// What Grafana's own linter asks for, as far as it can be seen in the JSON.
#[test]
fn every_panel_says_what_it_shows() {
    let dashboard: Value = serde_json::from_str(&read("grafana/ackbus.json")).unwrap();
    let variables: Vec<_> = dashboard["templating"]["list"].as_array().unwrap().iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "job", "instance", "publisher"]);
    let mut titles = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(titles.insert(title), "{title} is there twice");
        if panel["type"] == "row" {
            continue;
        }
        let told = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
        assert!(told(&panel["description"]) && told(&panel["fieldConfig"]["defaults"]["unit"]) && panel["datasource"]["uid"] == "${datasource}", "{title}");
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title}");
    }
    for expression in expressions() {
        let selectors = expression.matches('{').count();
        for variable in ["job=~\"$job\"", "instance=~\"$instance\"", "publisher=~\"$publisher\""] {
            assert_eq!(expression.matches(variable).count(), selectors, "{variable} in {expression}");
        }
        // Each metric has a selector. Behind a comma it is the label of a set of states.
        assert_eq!(expression.matches("ackbus_").count() - expression.matches(",ackbus_").count(), selectors, "{expression}");
    }
}

#[test]
fn alerts_fire_when_they_must_and_only_then() {
    let Some(program) = program("promtool") else { return };
    promtool(&program, &["check", "rules", "ackbus.rules.yml"], "");
    assert!(promtool(&program, &["test", "rules", "ackbus.rules.test.yml"], "").contains("SUCCESS"));
    let tests = read("prometheus/ackbus.rules.test.yml");
    for alert in read("prometheus/ackbus.rules.yml").lines().filter_map(|line| line.trim().strip_prefix("- alert: ").map(str::to_owned)) {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} is not tested");
    }
}

/// promtool has no check for dashboards, so their expressions become recording rules.
#[test]
fn the_expressions_of_the_dashboard_are_promql() {
    let Some(program) = program("promtool") else { return };
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (number, expression) in expressions().iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "1m");
        rules += &format!("  - record: panel:{number}\n    expr: {}\n", Value::from(expression));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    promtool(&program, &["check", "rules", file.path().to_str().unwrap()], "");
}

/// The text as the older format has it, which is all that `promtool check metrics` reads: counters by their samples' names, and only types that it knows.
fn older(text: &str) -> String {
    let mut counters = BTreeSet::new();
    let mut older = String::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("TYPE"), Some(name), Some("counter")) => {
                counters.insert(name);
                older += &format!("# TYPE {name}_total counter\n");
            }
            (Some("#"), Some("TYPE"), Some(name), Some("info")) => older += &format!("# TYPE {name}_info gauge\n"),
            (Some("#"), Some("TYPE"), Some(name), Some("stateset")) => older += &format!("# TYPE {name} gauge\n"),
            (Some("#"), Some("HELP"), Some(name), _) => {
                let suffix = if counters.contains(name) {
                    "_total"
                } else if name == "ackbus_publisher" {
                    "_info"
                } else {
                    ""
                };
                older += &line.replacen(name, &format!("{name}{suffix}"), 1);
                older.push('\n');
            }
            (Some("#"), Some("UNIT" | "EOF"), ..) => {}
            // Without the exemplar.
            _ => older += &format!("{}\n", line.split(" # ").next().unwrap()),
        }
    }
    older
}

#[test]
fn promtool_likes_the_names() {
    let Some(program) = program("promtool") else { return };
    let server = Server::start();
    let text = older(&publisher(&server).metrics());
    let complaints = promtool(&program, &["check", "metrics"], &text);
    assert_eq!(complaints, "", "of {text}");
}

/// The whole way: Prometheus scrapes the text as it is served, keeps every sample, its type, its unit and the exemplar, and evaluates the rules over it.
#[test]
fn prometheus_takes_it_as_it_is() {
    let Some(program) = program("prometheus") else { return };
    let server = Server::start();
    let bus = publisher(&server);
    let text = bus.metrics();
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    let served = Served::start(ackbus::METRICS_CONTENT_TYPE, move || bus.metrics());
    let prometheus = Prometheus::start(&program, served.address(), &ops("prometheus/ackbus.rules.yml"));

    prometheus.until("it has scraped", |prometheus| prometheus.value("up").filter(|up| up == "1").map(drop));
    assert_eq!(prometheus.value(r#"count({__name__=~"ackbus_.*"})"#), Some(samples.to_string()));
    assert_eq!(prometheus.value(r#"ackbus_accepted_messages_total{publisher="the \"shop\""}"#).as_deref(), Some("3"));
    assert_eq!(prometheus.value(r#"ackbus_failed_messages_total{status="NO_STREAM"}"#).as_deref(), Some("1"));
    assert_eq!(prometheus.value("sum(ackbus_failed_messages_total) - sum(ackbus_publish_error_messages_total)").as_deref(), Some("0"));
    assert_eq!(prometheus.value(r#"ackbus_ack_latency_seconds_bucket{le="+Inf"} - ignoring(le) ackbus_ack_latency_seconds_count"#).as_deref(), Some("0"));

    let latency = &prometheus.get("/api/v1/metadata?metric=ackbus_ack_latency_seconds")["data"]["ackbus_ack_latency_seconds"][0];
    assert_eq!((latency["type"].as_str(), latency["unit"].as_str()), (Some("histogram"), Some("seconds")), "{latency}");
    let exemplar = prometheus.until("an exemplar is kept", |prometheus| {
        let found = prometheus.get("/api/v1/query_exemplars?query=ackbus_failed_messages_total&start=0&end=99999999999");
        found["data"][0]["exemplars"][0]["labels"]["text"].as_str().map(str::to_owned)
    });
    // It keeps the backslashes of exemplars, which it takes from other labels.
    assert!(exemplar.replace('\\', "").starts_with("no stream takes \"nowhere\""), "{exemplar}");

    let rules = prometheus.until("all rules were evaluated", |prometheus| {
        let rules = prometheus.get("/api/v1/rules")["data"]["groups"][0]["rules"].clone();
        let all = rules.as_array()?;
        (!all.is_empty() && all.iter().all(|rule| rule["health"] != "unknown")).then(|| rules.clone())
    });
    for rule in rules.as_array().unwrap() {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
