#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::base::error::Status;
use crate::base::level::Level;
use crate::config::servers::Servers;
use crate::config::settings::{MsgIdMode, OnDisconnect, OnFull, OnNoStream, ReportMode};

fn config(options: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    for (key, value) in options {
        config.set(key, value).unwrap();
    }
    config
}

fn refused(key: &str, value: &str) -> String {
    let mut config = Config::new();
    let before = format!("{config:?}");
    let error = config.set(key, value).expect_err(&format!("{key}={value}"));
    assert_eq!(error.status(), Status::InvalidOption, "{key}={value}");
    assert_eq!(format!("{config:?}"), before, "{key}={value} is refused and changes nothing");
    error.message().to_owned()
}

fn conflict(options: &[(&str, &str)]) -> String {
    let error = config(options).settings().expect_err(&format!("{options:?}"));
    assert_eq!(error.status(), Status::InvalidOption);
    error.message().to_owned()
}

#[test]
fn defaults_are_those_of_the_design() {
    let settings = Config::new().settings().unwrap();
    let ms = Duration::from_millis;
    assert_eq!(settings.servers.to_string(), "nats://127.0.0.1:4222");
    assert_eq!((settings.name.as_str(), settings.inbox_prefix.as_str(), settings.jetstream_domain), ("ackbus", "_INBOX", None));
    assert!(settings.auth.token.is_none() && settings.auth.user.is_none() && settings.auth.password.is_none() && settings.auth.credentials.is_none());
    assert!(settings.auth.credentials_file.is_none() && settings.auth.nkey_seed.is_none() && settings.auth.nkey_seed_file.is_none());
    assert!(!settings.tls.required && !settings.tls.first && settings.tls.ca_file.is_none() && settings.tls.server_name.is_none());
    assert_eq!((settings.max_pending, settings.max_pending_bytes, settings.gate_share), (10_000, 134_217_728, 75));
    assert_eq!((settings.on_full, settings.stall_wait), (OnFull::Block, None));
    assert_eq!((settings.ack_wait, settings.delivery_timeout, settings.max_attempts), (ms(5_000), ms(60_000), 0));
    assert_eq!((settings.retry_backoff, settings.retry_backoff_max), (ms(100), ms(2_000)));
    assert_eq!((settings.msg_id, settings.on_no_stream, settings.on_disconnect), (MsgIdMode::Auto, OnNoStream::Fail, OnDisconnect::Wait));
    assert!(!settings.resend_without_msg_id && !settings.retry_stream_full && !settings.retry_on_connect && settings.discover_servers);
    assert_eq!((settings.assume_duplicate_window, settings.connect_timeout), (ms(120_000), ms(5_000)));
    assert_eq!((settings.reconnect_wait, settings.max_reconnects, settings.ping_interval), (ms(50), None, ms(5_000)));
    assert_eq!((settings.report, settings.event_queue, settings.pending_warn), (ReportMode::Failures, 1_024, 5_000));
    assert_eq!((settings.monitor_interval, settings.close_timeout), (ms(10_000), ms(30_000)));
    assert!(matches!(settings.log_level, Level::Warn));
}

#[test]
fn every_option_takes_its_default_and_gives_it_back() {
    let mut config = Config::new();
    for key in Config::keys() {
        let default = config.get(key).unwrap();
        config.set(key, &default).unwrap_or_else(|error| panic!("{key}={default}: {error}"));
        assert_eq!(config.get(key).unwrap(), default, "{key}");
    }
    config.settings().unwrap();
}

#[test]
fn every_row_is_documented_and_unique() {
    let (options, topics) = (Config::keys(), Config::topic_keys());
    assert_eq!((options.len(), topics.len()), (46, 13));
    for (keys, rows) in [
        (options, OPTIONS.iter().map(|row| (row.key, row.doc, row.allowed())).collect::<Vec<_>>()),
        (topics, TOPIC_KEYS.iter().map(|row| (row.key, row.doc, row.allowed())).collect()),
    ] {
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{key} is there twice");
        }
        for (key, doc, allowed) in rows {
            assert!(doc.ends_with('.') && !allowed.is_empty(), "{key} is not documented");
            assert!(!doc.contains('|') && !allowed.contains('|'), "{key} would break the table in the docs");
        }
    }
}

