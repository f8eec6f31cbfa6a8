//! Versions: what older servers lack, and what follows from it.
//!
//! A server ignores a header that it does not know: the message would be stored as if nothing had been asked for. So it is refused here, with the version that it needs.

use crate::wire::Lack;

/// What a message may ask for, as [`Lack::need`] says it.
pub(crate) const TTL: u8 = 1;

/// What servers have only from a version on.
const SINCE: &[((u32, u32), Lack)] = &[((2, 11), Lack { need: TTL, what: "ttl needs nats-server 2.11" })];

/// What this version lacks.
pub(crate) fn lacks(version: &str) -> Vec<Lack> {
    SINCE.iter().filter(|&&((major, minor), _)| !is_at_least(version, major, minor)).map(|&(_, lack)| lack).collect()
}

/// Whether a server's version is that or a later one. What cannot be read is taken for a new one: a server must not be refused for its name.
pub(crate) fn is_at_least(version: &str, major: u32, minor: u32) -> bool {
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+']);
    let mut number = || parts.next()?.parse::<u32>().ok();
    number().zip(number()).is_none_or(|has| has >= (major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (version, at_least) in
            [("2.10.29", false), ("2.9.0", false), ("1.99", false), ("2.11.0", true), ("v2.11.0-RC.1", true), ("2.100.0", true), ("3.0", true)]
        {
            assert_eq!(is_at_least(version, 2, 11), at_least, "{version}");
            assert_eq!(lacks(version).is_empty(), at_least, "{version}");
        }
        for unreadable in ["", "model", "2", "2.x"] {
            assert!(is_at_least(unreadable, 2, 11), "{unreadable}");
        }
    }
}
