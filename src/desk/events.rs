//! What happens to the publisher as a whole: connections, streams, gates, limits. Messages have reports; events are for operators.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::error::Status;
use crate::base::sync::{Mutex, MutexGuard, PoisonError};

macro_rules! event_kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $value:literal, $upper:literal;)*) => {
        /// What an [`Event`] tells. The numbers are part of the C ABI: append only, never renumber (T16).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum EventKind { $($(#[doc = $doc])* $name = $value,)* }

        impl EventKind {
            /// Every kind, in the order of their numbers.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$name,)*];

            /// The stable upper-case name, such as `STREAM_CREATED`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(EventKind::$name => $upper,)* }
            }

            /// The kind with this number, if there is one.
            #[must_use]
            pub const fn from_code(code: i32) -> Option<EventKind> {
                match code { $($value => Some(EventKind::$name),)* _ => None }
            }
        }
    };
}

event_kinds! {
    /// A connection stands for the first time. `server`, `text`; `value` = 1. With several `connections` each tells of itself, here and below, and `text` says which.
    Connected = 1, "CONNECTED";
    /// A connection ended; its pending messages wait for the next. `server`, `status` and `text` say why.
    Disconnected = 2, "DISCONNECTED";
    /// A lost connection was made again; what is pending on it goes out again, oldest first. `server`, `text`; `value` = times it was made so far.
    Reconnected = 3, "RECONNECTED";
    /// One try to connect failed. `status`, `text`; `value` = the server's code, or 0.
    ConnectFailed = 4, "CONNECT_FAILED";
    /// The server asked its clients to leave; the bus connects elsewhere and reads the old connection to its last ack. `server`.
    LameDuck = 5, "LAME_DUCK";
    /// The server named other members of its cluster. `text` = the servers.
    ServersDiscovered = 6, "SERVERS_DISCOVERED";
    /// A rule's stream was missing and has been created. `topic` = the one that needed it, `text` = the stream.
    StreamCreated = 7, "STREAM_CREATED";
    /// A rule's stream exists with another configuration, and is used as it is. `text` = the stream and the differences.
    StreamDiffers = 8, "STREAM_DIFFERS";
    /// The stream may forget ids inside the duplicate window, by its retention or limits: a resend may store a second copy (P4). Or that window is too short. `text`.
    StreamRisk = 9, "STREAM_RISK";
    /// The stream's duplicate window could not be read; `assume_duplicate_window_ms` is used (P4). `topic` = the rule's pattern, `text`.
    WindowUnknown = 10, "WINDOW_UNKNOWN";
    /// A gate closed: messages to its stream wait and one probes. Or a rule's stream is missing and its
    /// messages wait for it. `status` and `text` say why; `topic` = that of the message refused, or of the oldest that waits.
    GateHeld = 11, "GATE_HELD";
    /// The gate is open again. `text`.
    GateOpened = 12, "GATE_OPENED";
    /// The server's permissions do not allow a topic. `topic`, `status`, `text`.
    Denied = 13, "DENIED";
    /// As many messages are pending as `pending_warn` says, or more. `value` = pending.
    PendingHigh = 14, "PENDING_HIGH";
    /// Pending fell well below `pending_warn` again. `value` = pending.
    PendingNormal = 15, "PENDING_NORMAL";
    /// The server refused the credentials. `status`, `text`.
    AuthFailed = 16, "AUTH_FAILED";
    /// A message was sent alone and ended the connection again: it is the cause, and settles. `topic`, `text`; `value` = bytes of its headers and payload.
    Quarantined = 17, "QUARANTINED";
    /// The wall clock ran ahead of the monotonic one: the machine slept, or the time was set. `value` = seconds.
    ClockJump = 18, "CLOCK_JUMP";
    /// The connection lives and messages are pending, yet no ack came for longer than `ack_wait_ms`. `value` = pending.
    AckSilence = 19, "ACK_SILENCE";
    /// The publisher gave up for good. `status` and `text` are the cause.
    Failed = 20, "FAILED";
    /// The publisher is closed; no event follows. `text` = its last error, if it had one.
    Closed = 21, "CLOSED";
}

/// One event. Fields that a kind does not use are empty or zero; [`EventKind`] says which it uses.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The cause, or [`Status::Ok`].
    pub status: Status,
    /// When it happened: nanoseconds since 1970, UTC, by the wall clock.
    pub time_unix_ns: i64,
    /// A number whose meaning the kind says.
    pub value: u64,
    /// The server, as `host:port`, never with credentials.
    pub server: String,
    /// The topic, or the pattern of the rule.
    pub topic: String,
    /// Words for people.
    pub text: String,
}