#[test]
fn values_reach_the_settings() {
    let settings = config(&[
        ("servers", "tls://a:1, b"),
        ("name", "billing"),
        ("max_pending", "7"),
        ("on_full", "fail"),
        ("stall_wait_ms", "0"),
        ("max_reconnects", "3"),
        ("msg_id", "caller"),
        ("discover_servers", "false"),
        ("report", "all"),
        ("log_level", "trace"),
        ("jetstream_domain", "leaf"),
        ("close_timeout_ms", "0"),
    ])
    .settings()
    .unwrap();
    assert_eq!(settings.servers.to_string(), "tls://a:1,nats://b:4222");
    assert_eq!((settings.name.as_str(), settings.max_pending, settings.pending_warn), ("billing", 7, 3), "pending_warn follows max_pending");
    assert_eq!((settings.on_full, settings.stall_wait, settings.max_reconnects), (OnFull::Fail, Some(Duration::ZERO), Some(3)));
    assert_eq!((settings.msg_id, settings.report, settings.discover_servers), (MsgIdMode::Caller, ReportMode::All, false));
    assert_eq!((settings.jetstream_domain.as_deref(), settings.close_timeout), (Some("leaf"), Duration::ZERO));
    assert!(matches!(settings.log_level, Level::Trace));
    assert_eq!(config(&[("max_pending", "1")]).settings().unwrap().pending_warn, 1);
    assert_eq!(config(&[("pending_warn", "9")]).settings().unwrap().pending_warn, 9);
    assert!(matches!(config(&[("servers", "memory:")]).settings().unwrap().servers, Servers::Memory));
}

#[test]
fn an_empty_value_takes_an_optional_text_back() {
    let mut config = config(&[("tls_ca_file", "/ca.pem"), ("token", "t"), ("jetstream_domain", "hub")]);
    for key in ["tls_ca_file", "token", "jetstream_domain"] {
        assert_eq!(config.set(key, "").unwrap().get(key).unwrap(), "");
    }
    let settings = config.settings().unwrap();
    assert!(settings.tls.ca_file.is_none() && settings.auth.token.is_none() && settings.jetstream_domain.is_none());
}

#[test]
fn ranges_are_kept_at_both_ends() {
    for (key, good, bad) in [
        ("max_pending", &["1", "1000000"][..], &["0", "1000001", "-1", "", "1e3", " 1", "18446744073709551616"][..]),
        ("max_pending_bytes", &["1024", "68719476736"], &["1023", "68719476737"]),
        ("stall_wait_ms", &["-1", "0", "86400000"], &["-2", "86400001", ""]),
        ("max_reconnects", &["-1", "0"], &["-2", "many"]),
        ("ack_wait_ms", &["1"], &["0"]),
        ("gate_share", &["1", "100"], &["0", "101"]),
        ("delivery_timeout_ms", &["1", "2592000000"], &["0", "2592000001"]),
        ("assume_duplicate_window_ms", &["0"], &["-1"]),
        ("on_full", &["block", "fail"], &["", "Block", "wait"]),
        ("tls_required", &["true", "false"], &["", "yes", "1", "True"]),
        ("log_level", &["off", "trace"], &["warning", "5"]),
        ("name", &["x"], &["", "a\nb", &"n".repeat(257)]),
        (
            "inbox_prefix",
            &["_INBOX", "_INBOX.svc.7", "inbox"],
            &["", "a..b", "a.", "a.>", "*", "a b", "$JS.x", "$JS", "_R_", "_R_.a", "_GR_.a", &"i".repeat(129)],
        ),
        ("jetstream_domain", &["hub"], &["a.b", "*", ">", "a b"]),
        ("tls_server_name", &["a.example", "10.0.0.1", "::1"], &["a b", "a/b"]),
        ("tls_ca_file", &["/a b/ca.pem"], &["a\0b"]),
        ("servers", &["memory:", "a,b:1"], &["", "http://a", "a,memory:"]),
    ] {
        for value in good {
            assert!(Config::new().set(key, value).is_ok(), "{key}={value}");
        }
        for value in bad {
            let text = refused(key, value);
            assert!(text.starts_with(&format!("{key}: ")), "{text}");
        }
    }
}

