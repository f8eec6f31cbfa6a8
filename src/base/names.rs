//! Names: what topics, streams and header values may be, and how a caller's text appears in errors.

use crate::base::error::{Error, Result, Status};

/// The longest topic in bytes. The server reads control lines of 4,096 bytes; the reply inbox and the lengths need the rest.
pub(crate) const MAX_TOPIC: usize = 3_800;

/// What a byte may mean in a subject; 0 for most.
const DOT: u8 = 1;
const SUSPECT: u8 = 2;

const SUBJECT: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte <= b' ' as usize {
        table[byte] = SUSPECT;
        byte += 1;
    }
    table[0x7f] = SUSPECT;
    table[b'*' as usize] = SUSPECT;
    table[b'>' as usize] = SUSPECT;
    table[b'.' as usize] = DOT;
    table
};

/// What is wrong with a subject, if anything. With `wildcards`, `*` may be a token and `>` the last one; inside a longer token both are plain, as for the server.
pub(crate) fn subject_fault(subject: &str, wildcards: bool) -> Option<&'static str> {
    // Nearly every subject is plain, and every publish asks: one look-up for each byte and one branch at the end.
    let mut last = DOT;
    let mut found = 0;
    for &byte in subject.as_bytes() {
        let class = SUBJECT[usize::from(byte)];
        // A dot counts behind another dot, the beginning or before the end: there it bounds an empty token.
        found |= class & (SUSPECT | last);
        last = class;
    }
    if found == 0 && last != DOT { None } else { careful_subject_fault(subject, wildcards) }
}

#[cold]
fn careful_subject_fault(subject: &str, wildcards: bool) -> Option<&'static str> {
    if subject.is_empty() {
        return Some("is empty");
    }
    if subject.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Some("has a blank or control byte");
    }
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            "" => return Some("has an empty token"),
            "*" | ">" if !wildcards => return Some("has a wildcard"),
            ">" if tokens.peek().is_some() => return Some("has `>` before its end"),
            _ => {}
        }
    }
    None
}

/// What is wrong with a header's value, if anything.
pub(crate) fn value_fault(value: &str) -> Option<&'static str> {
    let bytes = value.as_bytes();
    if bytes.iter().any(u8::is_ascii_control) {
        return Some("has a control byte; allowed: text without any");
    }
    // Servers and clients skip them when they read, so the value would arrive changed.
    if bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ') {
        return Some("begins or ends with a blank, which would be lost");
    }
    None
}

pub(crate) const STREAM_ALLOWED: &str = "1 to 255 bytes without blanks, control bytes, dots, wildcards and path separators";

/// Checks the name of a stream; `field` and `status` say where it came from.
pub(crate) fn check_stream_name(field: &str, name: &str, status: Status) -> Result<()> {
    match stream_fault(name) {
        None => Ok(()),
        Some(fault) => Err(Error::new(status, format!("{field} {} {fault}; allowed: {STREAM_ALLOWED}", quoted(name)))),
    }
}

/// Whether a stream can have this name.
pub(crate) fn is_stream_name(name: &str) -> bool {
    stream_fault(name).is_none()
}

fn stream_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty");
    }
    if name.len() > 255 {
        return Some("is too long");
    }
    // The server makes a directory of the name.
    let bad = name.bytes().any(|byte| byte <= b' ' || byte == 0x7f || matches!(byte, b'.' | b'*' | b'>' | b'/' | b'\\'));
    bad.then_some("has a byte that is not allowed")
}

#[cold]
pub(crate) fn bad_header(text: String) -> Error {
    Error::new(Status::InvalidHeader, text)
}

#[cold]
pub(crate) fn invalid(text: String) -> Error {
    Error::new(Status::InvalidArgument, text)
}

/// A caller's text as it appears in errors: in quotes, escaped, and cut when long.
#[cold]
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}
