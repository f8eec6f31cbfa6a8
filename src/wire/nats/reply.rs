//! Replies: the operation that comes once for each message, read by what is known of it beforehand.
//!
//! Nearly every reply is `MSG <inbox><token> 1 <length>\r\n<body>\r\n` to the letter. What is not is left to the connection, which takes lines apart word by word.

use super::frame::{self, TOKEN_LEN};
use crate::wire::Token;

/// The id of our one subscription, between its blanks.
pub(super) const SID: &[u8] = b" 1 ";
/// Acks have two or three digits; longer bodies are read with more care.
const MOST_DIGITS: usize = 4;

/// How replies to one inbox begin.
#[derive(Debug)]
pub(super) struct Replies {
    opening: Box<[u8]>,
}

impl Replies {
    pub(super) fn new(inbox: &[u8]) -> Self {
        Replies { opening: [b"MSG ", inbox].concat().into() }
    }

    /// The reply to a publish that these bytes begin with: its token, its body, and how many bytes it takes. `None`: something else, or it is not all here.
    #[inline]
    pub(super) fn read<'a>(&self, bytes: &'a [u8]) -> Option<(Token, &'a [u8], usize)> {
        let rest = bytes.strip_prefix(&*self.opening)?;
        let (token, rest) = rest.split_at_checked(TOKEN_LEN)?;
        let rest = rest.strip_prefix(SID)?;
        let (length, rest) = leading_number(rest)?;
        let rest = rest.strip_prefix(b"\r\n")?;
        let (body, rest) = rest.split_at_checked(length)?;
        let rest = rest.strip_prefix(b"\r\n")?;
        let token = frame::read_token(token).filter(|token| token.slot < frame::FIRST_ASK)?;
        Some((token, body, bytes.len() - rest.len()))
    }
}

fn leading_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(MOST_DIGITS + 1).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (at > 0).then(|| (number, bytes.get(at..).unwrap_or_default()));
        }
        number = number * 10 + usize::from(digit);
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const INBOX: &[u8] = b"_INBOX.0123456789abcdef.";
    const USUAL: &str = "MSG _INBOX.0123456789abcdef.?@??????kC???@? 1 23\r\n{\"stream\":\"S\",\"seq\":22}\r\n";

    #[test]
    fn the_usual_reply() {
        let bytes = [USUAL.as_bytes(), b"MSG"].concat();
        let (token, body, used) = Replies::new(INBOX).read(&bytes).unwrap();
        assert_eq!((token, body, used), (Token { slot: 300, id: 64, attempt: 1 }, &br#"{"stream":"S","seq":22}"#[..], USUAL.len()));
        let empty = "MSG _INBOX.0123456789abcdef.?@??????kC???@? 1 0\r\n\r\n";
        assert_eq!(Replies::new(INBOX).read(empty.as_bytes()).map(|(_, body, used)| (body.len(), used)), Some((0, empty.len())));
    }

    #[test]
    fn what_is_not_whole_or_not_usual_is_left_alone() {
        let replies = Replies::new(INBOX);
        for cut in 0..USUAL.len() {
            assert_eq!(replies.read(&USUAL.as_bytes()[..cut]), None, "cut at {cut}");
        }
        let question = {
            let mut token = [0; TOKEN_LEN];
            frame::write_token(&mut token, Token { slot: frame::FIRST_ASK, id: 1, attempt: 0 });
            USUAL.replace("?@??????kC???@?", std::str::from_utf8(&token).unwrap())
        };
        for other in [
            USUAL.replace("MSG ", "HMSG "),
            USUAL.replace("MSG ", "MSG  "),
            USUAL.replace("cdef", "cdeF"),
            USUAL.replace("kC", "k."),
            USUAL.replace(" 1 ", " 2 "),
            USUAL.replace(" 1 ", " 1  "),
            USUAL.replace(" 23\r", " \r"),
            USUAL.replace(" 23\r", " -23\r"),
            USUAL.replace(" 23\r", " 23 \r"),
            USUAL.replace(" 23\r", " 22\r"),
            USUAL.replace(" 23\r", " 24\r"),
            USUAL.replace(" 23\r", " 00023\r"),
            USUAL.replace(" 23\r", " 23"),
            question,
        ] {
            assert_eq!(replies.read(other.as_bytes()), None, "{other:?}");
        }
    }
}