#[test]
fn refusals_name_key_value_and_what_is_allowed() {
    assert_eq!(refused("max_pending", "0"), "max_pending: \"0\" is not allowed; allowed: 1 to 1,000,000 messages");
    assert_eq!(refused("stall_wait_ms", "soon"), "stall_wait_ms: \"soon\" is not allowed; allowed: 0 to 86,400,000 ms, or -1 = no limit");
    assert_eq!(refused("on_full", "drop"), "on_full: \"drop\" is not allowed; allowed: one of block, fail");
    assert!(refused("name", &format!("\n{}", "x".repeat(500))).contains("\"\\n"), "escaped");
    assert!(refused("on_full", &"x".repeat(5_000)).len() < 200, "and cut");
}

#[test]
fn unknown_keys_suggest_the_nearest() {
    for (key, near) in [
        ("max_pendng", Some("max_pending")),
        ("MAX_PENDING", Some("max_pending")),
        ("ack-wait-ms", Some("ack_wait_ms")),
        ("server", Some("servers")),
        ("pasword", Some("password")),
        ("nkey_sed", Some("nkey_seed")),
        ("on_fule", Some("on_full")),
        ("", None),
        ("qwertzuiop", None),
        (&"x".repeat(100_000), None),
    ] {
        let text = refused(key, "secret");
        let hint = near.map(|near| format!("did you mean {near:?}?"));
        assert!(hint.as_ref().map_or(!text.contains("did you mean"), |hint| text.contains(hint)), "{text}");
        assert!(!text.contains("secret") && text.len() < 200, "{text}");
        assert_eq!(Config::new().get(key).unwrap_err().message(), text);
    }
    let error = Config::new().set_topic("a", "steam", "S").unwrap_err();
    assert_eq!(error.message(), "unknown topic key \"steam\"; did you mean \"stream\"?");
}

#[test]
fn secrets_are_used_and_never_printed() {
    let seed = nkeys::KeyPair::new_user().seed().unwrap();
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\nhush-jwt\n------END NATS USER JWT------\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    let mut shown = String::new();
    for (key, value) in [("token", "hush"), ("user", "hush"), ("password", "hush"), ("credentials", &credentials), ("nkey_seed", &seed)] {
        let config = config(&[(key, value)]);
        assert_eq!(config.get(key).unwrap(), "***");
        shown += &format!("{config:?} {:?} {:?}", config.settings, config.settings());
    }
    let with_url = config(&[("servers", "nats://hush:hush-too@h:1,tls://hush@i:2")]);
    assert_eq!(with_url.get("servers").unwrap(), "nats://h:1,tls://i:2");
    let Servers::Nats(servers) = with_url.settings().unwrap().servers else { panic!("two servers") };
    assert_eq!(servers[0].password.as_ref().unwrap().expose(), "hush-too");
    shown += &format!("{with_url:?} {:?}", with_url.settings());
    for (key, value) in [("token", "hush\n"), ("credentials", "hush"), ("nkey_seed", "SUhush"), ("servers", "nats://u:hush@h:99999")] {
        shown += &refused(key, value);
    }
    for options in [&[("token", "hush"), ("user", "hush"), ("password", "hush")][..], &[("password", "hush")], &[("token", "hush"), ("servers", "hush@h")]] {
        shown += &conflict(options);
    }
    assert!(!shown.contains("hush") && !shown.contains(seed.as_str()), "{shown}");
}

