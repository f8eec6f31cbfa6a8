//! One row of an option table: a key, what it takes, what it means, and where its value goes.
//!
//! [`Row`] is generic over the struct it fills, so that options ([`Settings`](super::settings::Settings)) and topic rules ([`Rule`](crate::config::topic::Rule)) are
//! parsed, refused and documented by the same code.

use std::ops::RangeInclusive;

use crate::base::error::{Error, Result, Status};
use crate::base::names::quoted;
use crate::base::secret::Secret;
use crate::config::servers::Servers;

/// A closed set of values with the names that the user writes. The first is the default.
macro_rules! choices {
    ($($(#[$meta:meta])* $name:ident { $(#[$first_meta:meta])* $first:ident = $first_text:literal $(, $(#[$other_meta:meta])* $other:ident = $other_text:literal)* $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) enum $name {
            #[default]
            $(#[$first_meta])*
            $first,
            $($(#[$other_meta])* $other,)*
        }

        impl $name {
            pub(crate) const NAMES: &'static [&'static str] = &[$first_text $(, $other_text)*];

            /// The value with this name; the table lets only known names through.
            pub(crate) fn from_name(name: &str) -> Self {
                match name {
                    $($other_text => Self::$other,)*
                    _ => Self::$first,
                }
            }
        }
    )+};
}
pub(crate) use choices;

/// A key of a table over `T`.
pub(crate) struct Row<T: 'static> {
    pub(crate) key: &'static str,
    pub(crate) doc: &'static str,
    /// The title and the introduction of the part of the table that begins with this row.
    pub(crate) section: Option<(&'static str, &'static str)>,
    kind: Kind<T>,
}

/// What a key takes. The ranges are in the form that the user writes; `store` puts a checked value in its place.
enum Kind<T: 'static> {
    Number { default: u64, allowed: RangeInclusive<u64>, unit: &'static str, store: fn(&mut T, u64) },
    Limit { allowed: RangeInclusive<u64>, unit: &'static str, none: &'static str, store: fn(&mut T, Option<u64>) },
    Switch { default: bool, store: fn(&mut T, bool) },
    Choice { default: &'static str, names: &'static [&'static str], store: fn(&mut T, &str) },
    Text { default: &'static str, allowed: &'static str, check: fn(&str) -> bool, store: fn(&mut T, Option<&str>) },
    List { allowed: &'static str, check: fn(&str) -> bool, store: fn(&mut T, Vec<String>) },
    Secret { allowed: &'static str, check: fn(&str) -> bool, store: fn(&mut T, Option<Secret>) },
    Servers { default: &'static str, store: fn(&mut T, Servers) },
}

/// The constructors, one for each kind; they read as a table.
impl<T: 'static> Row<T> {
    const fn of(key: &'static str, kind: Kind<T>) -> Self {
        Row { key, doc: "", section: None, kind }
    }

    /// A whole number.
    pub(crate) const fn number(key: &'static str, default: u64, allowed: RangeInclusive<u64>, unit: &'static str, store: fn(&mut T, u64)) -> Self {
        Self::of(key, Kind::Number { default, allowed, unit, store })
    }

    /// A whole number, or `-1` for `none`, which is the default.
    pub(crate) const fn limit(key: &'static str, allowed: RangeInclusive<u64>, unit: &'static str, none: &'static str, store: fn(&mut T, Option<u64>)) -> Self {
        Self::of(key, Kind::Limit { allowed, unit, none, store })
    }

    /// `true` or `false`.
    pub(crate) const fn switch(key: &'static str, default: bool, store: fn(&mut T, bool)) -> Self {
        Self::of(key, Kind::Switch { default, store })
    }

    /// One of some names.
    pub(crate) const fn choice(key: &'static str, default: &'static str, names: &'static [&'static str], store: fn(&mut T, &str)) -> Self {
        Self::of(key, Kind::Choice { default, names, store })
    }

    /// Text. With an empty default an empty value means "not given".
    pub(crate) const fn text(
        key: &'static str,
        default: &'static str,
        allowed: &'static str,
        check: fn(&str) -> bool,
        store: fn(&mut T, Option<&str>),
    ) -> Self {
        Self::of(key, Kind::Text { default, allowed, check, store })
    }

    /// Texts with commas between them. An empty value means "not given".
    pub(crate) const fn list(key: &'static str, allowed: &'static str, check: fn(&str) -> bool, store: fn(&mut T, Vec<String>)) -> Self {
        Self::of(key, Kind::List { allowed, check, store })
    }

    /// Text that is never printed. An empty value means "not given".
    pub(crate) const fn secret(key: &'static str, allowed: &'static str, check: fn(&str) -> bool, store: fn(&mut T, Option<Secret>)) -> Self {
        Self::of(key, Kind::Secret { allowed, check, store })
    }

    /// Server addresses, which may hold credentials.
    pub(crate) const fn servers(key: &'static str, default: &'static str, store: fn(&mut T, Servers)) -> Self {
        Self::of(key, Kind::Servers { default, store })
    }

    /// The row with its meaning.
    pub(crate) const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// The row as the first of a part of the table.
    pub(crate) const fn opens(mut self, title: &'static str, introduction: &'static str) -> Self {
        self.section = Some((title, introduction));
        self
    }
}

impl<T: 'static> Row<T> {
    /// Checks the value and stores it. A refused value changes nothing.
    pub(crate) fn apply(&self, target: &mut T, value: &str) -> Result<()> {
        let refusal = || self.refusal(value);
        match &self.kind {
            Kind::Number { allowed, store, .. } => store(target, number_in(allowed, value).ok_or_else(refusal)?),
            Kind::Limit { store, .. } if value == "-1" => store(target, None),
            Kind::Limit { allowed, store, .. } => store(target, Some(number_in(allowed, value).ok_or_else(refusal)?)),
            Kind::Switch { store, .. } => store(target, value.parse().map_err(|_| refusal())?),
            Kind::Choice { names, store, .. } if names.contains(&value) => store(target, value),
            Kind::Text { default: "", store, .. } if value.is_empty() => store(target, None),
            Kind::Text { check, store, .. } if check(value) => store(target, Some(value)),
            Kind::List { store, .. } if value.is_empty() => store(target, Vec::new()),
            Kind::List { check, store, .. } if items(value).all(check) => store(target, items(value).map(str::to_owned).collect()),
            Kind::Secret { store, .. } if value.is_empty() => store(target, None),
            Kind::Secret { check, store, .. } if check(value) => store(target, Some(Secret::new(value))),
            Kind::Choice { .. } | Kind::Text { .. } | Kind::List { .. } | Kind::Secret { .. } => return Err(refusal()),
            // The parser knows which of the addresses is wrong, and how to say so without its credentials.
            Kind::Servers { store, .. } => {
                let in_key = |error: Error| Error::new(Status::InvalidOption, format!("{}: {}", self.key, error.message()));
                store(target, Servers::parse(value).map_err(in_key)?);
            }
        }
        Ok(())
    }

    /// Whether the value is a secret and never printed.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret { .. })
    }

    /// The default as the user would write it; empty for "not given".
    pub(crate) fn default_text(&self) -> String {
        match &self.kind {
            Kind::Number { default, .. } => default.to_string(),
            Kind::Limit { .. } => "-1".to_owned(),
            Kind::Switch { default, .. } => default.to_string(),
            Kind::Choice { default, .. } | Kind::Text { default, .. } | Kind::Servers { default, .. } => (*default).to_owned(),
            Kind::List { .. } | Kind::Secret { .. } => String::new(),
        }
    }

    /// What is allowed, in words.
    pub(crate) fn allowed(&self) -> String {
        match &self.kind {
            Kind::Number { allowed, unit, .. } => range_text(allowed, unit),
            Kind::Limit { allowed, unit, none, .. } => format!("{}, or -1 = {none}", range_text(allowed, unit)),
            Kind::Switch { .. } => "true or false".to_owned(),
            Kind::Choice { names, .. } => format!("one of {}", names.join(", ")),
            Kind::Text { allowed, .. } | Kind::Secret { allowed, .. } => (*allowed).to_owned(),
            Kind::List { allowed, .. } => format!("{allowed}, with commas between them"),
            Kind::Servers { .. } => "addresses with commas between them, or `memory:` alone".to_owned(),
        }
    }

    #[cold]
    fn refusal(&self, value: &str) -> Error {
        let shown = if self.is_secret() { "the value (not shown)".to_owned() } else { quoted(value) };
        Error::new(Status::InvalidOption, format!("{}: {shown} is not allowed; allowed: {}", self.key, self.allowed()))
    }
}

/// The row with this key. An unknown key is told with the nearest known one; `table` says what the rows are, such as "option".
pub(crate) fn find<T>(rows: &'static [Row<T>], table: &str, key: &str) -> Result<&'static Row<T>> {
    rows.iter().find(|row| row.key == key).ok_or_else(|| {
        let hint = nearest(rows, key).map(|near| format!("; did you mean {}?", quoted(near))).unwrap_or_default();
        Error::new(Status::InvalidOption, format!("unknown {table} {}{hint}", quoted(key)))
    })
}

/// The keys of a table, as a constant.
pub(crate) const fn keys<T, const N: usize>(rows: &[Row<T>]) -> [&'static str; N] {
    let mut keys = [""; N];
    let mut index = 0;
    while index < N {
        keys[index] = rows[index].key;
        index += 1;
    }
    keys
}

fn number_in(allowed: &RangeInclusive<u64>, value: &str) -> Option<u64> {
    value.parse().ok().filter(|number| allowed.contains(number))
}

/// The items of a list, without the blanks around them.
fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

fn range_text(allowed: &RangeInclusive<u64>, unit: &str) -> String {
    let text = format!("{} to {} {unit}", with_separators(*allowed.start()), with_separators(*allowed.end()));
    text.trim_end().to_owned()
}

/// `1000000` as `1,000,000`.
fn with_separators(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The known key that a mistyped one most likely stands for.
fn nearest<T>(rows: &[Row<T>], key: &str) -> Option<&'static str> {
    // Far longer than any key: no typing error, and not worth the work.
    if key.len() > 64 {
        return None;
    }
    let typed = key.to_ascii_lowercase().replace('-', "_");
    let (distance, near) = rows.iter().map(|row| (edits(&typed, row.key), row.key)).min()?;
    (distance <= near.len() / 3).then_some(near)
}

/// How many single-byte edits lead from one text to the other (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let mut costs: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.bytes().enumerate() {
        let mut left = row + 1;
        let mut diagonal = row;
        for (cost, b) in costs.iter_mut().skip(1).zip(to.bytes()) {
            let replace = diagonal + usize::from(a != b);
            diagonal = *cost;
            left = replace.min(left + 1).min(diagonal + 1);
            *cost = left;
        }
        if let Some(first) = costs.first_mut() {
            *first = row + 1;
        }
    }
    costs.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (from, to, distance) in [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("same", "same", 0)] {
            assert_eq!(edits(from, to), distance, "{from} to {to}");
            assert_eq!(edits(to, from), distance, "{to} to {from}");
        }
    }

    #[test]
    fn thousands_are_separated() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_000_000, "1,000,000")] {
            assert_eq!(with_separators(number), text);
        }
    }
}
