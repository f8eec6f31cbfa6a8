//! Log levels.

use std::fmt;

use tracing::level_filters::LevelFilter;

/// How much is logged: a level and all that are graver. The numbers are part of the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum Level {
    /// Nothing.
    Off = 0,
    /// The publisher cannot go on, or messages were lost to it.
    Error = 1,
    /// Something needs an operator's eye: a lost connection, a held gate, too much pending.
    Warn = 2,
    /// What happens to the publisher in ordinary life.
    Info = 3,
    /// Why the bus decided as it did.
    Debug = 4,
    /// Single frames and acks.
    Trace = 5,
}

impl Level {
    /// Every level, in the order of their numbers.
    pub const ALL: [Level; 6] = [Level::Off, Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

    /// The name, as the option `log_level` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Level::Off => "off",
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }

    /// The level of this name, in lower case, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Level> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// The level with this number, if there is one.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Level> {
        Self::ALL.into_iter().find(|&level| level as i32 == code)
    }

    pub(crate) fn of(level: tracing::Level) -> Level {
        match level {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        }
    }

    pub(crate) fn filter(code: i32) -> LevelFilter {
        match code {
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            5 => LevelFilter::TRACE,
            _ => LevelFilter::OFF,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// So that settings can be made before the table fills them.
impl Default for Level {
    fn default() -> Self {
        Level::Warn
    }
}
