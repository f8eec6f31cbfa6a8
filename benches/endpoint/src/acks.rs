//! The raw loop's reading side: acks are counted where they lie.

use memchr::{memchr, memmem, memrchr};

use crate::Error;

/// What was read so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Acks {
    /// Publishes that the server stored.
    pub acked: u64,
    /// Publishes that it refused.
    pub refused: u64,
    /// PINGs to be answered.
    pub pings: u64,
    /// PONGs: the first one ends the handshake.
    pub pongs: u64,
}

impl Acks {
    /// Counts every complete frame of `input` and returns how many bytes they were.
    ///
    /// # Errors
    /// The server sent `-ERR` or something that is not NATS.
    pub fn scan(&mut self, input: &[u8]) -> Result<usize, Error> {
        let mut taken = 0;
        while let Some(length) = memchr(b'\n', &input[taken..]) {
            let line = input[taken..taken + length].trim_ascii_end();
            let body = taken + length + 1;
            taken = match line {
                [b'M', b'S', b'G', b' ', ..] | [b'H', b'M', b'S', b'G', b' ', ..] => {
                    let end = body + payload_length(line)?;
                    if end + 2 > input.len() {
                        return Ok(taken);
                    }
                    if is_ack(&input[body..end]) {
                        self.acked += 1
                    } else {
                        self.refused += 1
                    }
                    end + 2
                }
                b"PING" => {
                    self.pings += 1;
                    body
                }
                b"PONG" => {
                    self.pongs += 1;
                    body
                }
                b"+OK" | b"" => body,
                line if line.starts_with(b"INFO ") => body,
                line => return Err(format!("the server sent {:?}", String::from_utf8_lossy(line)).into()),
            };
        }
        Ok(taken)
    }
}

fn payload_length(line: &[u8]) -> Result<usize, Error> {
    memrchr(b' ', line)
        .and_then(|space| std::str::from_utf8(&line[space + 1..]).ok()?.parse().ok())
        .ok_or_else(|| format!("no length in {:?}", String::from_utf8_lossy(line)).into())
}

/// Acks begin with the stream's name; an error that names a stream as well has `"error"` in front of any sequence, and no ack does.
fn is_ack(payload: &[u8]) -> bool {
    payload.starts_with(b"{\"stream\"") && memmem::find(payload, b"\"error\"").is_none()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Acks;

    #[test]
    fn acks_refusals_and_pings_are_told_apart_at_any_cut() {
        let input = concat!(
            "MSG _I.1 1 26\r\n{\"stream\":\"BENCH\",\"seq\":1}\r\nPING\r\nHMSG _I.2 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\nPONG\r\n",
            "MSG _I.3 1 50\r\n{\"error\":{\"code\":400},\"stream\":\"BENCH\",\"seq\":0}    \r\nMSG _I.4 1 26\r\n{\"stream\":\"BENCH\",\"seq\":2}\r\n"
        );
        for cut in 0..=input.len() {
            let mut acks = Acks::default();
            let taken = acks.scan(&input.as_bytes()[..cut]).unwrap();
            assert_eq!(taken + acks.scan(&input.as_bytes()[taken..]).unwrap(), input.len());
            assert_eq!(acks, Acks { acked: 2, refused: 2, pings: 1, pongs: 1 }, "cut at {cut}");
        }
    }

    #[test]
    fn an_error_of_the_server_ends_the_run() {
        assert!(Acks::default().scan(b"-ERR 'Authorization Violation'\r\n").unwrap_err().to_string().contains("Authorization"));
        assert!(Acks::default().scan(b"MSG x\r\n").unwrap_err().to_string().contains("no length"));
    }
}
