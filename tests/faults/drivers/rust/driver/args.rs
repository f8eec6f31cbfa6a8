//! The arguments of a driver, and the messages that follow from them.

use std::fmt::Write as _;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Normal,
    Block,
    Throw,
    Republish,
    Close,
    Bad,
}

#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) url: String,
    subjects: Vec<String>,
    pub(crate) count: u64,
    sizes: Vec<usize>,
    /// Messages a second; 0: no pace.
    pub(crate) rate: f64,
    prefix: String,
    pairs: bool,
    pub(crate) max_pending: Option<usize>,
    pub(crate) ack_timeout: Duration,
    pub(crate) mode: Mode,
    /// `set:` and `topic:`, in their order: what stands before and behind the `=`.
    pub(crate) options: Vec<(String, String)>,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            url: String::new(),
            subjects: Vec::new(),
            count: 1_000,
            sizes: vec![256],
            rate: 0.0,
            prefix: "m".to_owned(),
            pairs: false,
            max_pending: None,
            ack_timeout: Duration::from_secs(10),
            mode: Mode::Normal,
            options: Vec::new(),
        }
    }
}

impl Args {
    /// Reads `key=value`; unknown keys are for other drivers.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Args::default();
        for argument in arguments {
            args.read(&argument).map_err(|wrong| format!("{argument}: {wrong}"))?;
        }
        if args.url.is_empty() || args.subjects.is_empty() || args.sizes.is_empty() {
            return Err("url=, subjects= and sizes= may not be empty".to_owned());
        }
        Ok(args)
    }

    pub(crate) fn with_one_of(mut self, modes: &[Mode]) -> Self {
        if !modes.contains(&self.mode) {
            self.mode = Mode::Normal;
        }
        self
    }

    fn read(&mut self, argument: &str) -> Result<(), String> {
        fn number<T: std::str::FromStr<Err: std::fmt::Display>>(value: &str) -> Result<T, String> {
            value.parse().map_err(|error: T::Err| error.to_string())
        }
        let Some((key, value)) = argument.split_once('=') else { return Ok(()) };
        match key {
            "url" => self.url = value.to_owned(),
            "subjects" => self.subjects = value.split(',').map(str::to_owned).collect(),
            "count" => self.count = number(value)?,
            "sizes" => self.sizes = value.split(',').map(number).collect::<Result<_, _>>()?,
            "rate" => self.rate = number(value)?,
            "prefix" => self.prefix = value.to_owned(),
            "pairs" => self.pairs = value == "1",
            "max_pending" => self.max_pending = Some(number(value)?),
            "ack_timeout_ms" => self.ack_timeout = Duration::from_millis(number(value)?),
            "mode" => self.mode = mode(value)?,
            _ if key.starts_with("set:") || key.starts_with("topic:") => self.options.push((key.to_owned(), value.to_owned())),
            _ => {}
        }
        Ok(())
    }

    /// The subject of messages that say nothing about subjects.
    pub(crate) fn first_subject(&self) -> &str {
        self.subjects.first().map_or("", String::as_str)
    }

    /// Subject, payload and Msg-Id of message `k`.
    pub(crate) fn message(&self, k: u64) -> (&str, Vec<u8>, String) {
        let nth = usize::try_from(k - 1).unwrap_or(usize::MAX);
        let subject = self.subjects.get(nth % self.subjects.len()).map_or("", String::as_str);
        let size = self.sizes.get(nth % self.sizes.len()).copied().unwrap_or(0);
        let mut payload = format!("{k} ").into_bytes();
        payload.truncate(size);
        payload.extend((payload.len()..size).map(|i| b'a' + ((k + i as u64) % 26) as u8));
        let mut msg_id = self.prefix.clone();
        let _ = write!(msg_id, "-{}", if self.pairs { (k - 1) / 2 * 2 + 1 } else { k }); // a String takes everything
        (subject, payload, msg_id)
    }
}

fn mode(name: &str) -> Result<Mode, String> {
    Ok(match name {
        "normal" | "fork" => Mode::Normal, // Rust programs do not fork
        "block" => Mode::Block,
        "throw" => Mode::Throw,
        "republish" => Mode::Republish,
        "close" => Mode::Close,
        "bad" => Mode::Bad,
        _ => return Err("there is no such mode".to_owned()),
    })
}