impl Event {
    /// An event of now with its words; the other fields are empty.
    pub(crate) fn new(kind: EventKind, text: impl Into<String>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
        Event { kind, status: Status::Ok, time_unix_ns: now, value: 0, server: String::new(), topic: String::new(), text: text.into() }
    }
}

/// Events that wait to be delivered: at most `capacity` of them (P9). A full queue drops its oldest: the newest tell the state. Waking is the dispatcher's.
#[derive(Debug)]
pub(crate) struct EventQueue {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    dropped: u64,
}

impl EventQueue {
    /// An empty queue. A capacity of 0 drops, and counts, every event.
    pub(crate) fn new(capacity: usize) -> Self {
        EventQueue { capacity, inner: Mutex::default() }
    }

    /// Adds an event. Returns whether the queue was empty and no longer is: the reader must be woken.
    pub(crate) fn push(&self, event: Event) -> bool {
        let mut inner = self.lock();
        if self.capacity == 0 {
            inner.dropped += 1;
            return false;
        }
        let was_empty = inner.events.is_empty();
        if inner.events.len() == self.capacity {
            inner.events.pop_front();
            inner.dropped += 1;
        }
        inner.events.push_back(event);
        was_empty
    }

    /// Takes up to `max` events, oldest first.
    pub(crate) fn take(&self, max: usize) -> Vec<Event> {
        let mut inner = self.lock();
        let count = max.min(inner.events.len());
        inner.events.drain(..count).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().events.is_empty()
    }

    /// How many events were dropped so far: the `events_dropped` of the statistics.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(value: u64) -> Event {
        Event { value, ..Event::new(EventKind::PendingHigh, "many") }
    }

    fn values(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.value).collect()
    }

    #[test]
    fn numbers_are_frozen_and_round_trip() {
        let frozen = "CONNECTED=1 DISCONNECTED=2 RECONNECTED=3 CONNECT_FAILED=4 LAME_DUCK=5 SERVERS_DISCOVERED=6 STREAM_CREATED=7 STREAM_DIFFERS=8 \
                      STREAM_RISK=9 WINDOW_UNKNOWN=10 GATE_HELD=11 GATE_OPENED=12 DENIED=13 PENDING_HIGH=14 PENDING_NORMAL=15 AUTH_FAILED=16 \
                      QUARANTINED=17 CLOCK_JUMP=18 ACK_SILENCE=19 FAILED=20 CLOSED=21";
        let now: Vec<String> = EventKind::ALL.iter().map(|&kind| format!("{}={}", kind.name(), kind as i32)).collect();
        assert_eq!(now.join(" "), frozen, "append only");
        for &kind in EventKind::ALL {
            assert_eq!(EventKind::from_code(kind as i32), Some(kind));
        }
        assert_eq!(EventKind::from_code(0), None);
        assert_eq!(EventKind::from_code(22), None);
    }

    #[test]
    fn an_event_is_stamped_and_otherwise_empty() {
        let event = Event::new(EventKind::Closed, "the end");
        assert!(event.time_unix_ns > 1_700_000_000_000_000_000, "{}", event.time_unix_ns);
        assert_eq!((event.status, event.value, event.text.as_str()), (Status::Ok, 0, "the end"));
        assert!(event.server.is_empty() && event.topic.is_empty());
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let queue = EventQueue::new(3);
        let woken: Vec<bool> = (1..=5).map(|value| queue.push(numbered(value))).collect();
        assert_eq!(woken, [true, false, false, false, false], "only the first must wake");
        assert_eq!(queue.dropped(), 2);
        assert_eq!(values(&queue.take(2)), [3, 4]);
        assert!(!queue.is_empty());
        assert!(!queue.push(numbered(6)));
        assert_eq!(values(&queue.take(usize::MAX)), [5, 6]);
        assert!(queue.is_empty() && queue.take(1).is_empty());
        assert!(queue.push(numbered(7)), "empty again: wake again");
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn a_queue_of_one_never_loses_the_wake_and_of_none_never_wakes() {
        let one = EventQueue::new(1);
        assert!(one.push(numbered(1)));
        assert!(!one.push(numbered(2)), "the reader was woken for the first and finds the second");
        assert_eq!((values(&one.take(9)), one.dropped()), (vec![2], 1));

        let none = EventQueue::new(0);
        assert!(!none.push(numbered(1)));
        assert_eq!((none.take(9).len(), none.dropped()), (0, 1));
    }
}
