//! Which change of the ABI is an addition, and which one breaks a program that was compiled before.

use std::collections::BTreeMap;

/// An ABI as its baseline has it: a line is `KIND NAME: WHAT IT IS`.
pub(crate) type Lines = BTreeMap<String, String>;

/// What changed, for people.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) breaks: Vec<String>,
    pub(crate) additions: Vec<String>,
}

pub(crate) fn lines(text: &str) -> Lines {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no line of a baseline: {line}")))
        .map(|(key, is)| (key.to_owned(), is.to_owned()))
        .collect()
}

pub(crate) fn compare(old: &Lines, new: &Lines) -> Changes {
    let mut changes = Changes::default();
    for (key, was) in old {
        let kind = key.split(' ').next().unwrap();
        match new.get(key) {
            None => changes.breaks.push(format!("{key} is gone: {}", whom(kind, true))),
            Some(is) if is == was => {}
            Some(is) if kind == "struct" && grew(was, is) => changes.additions.push(format!("{key}: {was}; now {is}")),
            Some(is) => changes.breaks.push(format!("{key} was \"{was}\" and is \"{is}\": {}", whom(kind, false))),
        }
    }
    for (key, is) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        match misplaced(old, key, is) {
            Some(why) => changes.breaks.push(format!("{key} ({is}) is new, {why}")),
            None => changes.additions.push(format!("{key}: {is}")),
        }
    }
    changes
}

/// What happens to whom.
fn whom(kind: &str, gone: bool) -> &'static str {
    match (kind, gone) {
        ("function", true) => "C, C++ and Go programs that call it no longer start",
        ("function", false) => "C, C++ and Go programs that call it pass and expect something else",
        ("callback", _) => "functions in C, C++ and Go programs that are called through it take something else",
        ("struct" | "field", _) => "C, C++ and Go programs read and write other bytes than the library",
        ("constant", true) => "programs that name it no longer compile, and those that have its value say something unknown",
        ("constant", false) => "C, C++ and Go programs have the old value compiled in",
        ("library", _) => "no program that was linked before finds or understands the library",
        _ => "programs that name it no longer compile, or mean something else by it",
    }
}

/// Structs grow at their end, as their size or their stride tells the other side.
fn grew(was: &str, is: &str) -> bool {
    // "160 bytes, aligned to 8, grows at its end"
    let parts = |text: &str| text.split_once(" bytes, ").map(|(size, rest)| (size.parse::<usize>().unwrap(), rest.to_owned()));
    match (parts(was), parts(is)) {
        (Some((before, rest)), Some((now, other))) => now > before && rest == other && rest.ends_with(GROWS),
        _ => false,
    }
}

pub(crate) const GROWS: &str = "grows at its end";

/// Why this new line is no addition.
fn misplaced(old: &Lines, key: &str, is: &str) -> Option<String> {
    let of = key.strip_prefix("field ")?.split_once('.')?.0;
    let whole = old.get(&format!("struct {of}"))?;
    let size: usize = whole.split(' ').next()?.parse().ok()?;
    let at: usize = is.strip_prefix("at ")?.split(',').next()?.parse().ok()?;
    if !whole.ends_with(GROWS) {
        return Some(format!("but {of} cannot grow: neither its size nor a stride is told to the other side"));
    }
    // Padding counts: the other side's struct_size says that it knows these bytes, and it never wrote them.
    (at < size).then(|| format!("but it lies inside the {size} bytes that older programs know: add it behind them"))
}

#[cfg(test)]
mod tests {
    use super::{Changes, compare, lines};

    const OLD: &str = "\
# a comment

library soname: libackbus.so.0
function ackbus_a: int (void)
struct ackbus_grows: 24 bytes, aligned to 8, grows at its end
field ackbus_grows.struct_size: at 0, 8 bytes, size_t
field ackbus_grows.b: at 8, 8 bytes, uint64_t
field ackbus_grows.c: at 16, 4 bytes, uint32_t
struct ackbus_fixed: 8 bytes, aligned to 8
field ackbus_fixed.d: at 0, 8 bytes, uint64_t
constant ACKBUS_E: 1
";

