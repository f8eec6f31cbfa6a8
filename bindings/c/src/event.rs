//! `ackbus_event` and batches of them.

use std::ffi::{c_char, c_void};
use std::ptr;

use ackbus::{Event, EventKind, Result, Sink};

use crate::callback::{Callback, ackbus_drop_cb};
use crate::error::ackbus_status;
use crate::handle::{Call, Handle};
use crate::panics::guard_or;
use crate::text::{Terminated, ackbus_str, terminated};

/// A connection stands for the first time. `server`, `text`; `value` = 1. With several `connections` each tells of itself, here and below, and `text` says which.
pub const ACKBUS_EVENT_CONNECTED: i32 = 1;
/// A connection ended; its pending messages wait for the next. `server`, `status` and `text` say why.
pub const ACKBUS_EVENT_DISCONNECTED: i32 = 2;
/// A lost connection was made again; what is pending on it goes out again, oldest first. `server`, `text`; `value` = times it was made so far.
pub const ACKBUS_EVENT_RECONNECTED: i32 = 3;
/// One try to connect failed. `status`, `text`; `value` = the server's code, or 0.
pub const ACKBUS_EVENT_CONNECT_FAILED: i32 = 4;
/// The server asked its clients to leave; the bus connects elsewhere and reads the old connection to its last ack. `server`.
pub const ACKBUS_EVENT_LAME_DUCK: i32 = 5;
/// The server named other members of its cluster. `text` = the servers.
pub const ACKBUS_EVENT_SERVERS_DISCOVERED: i32 = 6;
/// A rule's stream was missing and has been created. `topic` = the one that needed it, `text` = the stream.
pub const ACKBUS_EVENT_STREAM_CREATED: i32 = 7;
/// A rule's stream exists with another configuration, and is used as it is. `text` = the stream and the differences.
pub const ACKBUS_EVENT_STREAM_DIFFERS: i32 = 8;
/// The stream may forget ids inside the duplicate window, by its retention or limits: a resend may store a second copy (P4). Or that window is too short. `text`.
pub const ACKBUS_EVENT_STREAM_RISK: i32 = 9;
/// The stream's duplicate window could not be read; `assume_duplicate_window_ms` is used (P4). `topic` = the rule's pattern, `text`.
pub const ACKBUS_EVENT_WINDOW_UNKNOWN: i32 = 10;
/// A gate closed: messages to its stream wait and one probes. Or a rule's stream is missing and its
/// messages wait for it. `status` and `text` say why; `topic` = that of the message refused, or of the oldest that waits.
pub const ACKBUS_EVENT_GATE_HELD: i32 = 11;
/// The gate is open again. `text`.
pub const ACKBUS_EVENT_GATE_OPENED: i32 = 12;
/// The server's permissions do not allow a topic. `topic`, `status`, `text`.
pub const ACKBUS_EVENT_DENIED: i32 = 13;
/// As many messages are pending as `pending_warn` says, or more. `value` = pending.
pub const ACKBUS_EVENT_PENDING_HIGH: i32 = 14;
/// Pending fell well below `pending_warn` again. `value` = pending.
pub const ACKBUS_EVENT_PENDING_NORMAL: i32 = 15;
/// The server refused the credentials. `status`, `text`.
pub const ACKBUS_EVENT_AUTH_FAILED: i32 = 16;
/// A message was sent alone and ended the connection again: it is the cause, and settles. `topic`, `text`; `value` = bytes of its headers and payload.
pub const ACKBUS_EVENT_QUARANTINED: i32 = 17;
/// The wall clock ran ahead of the monotonic one: the machine slept, or the time was set. `value` = seconds.
pub const ACKBUS_EVENT_CLOCK_JUMP: i32 = 18;
/// The connection lives and messages are pending, yet no ack came for longer than `ack_wait_ms`. `value` = pending.
pub const ACKBUS_EVENT_ACK_SILENCE: i32 = 19;
/// The publisher gave up for good. `status` and `text` are the cause.
pub const ACKBUS_EVENT_FAILED: i32 = 20;
/// The publisher is closed; no event follows. `text` = its last error, if it had one.
pub const ACKBUS_EVENT_CLOSED: i32 = 21;

/// Something that happened to the connection or to a stream. Fields that a kind does not use are empty or 0; the comment at each `ACKBUS_EVENT_...` says which it
/// uses.
///
/// Ownership: the texts are views. In a callback they end when it returns, in a batch with `ackbus_events_free`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ackbus_event {
    /// The size of this struct in the library.
    pub struct_size: usize,
    /// `ACKBUS_EVENT_...`. Later versions may add some.
    pub kind: i32,
    /// The cause, or `ACKBUS_OK`.
    pub status: ackbus_status,
    /// When: nanoseconds since 1970, UTC, by the wall clock.
    pub time_unix_ns: i64,
    /// A number whose meaning the kind says.
    pub value: u64,
    /// The server as host:port, never with credentials.
    pub server: ackbus_str,
    /// The topic, or the pattern of the topic rule.
    pub topic: ackbus_str,
    /// Words for people.
    pub text: ackbus_str,
}

