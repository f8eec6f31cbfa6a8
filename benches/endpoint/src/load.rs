//! The arguments that every client takes.

use crate::Error;

/// What a client is to publish: `HOST:PORT SUBJECT N SIZE WINDOW [--no-msg-id]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Where the server listens, as `host:port`.
    pub address: String,
    /// The subject of every message.
    pub subject: String,
    /// How many messages.
    pub count: u64,
    /// Payload bytes of each message.
    pub size: usize,
    /// How many messages may be without their ack at a time.
    pub window: u64,
    /// Whether each message has a `Nats-Msg-Id` of its own.
    pub msg_id: bool,
}

impl Load {
    /// Reads the arguments of this process.
    ///
    /// # Errors
    /// A missing, unknown or malformed argument, named.
    pub fn from_args() -> Result<Load, Error> {
        Load::parse(std::env::args().skip(1))
    }

    fn parse(args: impl Iterator<Item = String>) -> Result<Load, Error> {
        let (options, words): (Vec<String>, Vec<String>) = args.partition(|arg| arg.starts_with("--"));
        if let Some(unknown) = options.iter().find(|option| *option != "--no-msg-id") {
            return Err(format!("unknown option {unknown}; allowed: --no-msg-id").into());
        }
        let [address, subject, count, size, window] =
            <[String; 5]>::try_from(words).map_err(|words| format!("{} arguments; wanted: HOST:PORT SUBJECT N SIZE WINDOW [--no-msg-id]", words.len()))?;
        let load = Load {
            address,
            subject,
            count: number("N", &count)?,
            size: usize::try_from(number("SIZE", &size)?)?,
            window: number("WINDOW", &window)?,
            msg_id: options.is_empty(),
        };
        if load.count == 0 || load.window == 0 {
            return Err("N and WINDOW must be at least 1".into());
        }
        Ok(load)
    }
}

fn number(name: &str, text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| format!("{name} is {text:?}; allowed: a decimal number").into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Load;

    fn parse(line: &str) -> Result<Load, String> {
        Load::parse(line.split_whitespace().map(str::to_owned)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_may_stand_anywhere() {
        let load = parse("127.0.0.1:4222 --no-msg-id bench.a 10 128 64").unwrap();
        assert_eq!(load, Load { address: "127.0.0.1:4222".into(), subject: "bench.a".into(), count: 10, size: 128, window: 64, msg_id: false });
        assert!(parse("h:1 s 10 128 64").unwrap().msg_id);
    }

    #[test]
    fn errors_name_the_argument() {
        assert!(parse("h:1 s ten 128 64").unwrap_err().contains("N is \"ten\""));
        assert!(parse("h:1 s 10 128").unwrap_err().contains("4 arguments"));
        assert!(parse("h:1 s 10 128 64 --fast").unwrap_err().contains("--fast"));
        assert!(parse("h:1 s 10 128 0").unwrap_err().contains("WINDOW"));
    }
}
