//! What a liar does, step by step.

/// One step of a [`Script`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Reads until a line begins with one of these. A PING that is none of them gets its PONG.
    Wait(&'static [&'static str]),
    /// Writes this for each publish until the client closes, and a PONG for each PING. `{reply}` stands for the publish's reply subject, `{sid}` for the
    /// number of the client's subscription to it. Steps behind it are not reached.
    Answer(Vec<u8>),
    /// Writes these bytes again and again, until the client closes or `limit` bytes are written.
    Flood {
        /// What is repeated.
        bytes: Vec<u8>,
        /// How many bytes in all.
        limit: usize,
    },
    /// Says farewell. It is the last step.
    Close,
    /// Ends with a reset. It is the last step.
    Reset,
}

/// What a [`Liar`](crate::Liar) plays to each connection. After its last step the connection stays open, and silent, until the client closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script(Vec<Step>);

impl Script {
    /// These steps and no others: not even a greeting.
    #[must_use]
    pub fn new(steps: impl Into<Vec<Step>>) -> Self {
        Script(steps.into())
    }

    /// These steps after a greeting as it should be, and the client's handshake.
    #[must_use]
    pub fn greeted(steps: impl Into<Vec<Step>>) -> Self {
        Script::greeted_with(info("\"max_payload\":1048576"), steps)
    }

    /// The same with this greeting.
    #[must_use]
    pub fn greeted_with(greeting: Vec<u8>, steps: impl Into<Vec<Step>>) -> Self {
        let mut all = vec![Step::Send(greeting), Step::Wait(&["CONNECT"]), Step::Wait(&["PING"]), Step::Send(b"PONG\r\n".to_vec())];
        all.extend(steps.into());
        Script(all)
    }

    /// Its steps in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// What a client reads that publishes once, with this reply subject and a subscription of this number: floods up to their first 64 KiB, and nothing
    /// behind a flood that is longer. Good as a seed for a fuzzer.
    #[must_use]
    pub fn bytes(&self, reply: &str, sid: &str) -> Vec<u8> {
        const SOME: usize = 64 << 10;
        let mut all = Vec::new();
        for step in &self.0 {
            match step {
                Step::Send(bytes) => all.extend_from_slice(bytes),
                Step::Answer(template) => {
                    all.extend(filled(template, reply, sid));
                    return all;
                }
                Step::Flood { bytes, limit } => {
                    all.extend(bytes.iter().cycle().take(SOME.min(*limit)));
                    if *limit > SOME {
                        return all;
                    }
                }
                Step::Wait(_) | Step::Close | Step::Reset => {}
            }
        }
        all
    }
}

/// An INFO line with these members, and with what every client needs.
pub(super) fn info(members: &str) -> Vec<u8> {
    format!("INFO {{\"server_id\":\"LIAR\",\"server_name\":\"liar\",\"version\":\"2.12.0\",\"proto\":1,\"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"jetstream\":true,\"client_id\":1,{members}}}\r\n")
        .into_bytes()
}

/// The template with what it leaves open.
pub(super) fn filled(template: &[u8], reply: &str, sid: &str) -> Vec<u8> {
    replaced(&replaced(template, b"{reply}", reply.as_bytes()), b"{sid}", sid.as_bytes())
}

fn replaced(bytes: &[u8], find: &[u8], with: &[u8]) -> Vec<u8> {
    let (mut all, mut from) = (Vec::with_capacity(bytes.len()), 0);
    for at in memchr::memmem::find_iter(bytes, find) {
        all.extend_from_slice(&bytes[from..at]);
        all.extend_from_slice(with);
        from = at + find.len();
    }
    all.extend_from_slice(&bytes[from..]);
    all
}
