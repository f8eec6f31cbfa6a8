//! docs/CONFIGURATION.md, written from the tables.

use std::fmt::Write as _;

use super::row::Row;
use super::table::OPTIONS;
use crate::config::topic::TOPIC_KEYS;

const HEAD: &str = "\
<!-- Written from the option tables in src/config/table.rs and src/config/topic.rs; a test compares. After a change there: ACKBUS_BLESS=1 cargo test -p ackbus configuration_reference -->

# Configuration

Every language sets the same options by the same keys. A value that is not allowed is refused by the call that sets it, with `INVALID_OPTION` and what is
allowed; rules between options are checked by `connect`. Switches are `true` or `false`. Times are whole milliseconds. Secrets, and credentials in server
URLs, are used and never printed: reading a secret back gives `***`. Where the default is –, an empty value takes back what was set.
";

const TOPICS: &str = "\
A topic rule says how the topics that match its pattern are handled. A pattern is a topic in which `*` stands for one token and a final `>` for one token or
more. When several patterns match, the most specific one counts, alone: patterns are compared token by token from the left, and a literal beats `*`, which
beats `>`. Rules do not add up: `orders.urgent` takes nothing from `orders.>`. Keys set for the pattern `>` are those of all topics that no other rule matches.

Rules may change while the publisher runs and are never removed; there may be 1,024. Because keys arrive one at a time, what they need from each other is
checked by `connect` and, on a running publisher, by `set_topic`: there, set `stream` before `create`.
";

/// The reference of all options and topic keys, in Markdown.
pub(super) fn render() -> String {
    let mut text = HEAD.to_owned();
    for row in OPTIONS {
        if let Some((title, introduction)) = row.section {
            let _ = write!(text, "\n## {title}\n\n{introduction}\n\n{TABLE_HEAD}");
        }
        line(&mut text, row);
    }
    let _ = write!(text, "\n## Topic rules\n\n{TOPICS}\n{TABLE_HEAD}");
    for row in TOPIC_KEYS {
        line(&mut text, row);
    }
    text
}

const TABLE_HEAD: &str = "| key | default | allowed | meaning |\n|---|---|---|---|\n";

fn line<T>(text: &mut String, row: &Row<T>) {
    let default = match row.default_text() {
        empty if empty.is_empty() => "–".to_owned(),
        default => format!("`{default}`"),
    };
    let secret = if row.is_secret() { " Secret." } else { "" };
    let _ = writeln!(text, "| `{}` | {default} | {} | {}{secret} |", row.key, row.allowed(), row.doc);
}