#[test]
fn options_that_exclude_each_other_are_refused_at_the_connect() {
    for (options, part) in [
        (&[("user", "u")][..], "user is given without password"),
        (&[("password", "p")], "password is given without user"),
        (&[("tls_cert_file", "c")], "tls_cert_file is given without tls_key_file"),
        (&[("tls_key_file", "k")], "tls_key_file is given without tls_cert_file"),
        (&[("token", "t"), ("user", "u"), ("password", "p")], "token, user with password"),
        (&[("token", "t"), ("nkey_seed_file", "n")], "token, nkey_seed"),
        (&[("credentials_file", "f"), ("servers", "u:p@h")], "credentials, a server URL"),
        (&[("retry_backoff_ms", "3000")], "retry_backoff_ms is 3000 and retry_backoff_max_ms is 2000"),
        (&[("tls_required", "false"), ("tls_ca_file", "f")], "tls_ca_file asks for TLS"),
    ] {
        let text = conflict(options);
        assert!(text.contains(part), "{text}");
    }
    let seed = nkeys::KeyPair::new_user().seed().unwrap();
    assert!(conflict(&[("nkey_seed", &seed), ("nkey_seed_file", "f")]).contains("the text or the file"));
    let jwt = "BEGIN NATS USER JWT BEGIN USER NKEY SEED";
    assert!(conflict(&[("credentials", jwt), ("credentials_file", "f")]).contains("the text or the file"));

    for options in [
        &[("user", "u"), ("password", "p")][..],
        &[("token", "t"), ("tls_cert_file", "c"), ("tls_key_file", "k")],
        &[("delivery_timeout_ms", "1"), ("ack_wait_ms", "3600000")],
        &[("retry_backoff_ms", "3000"), ("retry_backoff_max_ms", "3000")],
    ] {
        config(options).settings().unwrap();
    }
}

#[test]
fn every_tls_option_asks_for_tls() {
    for options in [&[("tls_ca_file", "f")][..], &[("tls_cert_file", "c"), ("tls_key_file", "k")], &[("tls_server_name", "n")], &[("tls_first", "true")]] {
        assert!(config(options).settings().unwrap().tls.required, "{options:?}");
    }
    assert!(!config(&[("tls_first", "false")]).settings().unwrap().tls.required);
}

#[test]
fn topic_rules_are_checked_at_the_connect() {
    let mut config = Config::new();
    config.set_topic("orders.>", "create", "if_missing").unwrap();
    assert!(config.settings().unwrap_err().message().contains("create=if_missing needs stream"));
    config.set_topic("orders.>", "stream", "ORDERS").unwrap();
    config.settings().unwrap();
    assert_eq!(config.rules().matching("orders.new").stream.as_deref(), Some("ORDERS"));
}

/// Whatever is set, refused or not: nothing panics, and what was taken is given back.
#[test]
fn any_text_is_taken_or_refused() {
    let pieces =
        ["-1", "0", "1", "9", "true", "block", "nats://", "a", ":", "@", ",", ".", "*", ">", " ", "\n", "\0", "é", "$JS.", "_R_", "memory:", "%4", "SU"];
    let mut state = 7_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut config = Config::new();
    for _ in 0..20_000 {
        let key = Config::keys()[random(Config::keys().len())];
        let value: String = (0..random(4)).map(|_| pieces[random(pieces.len())]).collect();
        let before = config.get(key).unwrap();
        let taken = config.set(key, &value).is_ok();
        let after = config.get(key).unwrap();
        match (taken, key) {
            (false, _) => assert_eq!(after, before, "{key}={value:?}"),
            (true, "servers") => assert!(!after.contains('@'), "{value:?} gives {after:?}"),
            (true, "token" | "user" | "password" | "credentials" | "nkey_seed") => assert_eq!(after, if value.is_empty() { "" } else { "***" }),
            (true, _) => assert_eq!(after, value, "{key}"),
        }
        let _ = config.settings();
    }
}

#[test]
fn configuration_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
    if std::env::var_os("ACKBUS_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(&path, Config::reference()).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == Config::reference(),
        "docs/CONFIGURATION.md is behind the tables; write it with ACKBUS_BLESS=1 cargo test -p ackbus configuration_reference"
    );
}
