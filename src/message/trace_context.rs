//! Trace context: the headers by which a message belongs to a distributed trace (W3C Trace Context, levels 1 and 2).
//!
//! The bus makes no spans and draws no ids; it carries the caller's, and refuses what no reader would understand: a trace that breaks in silence is found too late.

use crate::base::error::Result;
use crate::base::names::{bad_header, invalid, quoted, value_fault};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Version 00 is that long; later ones may be longer.
const USUAL: usize = 55;
/// Room for what later versions may add.
const MAX_TRACEPARENT: usize = 128;
/// What everybody who passes it on must keep (W3C Trace Context, 3.3.1.5); more may get lost on the way.
const MAX_TRACESTATE: usize = 512;

/// The headers of a trace context.
pub(crate) fn headers(traceparent: Option<&str>, tracestate: Option<&str>, mut header: impl FnMut(&str, &str)) {
    if let Some(parent) = traceparent {
        header(TRACEPARENT, parent);
    }
    if let Some(state) = tracestate {
        header(TRACESTATE, state);
    }
}

/// Checks the caller's trace context. `headers` may not say it a second time.
pub(super) fn check(traceparent: Option<&str>, tracestate: Option<&str>, headers: &[(&str, &str)]) -> Result<()> {
    let Some(parent) = traceparent else {
        return match tracestate {
            None => Ok(()),
            Some(_) => Err(invalid("tracestate is given without traceparent, to which it belongs".to_owned())),
        };
    };
    if let Some(fault) = traceparent_fault(parent) {
        return Err(invalid(format!(
            "traceparent {} {fault}; allowed: version-traceid-parentid-flags in lower-case hex, as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            quoted(parent)
        )));
    }
    if let Some(fault) = tracestate.and_then(tracestate_fault) {
        return Err(invalid(format!("tracestate {} {fault}", quoted(tracestate.unwrap_or_default()))));
    }
    let twice = |name: &str| name.eq_ignore_ascii_case(TRACEPARENT) || name.eq_ignore_ascii_case(TRACESTATE);
    match headers.iter().find(|(name, _)| twice(name)) {
        None => Ok(()),
        Some((name, _)) => Err(bad_header(format!("the header {name} is given twice: as a header, and by the field traceparent"))),
    }
}

fn traceparent_fault(text: &str) -> Option<&'static str> {
    if text.len() < USUAL || text.len() > MAX_TRACEPARENT {
        return Some("has the wrong length");
    }
    let mut parts = text.split('-');
    let mut part = |len: usize| parts.next().filter(|part| part.len() == len && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    let (Some(version), Some(trace), Some(parent), Some(_flags)) = (part(2), part(32), part(16), part(2)) else { return Some("is not made of these parts") };
    match version {
        "ff" => return Some("has the version ff, which is forbidden"),
        "00" if text.len() != USUAL => return Some("has the wrong length for version 00"),
        _ => {}
    }
    if trace.bytes().all(|byte| byte == b'0') {
        return Some("has a trace id of zeros");
    }
    if parent.bytes().all(|byte| byte == b'0') {
        return Some("has a parent id of zeros");
    }
    value_fault(text)
}

fn tracestate_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > MAX_TRACESTATE {
        return Some("has a length that is not allowed; allowed: 1 to 512 bytes");
    }
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Some("has a character that is not allowed; allowed: printable ASCII");
    }
    let is_member = |member: &str| member.trim().is_empty() || member.split_once('=').is_some_and(|(key, value)| !key.trim().is_empty() && !value.is_empty());
    if !text.split(',').all(is_member) {
        return Some("is no list; allowed: key=value, with commas between");
    }
    value_fault(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "tests")]

    use super::*;
    use crate::base::error::Status;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_the_recommendation_allows() {
        for parent in [PARENT, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"] {
            assert!(check(Some(parent), None, &[]).is_ok(), "{parent}");
        }
        for state in ["rojo=00f067aa0ba902b7", "rojo=1,congo=t61rcWkgMzE", "a=1, b=2", "tenant@vendor=x"] {
            assert!(check(Some(PARENT), Some(state), &[("other", "1")]).is_ok(), "{state}");
        }
        assert!(check(None, None, &[(TRACEPARENT, "a propagator's own")]).is_ok(), "headers of propagators pass as they are");
    }

    #[test]
    fn what_no_reader_would_understand_is_refused() {
        let wrong = [
            ("", "wrong length"),
            (&PARENT[..54], "wrong length"),
            (&PARENT.to_uppercase(), "parts"),
            (&PARENT.replace('-', "_"), "parts"),
            (&PARENT.replace("00-4", "ff-4"), "forbidden"),
            (&format!("{PARENT}-more"), "version 00"),
            (&PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), "trace id of zeros"),
            (&PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)), "parent id of zeros"),
            (&format!("cc{}-a\r\nb", &PARENT[2..]), "control byte"),
        ];
        for (parent, fault) in wrong {
            let error = check(Some(parent), None, &[]).expect_err(parent);
            assert!(error.status() == Status::InvalidArgument && error.message().contains(fault), "{parent}: {}", error.message());
        }
        for state in ["", "novalue", "=1", "a=", "a=1,b", "a=\u{e9}", "a=1 ", &format!("a={}", "1".repeat(511))] {
            let error = check(Some(PARENT), Some(state), &[]).expect_err(state);
            assert!(error.message().starts_with("tracestate "), "{}", error.message());
        }
        assert!(check(None, Some("a=1"), &[]).expect_err("alone").message().contains("without traceparent"));
        let twice = check(Some(PARENT), None, &[("x", "1"), ("TraceState", "a=1")]).expect_err("twice");
        assert!(twice.status() == Status::InvalidHeader && twice.message().contains("given twice"), "{}", twice.message());
    }
}
