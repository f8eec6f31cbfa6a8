//! The options of a publisher: set by key, refused at the call when they are wrong, documented from the table that checks them.

mod reference;
pub(crate) mod row;
pub(crate) mod servers;
pub(crate) mod settings;
mod table;
pub(crate) mod topic;

use std::collections::BTreeMap;
use std::fmt;

use self::row::{find, keys};
use self::settings::Settings;
use self::table::OPTIONS;
use crate::base::error::Result;
use crate::base::secret::Secret;
use crate::config::topic::{Rules, TOPIC_KEYS};

static KEYS: [&str; OPTIONS.len()] = keys(OPTIONS);
static TOPIC_KEY_NAMES: [&str; TOPIC_KEYS.len()] = keys(TOPIC_KEYS);

/// The options and topic rules of a publisher to be.
///
/// A config is plain data: clone it, change it, use it for any number of publishers. [`Publisher::connect`](crate::Publisher::connect) copies what it needs, so
/// later changes do not reach a running publisher. Printing it shows no secret.
///
/// ```
/// # fn main() -> ackbus::Result<()> {
/// let mut config = ackbus::Config::new();
/// config.set("servers", "memory:")?.set("max_pending", "1000")?;
/// config.set_topic("orders.>", "stream", "ORDERS")?;
/// assert_eq!(config.get("max_pending")?, "1000");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Config {
    settings: Settings,
    /// The values as they were set, for `get`; zeroized like secrets, because some are.
    given: BTreeMap<&'static str, Secret>,
    rules: Rules,
}

impl Config {
    /// A config with every option at its default.
    #[must_use]
    pub fn new() -> Self {
        let mut settings = Settings::default();
        for row in OPTIONS {
            let applied = row.apply(&mut settings, &row.default_text());
            debug_assert!(applied.is_ok(), "the default of {} is not allowed by its own row", row.key);
        }
        Config { settings, given: BTreeMap::new(), rules: Rules::new() }
    }

    /// Sets an option. Switches are `true` or `false`, times are whole milliseconds; docs/CONFIGURATION.md lists all keys.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidOption`](crate::Status::InvalidOption) for an unknown key (with the nearest known one) or a value that is not allowed (with what is). Nothing is changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<&mut Self> {
        let row = find(OPTIONS, "option", key)?;
        row.apply(&mut self.settings, value)?;
        self.given.insert(row.key, Secret::new(value));
        Ok(self)
    }

    /// The value of an option: as it was set, or its default; empty when there is none. A secret that is set comes back as `***`, and server addresses without
    /// their credentials.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidOption`](crate::Status::InvalidOption) for an unknown key.
    pub fn get(&self, key: &str) -> Result<String> {
        let row = find(OPTIONS, "option", key)?;
        Ok(match self.given.get(row.key) {
            None => row.default_text(),
            Some(_) if row.key == "servers" => self.settings.servers.to_string(),
            Some(value) if row.is_secret() && !value.expose().is_empty() => value.to_string(),
            Some(value) => value.expose().to_owned(),
        })
    }

    /// Sets a key of a topic rule. `pattern` is a topic in which `*` stands for one token and a final `>` for one token or more; of several matching rules the
    /// most specific one counts, alone. What keys need from each other, such as `create` a `stream`, is checked when the publisher connects, because they
    /// arrive one at a time.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidTopic`](crate::Status::InvalidTopic) for a bad pattern, [`Status::InvalidOption`](crate::Status::InvalidOption) for an unknown key, a value that is not allowed, or too many rules. Nothing is
    /// changed then.
    pub fn set_topic(&mut self, pattern: &str, key: &str, value: &str) -> Result<&mut Self> {
        self.rules.set(pattern, key, value)?;
        Ok(self)
    }

    /// The keys of all options.
    #[must_use]
    pub fn keys() -> &'static [&'static str] {
        &KEYS
    }

    /// The keys of a topic rule.
    #[must_use]
    pub fn topic_keys() -> &'static [&'static str] {
        &TOPIC_KEY_NAMES
    }

    /// The reference of all options and topic keys in Markdown: the text of docs/CONFIGURATION.md.
    #[must_use]
    pub fn reference() -> String {
        reference::render()
    }

    /// The options, complete and checked against each other; the topic rules are checked too.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let mut settings = self.settings.clone();
        settings.check()?;
        self.rules.check()?;
        if let Some(key) = settings.tls.implied_by() {
            if self.given.get("tls_required").is_some_and(|value| value.expose() == "false") {
                return Err(settings::conflict(format!("{key} asks for TLS and tls_required is false; take one of them back")));
            }
            settings.tls.required = true;
        }
        if settings.pending_warn == 0 {
            settings.pending_warn = (settings.max_pending / 2).max(1);
        }
        Ok(settings)
    }

    /// The topic rules.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Config");
        for key in self.given.keys() {
            shown.field(key, &self.get(key).unwrap_or_default());
        }
        shown.field("topics", &self.rules).finish()
    }
}

#[cfg(test)]
mod tests;
