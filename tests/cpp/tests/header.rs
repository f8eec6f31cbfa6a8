//! The headers as text: each stands alone, mirrors `ackbus.h`, and refuses at compile time what can be refused there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod cpp;
#[path = "../../../bindings/c/tests/native/mod.rs"]
mod native;

use std::path::PathBuf;

use cpp::{GCC_17, check_syntax, clang, dialects};
use native::{project, scratch};

/// `ackbus.hpp` and the parts that it includes, as users include them.
fn headers() -> Vec<String> {
    let mut parts: Vec<_> = std::fs::read_dir(project().join("include/ackbus"))
        .unwrap()
        .map(|entry| format!("ackbus/{}", entry.unwrap().file_name().into_string().unwrap()))
        .collect();
    parts.sort();
    parts.push("ackbus.hpp".to_owned());
    parts
}

fn text(path: &str) -> String {
    std::fs::read_to_string(project().join("include").join(path)).unwrap()
}

#[test]
fn every_header_stands_alone() {
    let headers = headers();
    assert!(headers.len() > 10, "{headers:?}");
    for header in &headers {
        let source = scratch("alone").join(format!("{}.cpp", header.replace('/', "_")));
        std::fs::write(&source, format!("#include <{header}>\n#include <{header}>\n")).unwrap();
        // The umbrella everywhere; its parts, which take as long each, with one. Users' flags may be stricter than ours.
        let all = if header == "ackbus.hpp" { dialects() } else { vec![GCC_17] };
        for dialect in all {
            check_syntax(dialect, &source, &["-Wshadow", "-Wconversion", "-Wnon-virtual-dtor"]).succeeded();
        }
    }
}

/// T16: the enumerators have the numbers of `ackbus.h` by name, so only one that is missing, or one too many, can be wrong.
#[test]
fn enumerations_mirror_the_c_header() {
    let (c, mirror) = (text("ackbus.h"), text("ackbus/status.hpp"));
    for prefix in ["ACKBUS_ERR_", "ACKBUS_EVENT_", "ACKBUS_STATE_", "ACKBUS_LOG_"] {
        let defined: Vec<_> = c
            .lines()
            .filter_map(|line| line.strip_prefix("#define ")?.strip_prefix(prefix)?.split_once(' '))
            .map(|(name, _)| format!("{} = {prefix}{name},", name.to_lowercase()))
            .collect();
        let mirrored: Vec<_> = mirror.lines().map(str::trim).filter(|line| line.contains(&format!(" = {prefix}"))).map(str::to_owned).collect();
        assert!(defined.len() > 5);
        assert_eq!(mirrored, defined);
    }
    assert!(mirror.contains("ok = ACKBUS_OK,"));
}

/// What the C API offers and C++ does not call is a hole, unless it is listed here with the reason.
#[test]
fn every_c_function_has_its_place() {
    const NOT_CALLED: [&str; 13] = [
        "ackbus_version", // the C functions serve C++ as they are
        "ackbus_abi_version",
        "ackbus_config_key",
        "ackbus_config_topic_key",
        "ackbus_callback_enter",
        "ackbus_callback_leave",
        "ackbus_in_callback",
        "ackbus_check_abi_",   // through its macro
        "ackbus_error_status", // the call's result says it
        "ackbus_str_of",       // C's helpers
        "ackbus_report_at",
        "ackbus_event_at",
        "ackbus_publisher_publish_packed", // for cgo
    ];
    let whole: String = headers().iter().map(|header| text(header)).collect();
    let c = text("ackbus.h");
    let functions = c
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()) && !line.starts_with("typedef") && !line.starts_with("template"))
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("ackbus_") && !NOT_CALLED.contains(name));
    let mut count = 0;
    for function in functions {
        count += 1;
        assert!(whole.contains(function), "{function} is not in the C++ headers");
    }
    assert!(count > 30);
}

/// A body that must not compile, and the same without the fault.
struct Probe {
    name: &'static str,
    wrong: &'static str,
    /// Any of these: gcc and clang have their own words.
    says: &'static [&'static str],
    right: &'static str,
}

