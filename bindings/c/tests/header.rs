//! `include/ackbus.h` is what cbindgen makes of the sources, and it says the same as the core: statuses, events, levels, figures, versions.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};

use ackbus::log::Level;
use ackbus::{Config, EventKind, Persistence, State, Stats, Status};

/// The sources with C items, in the order in which the header shows them.
const SOURCES: [&str; 18] = [
    "version",
    "text",
    "error",
    "callback",
    "enter",
    "message",
    "report",
    "event",
    "config",
    "log",
    "publisher",
    "publish",
    "packed",
    "poll",
    "stats",
    "metrics",
    "info",
    "handle",
];

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header_path() -> PathBuf {
    crate_dir().join("../../include/ackbus.h")
}

fn header() -> String {
    std::fs::read_to_string(header_path()).expect("include/ackbus.h; ACKBUS_BLESS=1 writes it")
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(crate_dir().join("cbindgen.toml")).unwrap();
    let builder =
        SOURCES.iter().fold(cbindgen::Builder::new().with_config(config), |builder, name| builder.with_src(crate_dir().join(format!("src/{name}.rs"))));
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

/// The `#define`s with this prefix and a number: the name without the prefix, and the number.
fn numbers(prefix: &str) -> Vec<(String, i64)> {
    header()
        .lines()
        .filter_map(|line| {
            let (name, value) = line.strip_prefix("#define ")?.strip_prefix(prefix)?.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// The fields of a struct, in order.
fn fields(of: &str) -> Vec<String> {
    let text = header();
    let end = text.find(&format!("}} {of};")).expect(of);
    let start = text[..end].rfind("typedef struct {").expect(of);
    let declared = text[start..end].lines().filter_map(|line| line.trim().strip_suffix(';'));
    declared.map(|line| line.rsplit([' ', '*']).next().unwrap().split('[').next().unwrap().to_owned()).collect()
}

#[test]
fn the_header_is_generated() {
    let fresh = generated();
    if std::env::var_os("ACKBUS_BLESS").is_some() {
        std::fs::write(header_path(), &fresh).unwrap();
    }
    assert!(fresh == header(), "include/ackbus.h is out of date: run this test with ACKBUS_BLESS=1, or `make header`");
}

#[test]
fn every_source_is_in_the_header() {
    let mut found: Vec<String> = std::fs::read_dir(crate_dir().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        // What C does not see.
        .filter(|name| !["lib", "guard", "panics", "inside", "layout", "fuzzing"].contains(&name.as_str()))
        .collect();
    found.sort();
    let mut listed = SOURCES.map(str::to_owned);
    listed.sort();
    assert_eq!(found, listed);
}

/// T16.
#[test]
fn statuses_are_the_cores() {
    let mut ours = numbers("ACKBUS_ERR_");
    ours.insert(0, ("OK".to_owned(), define("ACKBUS_OK")));
    let cores: Vec<_> = Status::ALL.iter().map(|status| (status.name().to_owned(), i64::from(*status as i32))).collect();
    assert_eq!(ours, cores);
}

fn define(name: &str) -> i64 {
    let text = header();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("#define {name} "))).expect(name);
    let (digits, radix) = line.strip_prefix("0x").map_or((line, 10), |hex| (hex, 16));
    i64::from_str_radix(digits, radix).expect(name)
}

#[test]
fn event_kinds_are_the_cores() {
    let cores: Vec<_> = EventKind::ALL.iter().map(|kind| (kind.name().to_owned(), i64::from(*kind as i32))).collect();
    assert_eq!(numbers("ACKBUS_EVENT_"), cores);
}

#[test]
fn log_levels_are_the_cores() {
    let cores: Vec<_> = Level::ALL.iter().map(|level| (format!("{level:?}").to_uppercase(), i64::from(*level as i32))).collect();
    assert_eq!(numbers("ACKBUS_LOG_"), cores);
}

#[test]
fn states_flags_and_persistence_are_the_cores() {
    let states = [State::Connecting, State::Connected, State::Reconnecting, State::Closing, State::Closed, State::Failed];
    let cores: Vec<_> = states.iter().map(|state| (format!("{state:?}").to_uppercase(), i64::from(*state as i32))).collect();
    assert_eq!(numbers("ACKBUS_STATE_"), cores);
    assert_eq!(define("ACKBUS_NOT_PERSISTED"), i64::from(Persistence::NotPersisted as i32));
    assert_eq!(define("ACKBUS_POSSIBLY_PERSISTED"), i64::from(Persistence::PossiblyPersisted as i32));
    assert_eq!(define("ACKBUS_PERSISTED"), i64::from(Persistence::Persisted as i32));
    assert_eq!(define("ACKBUS_REPORT_DUPLICATE"), i64::from(ackbus::REPORT_DUPLICATE));
    assert_eq!(define("ACKBUS_REPORT_EPHEMERAL"), i64::from(ackbus::REPORT_EPHEMERAL));
    assert_eq!(define("ACKBUS_REPORT_MARK"), i64::from(ackbus::REPORT_MARK));
}

#[test]
fn figures_are_the_cores() {
    let mut ours = fields("ackbus_stats");
    assert_eq!(ours.remove(0), "struct_size");
    let mut cores: Vec<_> = Stats::FIELDS.iter().map(|figure| figure.name.to_owned()).collect();
    // The C struct grows at its end only, so the order may come to differ.
    ours.sort();
    cores.sort();
    assert_eq!(ours, cores);
}

/// What a figure counts is said once, in the core's table, and copied word for word.
#[test]
fn figures_are_explained_in_the_cores_words() {
    let c = explained(&read("bindings/c/src/stats.rs"), |line| line.strip_prefix("pub ")?.strip_suffix(": u64,"));
    for figure in Stats::FIELDS {
        assert_eq!(c.get(figure.name), Some(&format!("{} Unit: {}.", figure.meaning, figure.unit)), "{}", figure.name);
    }
}

#[test]
fn metrics_are_the_cores() {
    assert_eq!(define("ACKBUS_METRICS_MAX"), i64::try_from(ackbus::METRICS_MAX).unwrap());
    assert!(header().contains(&format!("#define ACKBUS_METRICS_CONTENT_TYPE {:?}\n", ackbus::METRICS_CONTENT_TYPE)));
}

/// T17: the parts and the whole are all written by hand.
#[test]
fn versions_agree() {
    let parts = ["MAJOR", "MINOR", "PATCH"].map(|part| define(&format!("ACKBUS_VERSION_{part}")));
    assert_eq!(parts.map(|part| part.to_string()).join("."), env!("CARGO_PKG_VERSION"));
    assert_eq!(define("ACKBUS_VERSION"), parts[0] << 16 | parts[1] << 8 | parts[2]);
    assert_eq!(define("ACKBUS_VERSION"), i64::from(ackbus::version()));
    let soname = format!("libackbus.so.{}", define("ACKBUS_ABI_VERSION"));
    assert!(std::fs::read_to_string(crate_dir().join("build.rs")).unwrap().contains(&soname));
}

/// A comment may name an option only if it exists.
#[test]
fn options_in_comments_exist() {
    for option in
        ["on_full", "stall_wait_ms", "report", "msg_id", "delivery_timeout_ms", "ack_wait_ms", "close_timeout_ms", "connect_timeout_ms", "retry_on_connect"]
    {
        assert!(Config::keys().contains(&option), "{option}");
        assert!(header().contains(option), "{option}");
    }
}

/// The header speaks C: nothing of Rust's documentation may be left in it.
#[test]
fn comments_are_for_c() {
    for word in ["[`", "crate::", "Option<", "&str", "# Safety", "# Errors", "Rust's"] {
        assert!(!header().contains(word), "{word}");
    }
}

/// What a field of an event means is said once, in the core, and copied word for word: a C program has nothing else to go by.
#[test]
fn events_are_explained_in_the_cores_words() {
    let core = explained(&read("src/desk/events.rs"), |line| line.split_once(" = ")?.1.split_once(", \"")?.1.strip_suffix("\";"));
    let c = explained(&read("bindings/c/src/event.rs"), |line| line.strip_prefix("pub const ACKBUS_EVENT_")?.split_once(':').map(|(name, _)| name));
    assert_eq!(core.len(), ackbus::EventKind::ALL.len());
    for (name, words) in &core {
        assert_eq!(c.get(name), Some(words), "{name}");
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The doc comment above each line in which `name` finds a name.
fn explained(source: &str, name: impl Fn(&str) -> Option<&str>) -> std::collections::BTreeMap<String, String> {
    let (mut found, mut words) = (std::collections::BTreeMap::new(), Vec::new());
    for line in source.lines().map(str::trim) {
        match line.strip_prefix("/// ") {
            Some(comment) => words.push(comment),
            None => {
                if let Some(name) = name(line) {
                    found.insert(name.to_owned(), words.join(" "));
                }
                words.clear();
            }
        }
    }
    found
}
