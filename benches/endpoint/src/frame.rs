//! The raw loop's frames: one template whose counters turn like an odometer, so that a frame costs one copy.

/// A generator of numbered publish frames, all of the same length.
#[derive(Debug)]
pub struct Frames {
    template: Vec<u8>,
    /// Where the decimal counters stand: in the reply, and in the Msg-Id when there is one.
    counters: Vec<std::ops::Range<usize>>,
}

/// As wide as ackbus' reply token, so that both loops move the same bytes.
const TOKEN: usize = 15;

impl Frames {
    /// Frames for `subject` with replies below `inbox` (which ends with a dot) and `size` bytes of payload; Msg-Ids begin with `msg_id`, if there are any.
    #[must_use]
    pub fn new(subject: &str, inbox: &str, size: usize, msg_id: Option<&str>) -> Frames {
        let mut template = Vec::new();
        let mut counters = Vec::new();
        let mut counter = |template: &mut Vec<u8>, width: usize| {
            counters.push(template.len()..template.len() + width);
            template.resize(template.len() + width, b'0');
        };
        let headers = msg_id.map(|prefix| format!("NATS/1.0\r\nNats-Msg-Id: {prefix}-"));
        template.extend_from_slice(format!("{} {subject} {inbox}", if headers.is_some() { "HPUB" } else { "PUB" }).as_bytes());
        counter(&mut template, TOKEN);
        match headers {
            Some(headers) => {
                let width = 10;
                let length = headers.len() + width + 4;
                template.extend_from_slice(format!(" {length} {}\r\n{headers}", length + size).as_bytes());
                counter(&mut template, width);
                template.extend_from_slice(b"\r\n\r\n");
            }
            None => template.extend_from_slice(format!(" {size}\r\n").as_bytes()),
        }
        template.resize(template.len() + size, b'x');
        template.extend_from_slice(b"\r\n");
        Frames { template, counters }
    }

    /// Appends the next frame to `output`.
    pub fn print(&mut self, output: &mut Vec<u8>) {
        for counter in &self.counters {
            turn(&mut self.template[counter.clone()]);
        }
        output.extend_from_slice(&self.template);
    }
}

fn turn(digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Frames;

    #[test]
    fn frames_are_numbered() {
        let mut frames = Frames::new("bench.a", "_I.", 2, Some("p"));
        let mut output = Vec::new();
        for _ in 0..10 {
            output.clear();
            frames.print(&mut output);
        }
        let wanted = "HPUB bench.a _I.000000000000010 39 41\r\nNATS/1.0\r\nNats-Msg-Id: p-0000000010\r\n\r\nxx\r\n";
        assert_eq!(String::from_utf8(output).unwrap(), wanted);
    }

    #[test]
    fn without_msg_id_there_is_no_header() {
        let mut output = Vec::new();
        Frames::new("bench.a", "_I.", 3, None).print(&mut output);
        assert_eq!(String::from_utf8(output).unwrap(), "PUB bench.a _I.000000000000001 3\r\nxxx\r\n");
    }
}