const PROBES: &[Probe] = &[
    Probe { name: "a publisher is not copied", wrong: "ackbus::publisher b(a);", says: &["deleted"], right: "ackbus::publisher b(std::move(a));" },
    Probe {
        name: "a publisher is not copy-assigned",
        wrong: "ackbus::publisher b; b = a;",
        says: &["deleted"],
        right: "ackbus::publisher b; b = std::move(a);",
    },
    Probe { name: "reports are not copied", wrong: "auto x = a.poll(1); auto y = x;", says: &["deleted"], right: "auto x = a.poll(1); auto y = std::move(x);" },
    Probe {
        name: "events are not copied",
        wrong: "auto x = a.poll_events(1); auto y = x;",
        says: &["deleted"],
        right: "auto x = a.poll_events(1); auto y = std::move(x);",
    },
    Probe {
        name: "a publisher is not thrown away",
        wrong: "ackbus::publisher::connect({});",
        says: &["nodiscard"],
        right: "a = ackbus::publisher::connect({});",
    },
    Probe { name: "a future is not thrown away", wrong: "a.submit(\"t\", \"\");", says: &["nodiscard"], right: "a.submit(\"t\", \"\").get();" },
    Probe {
        name: "polled reports are not thrown away",
        wrong: "a.poll(1);",
        says: &["nodiscard"],
        right: "for (auto r : a.poll(1)) a.publish(r.topic(), r.payload());",
    },
    Probe {
        name: "a number is no payload",
        wrong: "a.publish(\"t\", 5);",
        says: &["no matching", "cannot convert", "could not convert", "no viable conversion"],
        right: "a.publish(\"t\", \"5\");",
    },
    Probe { name: "null is no payload", wrong: "a.publish(\"t\", nullptr);", says: &["deleted"], right: "a.publish(\"t\", {});" },
    Probe {
        name: "a length is no tag",
        wrong: "const char *data = \"x\"; a.publish(\"t\", data, 1);",
        says: &["no matching", "cannot convert", "could not convert", "no viable conversion"],
        right: "const char *data = \"x\"; a.publish(\"t\", {data, 1}, ackbus::tag(1));",
    },
    Probe {
        name: "an array of ints is no payload",
        wrong: "std::vector<int> v; a.publish(\"t\", v);",
        says: &["no matching", "cannot convert", "could not convert", "no viable conversion"],
        right: "std::vector<char> v; a.publish(\"t\", v);",
    },
    Probe {
        name: "a number is no timeout",
        wrong: "a.flush(10);",
        says: &["no matching", "cannot convert", "could not convert", "no viable conversion"],
        right: "a.flush(std::chrono::seconds(10));",
    },
    Probe {
        name: "an option has whole milliseconds",
        wrong: "ackbus::config().set(\"ack_wait_ms\", std::chrono::microseconds(1));",
        says: &["options have whole milliseconds"],
        right: "ackbus::config().set(\"ack_wait_ms\", std::chrono::seconds(1));",
    },
    Probe {
        name: "an option has whole numbers",
        wrong: "ackbus::config().set(\"max_pending\", 1.5);",
        says: &["options have whole numbers"],
        right: "ackbus::config().set(\"max_pending\", 15);",
    },
];

/// All bodies in one source, since each compilation reads the standard library again. `#line` gives each probe a file name of its own for the compiler's words.
fn all_in_one(name: &str, body: impl Fn(&Probe) -> &'static str) -> PathBuf {
    let mut text = "#include <ackbus.hpp>\n#include <utility>\n#include <vector>\nstruct probes {\n".to_owned();
    for (number, probe) in PROBES.iter().enumerate() {
        text += &format!("#line 1 \"{}\"\nvoid probe_{number}(ackbus::publisher a) {{ {} }}\n", probe.name, body(probe));
    }
    let path = scratch("probes").join(name);
    std::fs::write(&path, text + "};\n").unwrap();
    path
}

#[test]
fn what_is_wrong_does_not_compile() {
    let wrong = all_in_one("wrong.cpp", |probe| probe.wrong);
    for dialect in [Some(GCC_17), clang("c++20")].into_iter().flatten() {
        let no_limit = if dialect.compiler.starts_with("clang") { "-ferror-limit=0" } else { "-fmax-errors=0" };
        let said = check_syntax(dialect, &wrong, &[no_limit]).stderr;
        for probe in PROBES {
            // A failing static_assert is told where it stands, and then the place that asked for it.
            let here = |words: &str| said.lines().any(|line| line.contains(probe.name) && line.contains(words));
            let there = |words: &str| said.lines().any(|line| line.contains("static_assert") | line.contains("static assertion") && line.contains(words));
            let told = probe.says.iter().any(|words| here(words) || there(words) && here("here"));
            assert!(told, "{dialect:?}: {}: not refused, or for another reason:\n{said}", probe.name);
        }
    }
    // A probe that fails for another reason proves nothing: without its fault each one compiles.
    check_syntax(GCC_17, &all_in_one("right.cpp", |probe| probe.right), &["-Wno-unused-variable", "-Wno-unused-parameter"]).succeeded();
}