    /// What comes of the ABI above with these words in place of those.
    fn changed(replacements: &[(&str, &str)]) -> Changes {
        let new = replacements.iter().fold(OLD.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        compare(&lines(OLD), &lines(&new))
    }

    fn breaks(replacements: &[(&str, &str)]) -> Vec<String> {
        let changes = changed(replacements);
        assert_eq!(changes.additions, Vec::<String>::new());
        changes.breaks
    }

    fn additions(replacements: &[(&str, &str)]) -> Vec<String> {
        let changes = changed(replacements);
        assert_eq!(changes.breaks, Vec::<String>::new());
        changes.additions
    }

    #[test]
    fn the_same_is_no_change() {
        assert_eq!(changed(&[]), Changes::default());
    }

    #[test]
    fn what_is_new_is_an_addition() {
        assert_eq!(additions(&[("constant ACKBUS_E: 1", "constant ACKBUS_E: 1\nconstant ACKBUS_F: 2")]), ["constant ACKBUS_F: 2"]);
        assert_eq!(additions(&[("function ackbus_a", "function ackbus_b: int (int)\nfunction ackbus_a")]), ["function ackbus_b: int (int)"]);
    }

    #[test]
    fn what_is_gone_breaks_programs() {
        assert_eq!(breaks(&[("function ackbus_a: int (void)\n", "")]), ["function ackbus_a is gone: C, C++ and Go programs that call it no longer start"]);
        assert_eq!(breaks(&[("constant ACKBUS_E: 1\n", "")]).len(), 1);
        assert_eq!(breaks(&[("field ackbus_fixed.d: at 0, 8 bytes, uint64_t\n", "")]).len(), 1);
    }

    #[test]
    fn what_changed_breaks_programs() {
        assert_eq!(
            breaks(&[("ACKBUS_E: 1", "ACKBUS_E: 2")]),
            ["constant ACKBUS_E was \"1\" and is \"2\": C, C++ and Go programs have the old value compiled in"]
        );
        assert_eq!(breaks(&[("int (void)", "int (int)")]).len(), 1);
        assert_eq!(breaks(&[("libackbus.so.0", "libackbus.so.1")]).len(), 1);
        // Two fields that change places are two breaks.
        assert_eq!(breaks(&[("b: at 8, 8", "b: at 16, 8"), ("c: at 16", "c: at 8")]).len(), 2);
    }

    #[test]
    fn a_struct_grows_at_its_end_alone() {
        let field = |at| format!("field ackbus_grows.c: at 16, 4 bytes, uint32_t\nfield ackbus_grows.f: at {at}, 8 bytes, uint64_t");
        let (old, grown) = ("field ackbus_grows.c: at 16, 4 bytes, uint32_t", ("24 bytes", "32 bytes"));
        assert_eq!(
            additions(&[(old, &field(24)), grown]),
            [
                "struct ackbus_grows: 24 bytes, aligned to 8, grows at its end; now 32 bytes, aligned to 8, grows at its end",
                "field ackbus_grows.f: at 24, 8 bytes, uint64_t"
            ]
        );
        // In the padding behind c.
        let padded = breaks(&[(old, &field(20))]);
        assert_eq!(
            padded,
            ["field ackbus_grows.f (at 20, 8 bytes, uint64_t) is new, but it lies inside the 24 bytes that older programs know: add it behind them"]
        );
        // Smaller, otherwise aligned, no longer told.
        for (from, to) in [
            ("24 bytes", "16 bytes"),
            ("24 bytes, aligned to 8", "32 bytes, aligned to 16"),
            ("24 bytes, aligned to 8, grows at its end", "32 bytes, aligned to 8"),
        ] {
            assert_eq!(breaks(&[(from, to)]).len(), 1, "{to}");
        }
    }

    #[test]
    fn a_struct_of_a_fixed_size_does_not_grow() {
        let d = "field ackbus_fixed.d: at 0, 8 bytes, uint64_t";
        let found = breaks(&[(d, &format!("{d}\nfield ackbus_fixed.f: at 8, 8 bytes, uint64_t")), ("ackbus_fixed: 8 bytes", "ackbus_fixed: 16 bytes")]);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[1],
            "field ackbus_fixed.f (at 8, 8 bytes, uint64_t) is new, but ackbus_fixed cannot grow: neither its size nor a stride is told to the other side"
        );
    }
}