/// An event kind's stable upper-case name, such as "STREAM_CREATED"; "UNKNOWN" for a number that this version does not know.
///
/// Ownership: static, never freed. Threads: any. Cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn ackbus_event_kind_name(kind: i32) -> *const c_char {
    static NAMES: [[u8; 32]; EventKind::ALL.len()] = {
        let mut names = [[0; 32]; EventKind::ALL.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = terminated(EventKind::ALL[index].name());
            index += 1;
        }
        names
    };
    let known = EventKind::ALL.iter().zip(&NAMES).find(|(known, _)| **known as i32 == kind);
    known.map_or(c"UNKNOWN".as_ptr(), |(_, name)| name.as_ptr().cast())
}

/// Receives one event.
///
/// `user_data`: as given to `ackbus_config_on_event`. `event`: ends with all that it points to when the callback returns.
///
/// Threads: the publisher's report thread, one call at a time. The rules for calls from inside are those of `ackbus_report_cb`.
pub type ackbus_event_cb = Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const ackbus_event)>;

type EventFn = unsafe extern "C" fn(*mut c_void, *const ackbus_event);

/// Hands events to C.
pub(crate) struct EventSink(Callback<EventFn>);

impl EventSink {
    pub(crate) fn new(callback: ackbus_event_cb, user_data: *mut c_void, finalizer: ackbus_drop_cb) -> Result<Self> {
        Callback::new(callback, user_data, finalizer).map(EventSink)
    }
}

impl Sink for EventSink {
    fn event(&self, event: &Event) {
        let texts = Texts::of(event);
        let view = texts.view(event);
        // SAFETY: C gave function and user_data together; the view is valid until this returns.
        unsafe { (self.0.function)(self.0.user_data, ptr::from_ref(&view)) };
    }
}

/// The texts of an event with NUL bytes behind them.
struct Texts {
    server: Terminated,
    topic: Terminated,
    text: Terminated,
}

impl Texts {
    fn of(event: &Event) -> Self {
        Texts { server: Terminated::new(&event.server), topic: Terminated::new(&event.topic), text: Terminated::new(&event.text) }
    }

    /// Valid as long as `self`, also when it is moved.
    fn view(&self, event: &Event) -> ackbus_event {
        ackbus_event {
            struct_size: size_of::<ackbus_event>(),
            kind: event.kind as i32,
            status: event.status as ackbus_status,
            time_unix_ns: event.time_unix_ns,
            value: event.value,
            server: self.server.view(),
            topic: self.topic.view(),
            text: self.text.view(),
        }
    }
}

/// A batch of events, from `ackbus_publisher_poll_events`.
///
/// Ownership: the caller's, until `ackbus_events_free`; it may outlive the publisher. Threads: one at a time to free it; any to read it.
pub struct ackbus_events {
    views: Vec<ackbus_event>,
    /// What the views point to.
    _texts: Vec<Texts>,
}

impl Handle for ackbus_events {
    const MAGIC: u64 = u64::from_le_bytes(*b"ackb-evs");
    const NAME: &'static str = "ackbus_events";
}

impl ackbus_events {
    pub(crate) fn new(events: &[Event]) -> Self {
        let texts: Vec<Texts> = events.iter().map(Texts::of).collect();
        let views = events.iter().zip(&texts).map(|(event, texts)| texts.view(event)).collect();
        ackbus_events { views, _texts: texts }
    }
}

/// The events of a batch: an array of `*out_len` events, `*out_stride` bytes apart (use `ackbus_event_at`). Both outputs may be NULL.
///
/// Ownership: the batch's. Threads: any. Returns NULL, with both outputs 0, for NULL and for an empty batch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_events_data(events: *const ackbus_events, out_len: *mut usize, out_stride: *mut usize) -> *const ackbus_event {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    let views = guard_or(&[][..], || Ok(call.shared(events)?.views.as_slice()));
    call.write(out_len, views.len());
    call.write(out_stride, if views.is_empty() { 0 } else { size_of::<ackbus_event>() });
    if views.is_empty() { ptr::null() } else { views.as_ptr() }
}

/// Frees a batch of events. NULL does nothing. It may be called after the publisher was closed and freed.
///
/// Threads: any; nobody else may use the batch. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_events_free(events: *mut ackbus_events) {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or((), || call.take(events).map(drop));
}
