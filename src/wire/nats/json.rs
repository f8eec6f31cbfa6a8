//! JSON as servers write it, taken apart no further than is needed. What nobody needs may have any type, any depth and any size of number; all of it must be JSON.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Gives the name of each member of an object, unescaped, and the text of its value. A name may come twice; one that is no text, as half a surrogate is none,
/// is not given. `None`: the text is no JSON object.
pub(super) fn members<'a>(text: &'a str, take: impl FnMut(&str, &'a str)) -> Option<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    (&mut json).deserialize_map(Members(take)).ok()?;
    json.end().ok()
}

/// A value that is text.
pub(super) fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(value).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// A value that is a whole number, as `N` holds it.
pub(super) fn number<N: FromStr>(value: &str) -> Option<N> {
    value.parse().ok()
}

/// A value that is `true`; all else is not.
pub(super) fn is_true(value: &str) -> bool {
    value == "true"
}

/// The values of a list.
pub(super) fn list(value: &str) -> Option<Vec<&str>> {
    let values: Vec<&RawValue> = serde_json::from_str(value).ok()?;
    Some(values.into_iter().map(RawValue::get).collect())
}

/// Turns the escapes of Go's `%q` that JSON does not have into those that it has: servers print the names in their acks that way. `None`: there are none.
pub(crate) fn from_go(text: &str) -> Option<String> {
    let mut json = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some((before, escape)) = rest.split_once('\\') {
        json.push_str(before);
        let digits = match escape.as_bytes().first()? {
            b'a' => Some((1, 7)),
            b'v' => Some((1, 0x0b)),
            b'x' => Some((3, u32::from_str_radix(escape.get(1..3)?, 16).ok()?)),
            b'U' => Some((9, u32::from_str_radix(escape.get(1..9)?, 16).ok()?)),
            _ => None,
        };
        let length = if let Some((length, code)) = digits {
            changed = true;
            match char::from_u32(code)? {
                c if code <= 0xffff => json.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => json.push(c),
            }
            length
        } else {
            let length = escape.chars().next()?.len_utf8();
            json.push('\\');
            json.push_str(escape.get(..length)?);
            length
        };
        rest = escape.get(length..)?;
    }
    json.push_str(rest);
    changed.then_some(json)
}

struct Members<F>(F);

impl<'a, F: FnMut(&str, &'a str)> Visitor<'a> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            if let Some(name) = string(name.get()) {
                (self.0)(&name, value.get());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, String)>> {
        let mut found = Vec::new();
        members(text, |name, value| found.push((name.to_owned(), value.to_owned())))?;
        Some(found)
    }

    #[test]
    fn members_of_any_shape() {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        for (name, value) in [
            ("a", "1"),
            ("a", "-1.5e+400"),
            ("a", "null"),
            ("a", "\"\\ud800\""),
            ("a", "{\"b\":{\"c\":[1,\"}\"]}}"),
            ("\\u0061", "true"),
            ("", "[]"),
            ("a", &deep),
        ] {
            let text = format!(" {{ \"{name}\"\t:\r\n {value} , \"z\":0}}\n");
            assert_eq!(read(&text).unwrap()[0], (name.replace("\\u0061", "a"), value.to_owned()), "{}", &text[..20.min(text.len())]);
        }
        assert_eq!(read(r#"{"\ud800":1,"a":2}"#).unwrap(), [("a".to_owned(), "2".to_owned())]);
        assert_eq!(read(r#"{"a":1,"a":2}"#).unwrap().len(), 2);
        assert_eq!(read("{}").unwrap().len(), 0);
        for text in [
            "",
            "1",
            "[]",
            "null",
            "{",
            "{}}",
            "{\"a\":01}",
            "{\"a\":tru}",
            "{\"a\u{1}\":1}",
            "{\"a\t\":1}",
            "{\"a\n\":1}",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":\"\\x41\"}",
            "{a:1}",
            "{\"a\":1,}",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn values() {
        assert_eq!(string(r#""ü""#).unwrap(), "ü");
        assert_eq!(string(r#""\"\ud83d\ude80\u00a0""#).unwrap(), "\"🚀\u{a0}");
        for value in [r#""\ud800""#, "1", "null", "[]"] {
            assert_eq!(string(value), None, "{value}");
        }
        assert_eq!((number("18446744073709551615"), number::<u64>("18446744073709551616"), number::<u64>("-1")), (Some(u64::MAX), None, None));
        assert_eq!((number::<u64>("\"1\""), number::<u64>("1.5"), is_true("true"), is_true("1"), is_true("\"true\"")), (None, None, true, false, false));
        assert_eq!(list(r#"["a", {"b":1}]"#).unwrap(), ["\"a\"", "{\"b\":1}"]);
        assert_eq!((list("null"), list("{}")), (None, None));
    }

    #[test]
    fn the_escapes_of_go() {
        assert_eq!(from_go(r#"{"a":"\U0001fae9\x7f\v\\x41\"\u00a0\a"}"#).unwrap(), "{\"a\":\"🫩\\u007f\\u000b\\\\x41\\\"\\u00a0\\u0007\"}");
        for text in ["", "{}", r#"{"a":"\\U0001fae9"}"#, r"\", r"\U0001", r"\x", r"\xé", r"\U0000d800", r"\Uffffffff", "\\ü"] {
            assert_eq!(from_go(text), None, "{text}");
        }
    }
}
