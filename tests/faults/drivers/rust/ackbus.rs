//! The fault driver of ackbus through its Rust API: one `Sink` for the outcomes of all messages. All options keep their defaults except `report=all`, since the
//! checker wants to know of successes too, and what `set:` and `topic:` say.

mod driver;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ackbus::{Config, Event, EventKind, Handlers, Persistence, Publisher, REPORT_DUPLICATE, Report, Sink, Status};
use driver::args::Mode;
use driver::{Client, Driver, Message, Outcome, Refused};

struct Bus {
    driver: Arc<Driver>,
    publisher: OnceLock<Publisher>,
}

/// The handler, which publishes and closes too: it must know the bus.
struct Handler(Arc<Bus>);

impl Bus {
    fn publisher(&self) -> Result<&Publisher, String> {
        self.publisher.get().ok_or_else(|| "not connected".to_owned())
    }
}

impl Client for Bus {
    fn publish(&self, message: &Message<'_>) -> Result<(), Refused> {
        let headers: Vec<_> = message.header.into_iter().collect();
        let message = ackbus::Message { headers: &headers, msg_id: message.msg_id, tag: message.k, ..ackbus::Message::new(message.subject, message.payload) };
        match self.publisher().map_err(Refused::Closed)?.publish_message(&message) {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Status::Closed => Err(Refused::Closed(error.to_string())),
            Err(error) => Err(Refused::Message(error.to_string())),
        }
    }

    fn pending(&self) -> Option<u64> {
        self.publisher.get().map(Publisher::pending)
    }

    fn close(&self, limit: Duration) -> String {
        match self.publisher().map(|publisher| publisher.close(Some(limit))) {
            Ok(Ok(())) => "OK".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(text) => text,
        }
    }

    fn close_in_handler(&self) -> (bool, String) {
        match self.publisher().map(|publisher| publisher.close(Some(Duration::ZERO))) {
            Ok(Err(error)) => (error.status() == Status::WrongThread, error.to_string()),
            Ok(Ok(())) => (false, "OK".to_owned()),
            Err(text) => (false, text),
        }
    }
}

fn outcome(report: &Report<'_>) -> Outcome {
    let kind = match report.persistence() {
        Persistence::Persisted => return Outcome::Acked { seq: report.stream_seq(), duplicate: report.flags() & REPORT_DUPLICATE != 0 },
        Persistence::NotPersisted => "refused",
        _ => "in_doubt",
    };
    Outcome::Not { kind, code: report.server_code(), text: format!("{}: {}", report.status(), report.text()) }
}

impl Sink for Handler {
    fn reports(&self, reports: &[Report<'_>]) {
        let mut throws = false;
        for report in reports {
            throws |= self.0.driver.outcome(&*self.0, report.tag(), outcome(report));
        }
        // A handler in Rust has a batch in hand and counts as told of all of it: it throws when it has written it down. Without the hook's text for each.
        if throws {
            std::panic::resume_unwind(Box::new("the handler throws"));
        }
    }

    fn event(&self, event: &Event) {
        match event.kind {
            EventKind::Disconnected => self.0.driver.state("disconnected"),
            EventKind::Reconnected => self.0.driver.state("reconnected"),
            EventKind::Failed => self.0.driver.state("failed"),
            _ => {}
        }
        if event.status != Status::Ok {
            self.0.driver.error(&format!("{}: {}", event.kind.name(), event.text));
        }
    }
}

fn config(driver: &Driver) -> ackbus::Result<Config> {
    let mut config = Config::new();
    config.set("servers", &driver.args.url)?.set("report", "all")?;
    if let Some(max_pending) = driver.args.max_pending {
        config.set("max_pending", &max_pending.to_string())?;
    }
    for (key, value) in &driver.args.options {
        if let Some(name) = key.strip_prefix("set:") {
            config.set(name, value)?;
        } else if let Some((pattern, name)) = key.strip_prefix("topic:").and_then(|rest| rest.rsplit_once(':')) {
            config.set_topic(pattern, name, value)?;
        }
    }
    Ok(config)
}

fn main() {
    let driver = Driver::start(&[Mode::Block, Mode::Throw, Mode::Republish, Mode::Close, Mode::Bad]);
    let bus = Arc::new(Bus { driver: Arc::clone(&driver), publisher: OnceLock::new() });
    let handler = Arc::new(Handler(Arc::clone(&bus)));
    let connected = config(&driver).and_then(|config| Publisher::connect(&config, Handlers { reports: Some(handler.clone()), events: Some(handler) }));
    match connected {
        Ok(publisher) => drop(bus.publisher.set(publisher)),
        Err(error) => driver.die(&error.to_string()),
    }
    driver.run(&format!("ackbus {} (Rust)", ackbus::version_string()), bus)
}
