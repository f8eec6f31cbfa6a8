//! The arguments that every client takes.

use std::path::PathBuf;

use crate::Error;

const OPTIONS: &str = "[--mode MODE] [--rate R] [--latencies FILE] [--no-msg-id] [--hold]";

/// What a client is to publish: `HOST:PORT SUBJECT N SIZE WINDOW` and options.
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
    /// How outcomes come back: one of the program's own modes.
    pub mode: String,
    /// Messages per second, and where their latencies go; nothing: as fast as it goes.
    pub pace: Option<(u64, PathBuf)>,
    /// Whether each message has a `Nats-Msg-Id` of its own.
    pub msg_id: bool,
    /// Nobody acks: the run ends when all messages are handed over.
    pub hold: bool,
}

impl Load {
    /// Reads the arguments of this process. `modes`: those that the program has; the first is what it does without `--mode`.
    ///
    /// # Errors
    /// A missing, unknown or malformed argument, named.
    pub fn from_args(modes: &[&str]) -> Result<Load, Error> {
        Load::parse(std::env::args().skip(1), modes)
    }

    fn parse(mut args: impl Iterator<Item = String>, modes: &[&str]) -> Result<Load, Error> {
        let (mut words, mut mode, mut rate, mut latencies, mut msg_id, mut hold) = (Vec::new(), None, None, None, true, false);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--mode" => mode = Some(value()?),
                "--rate" => rate = Some(number("R", &value()?, 1)?),
                "--latencies" => latencies = Some(PathBuf::from(value()?)),
                "--no-msg-id" => msg_id = false,
                "--hold" => hold = true,
                option if option.starts_with("--") => return Err(format!("unknown option {option}; allowed: {OPTIONS}").into()),
                _ => words.push(arg),
            }
        }
        let [address, subject, count, size, window] =
            <[String; 5]>::try_from(words).map_err(|words| format!("{} arguments; wanted: HOST:PORT SUBJECT N SIZE WINDOW {OPTIONS}", words.len()))?;
        let mode = mode.unwrap_or_else(|| modes.first().copied().unwrap_or_default().to_owned());
        if !modes.contains(&mode.as_str()) {
            return Err(format!("MODE is {mode:?}; allowed: {}", modes.join(", ")).into());
        }
        let pace = match (rate, latencies) {
            (Some(rate), Some(file)) => Some((rate, file)),
            (None, None) => None,
            _ => return Err("--rate and --latencies are given both or neither".into()),
        };
        let size = usize::try_from(number("SIZE", &size, 0)?)?;
        Ok(Load { address, subject, count: number("N", &count, 1)?, size, window: number("WINDOW", &window, 1)?, mode, pace, msg_id, hold })
    }
}

fn number(name: &str, text: &str, least: u64) -> Result<u64, Error> {
    text.parse().ok().filter(|value| *value >= least).ok_or_else(|| format!("{name} is {text:?}; allowed: a decimal number of at least {least}").into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Load;

    fn parse(line: &str) -> Result<Load, String> {
        Load::parse(line.split_whitespace().map(str::to_owned), &["callback", "ticket"]).map_err(|error| error.to_string())
    }

    #[test]
    fn options_may_stand_anywhere() {
        let plain = parse("127.0.0.1:4222 --no-msg-id bench.a 10 128 64").unwrap();
        let wanted = Load {
            address: "127.0.0.1:4222".into(),
            subject: "bench.a".into(),
            count: 10,
            size: 128,
            window: 64,
            mode: "callback".into(),
            pace: None,
            msg_id: false,
            hold: false,
        };
        assert_eq!(plain, wanted);
        let all = parse("h:1 s 10 --rate 5 --latencies f 128 --hold 64 --mode ticket").unwrap();
        assert_eq!((all.mode.as_str(), all.pace, all.msg_id, all.hold), ("ticket", Some((5, "f".into())), true, true));
    }

    #[test]
    fn errors_name_the_argument() {
        for (line, part) in [
            ("h:1 s ten 128 64", "N is \"ten\""),
            ("h:1 s 10 128", "4 arguments"),
            ("h:1 s 10 128 64 --fast", "--fast"),
            ("h:1 s 10 128 0", "WINDOW is \"0\""),
            ("h:1 s 10 128 64 --rate", "--rate needs a value"),
            ("h:1 s 10 128 64 --rate 5", "both or neither"),
            ("h:1 s 10 128 64 --mode poll", "MODE is \"poll\"; allowed: callback, ticket"),
        ] {
            assert!(parse(line).unwrap_err().contains(part), "{line}: {}", parse(line).unwrap_err());
        }
    }
}
