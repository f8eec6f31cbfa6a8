//! `ackbus_report` and batches of them.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr;

use ackbus::{Error, Report, Reports, Result, Sink, Status};

use crate::callback::{Callback, ackbus_drop_cb};
use crate::error::ackbus_status;
use crate::handle::{Call, Handle};
use crate::panics::guard_or;
use crate::text::ackbus_str;

/// What is known about the message's copy in the stream: `ACKBUS_NOT_PERSISTED`, `ACKBUS_POSSIBLY_PERSISTED` or `ACKBUS_PERSISTED`.
pub type ackbus_persistence = i32;

/// Proven not to be in the stream. Publishing it again cannot make a second copy.
pub const ACKBUS_NOT_PERSISTED: ackbus_persistence = 0;
/// May be in the stream. Publishing it again may make a second copy.
pub const ACKBUS_POSSIBLY_PERSISTED: ackbus_persistence = 1;
/// In the stream: the server acknowledged it.
pub const ACKBUS_PERSISTED: ackbus_persistence = 2;

/// In `ackbus_report.flags`: the stream had a message with this Msg-Id already, and it cannot be an earlier attempt of this one.
pub const ACKBUS_REPORT_DUPLICATE: u32 = 1;
/// In `ackbus_report.flags`: the topic is ephemeral: the message was written and is never acknowledged.
pub const ACKBUS_REPORT_EPHEMERAL: u32 = 2;
/// In `ackbus_report.flags`: the message was published with `ACKBUS_MSG_MARK`.
pub const ACKBUS_REPORT_MARK: u32 = 4;

/// The outcome of one message, and the message itself, so that an error handler can log, count, re-route or dead-letter it.
///
/// Ownership: the texts and the payload are views. In a callback they end when it returns, in a batch with `ackbus_reports_free`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ackbus_report {
    /// The number that the caller gave with the message.
    pub tag: u64,
    /// The message's id, which publish returned.
    pub id: u64,
    /// The message's sequence in its stream; 0 unless persisted.
    pub stream_seq: u64,
    /// From acceptance to the outcome, in nanoseconds.
    pub latency_ns: u64,
    /// `ACKBUS_OK`, or why the message is not known to be persisted.
    pub status: ackbus_status,
    /// What is known about the stored copy; tells whether the message may be published again.
    pub persistence: ackbus_persistence,
    /// `ACKBUS_REPORT_...`, any number of them. Later versions may add some.
    pub flags: u32,
    /// JetStream's `err_code`, or the status of a reply without a body (such as 503); 0 if there was none.
    pub server_code: u32,
    /// How many times the message was sent; 0: it never left the process.
    pub attempts: u32,
    /// Zero.
    pub reserved: u32,
    /// The topic.
    pub topic: ackbus_str,
    /// The payload as it was published. NULL if `payload_len` is 0.
    pub payload: *const c_void,
    /// The payload's length in bytes.
    pub payload_len: usize,
    /// The Msg-Id, the caller's or the automatic one; empty if it has none.
    pub msg_id: ackbus_str,
    /// The stream that stored the message; empty unless persisted.
    pub stream: ackbus_str,
    /// What happened, in words; empty if all went well.
    pub text: ackbus_str,
    /// The JetStream domain of the stream, as the server named it; empty if it named none, and unless persisted.
    pub domain: ackbus_str,
}

impl ackbus_report {
    /// The size of the first version's report; a header cannot have a smaller one.
    pub(crate) const SMALLEST: usize = offset_of!(ackbus_report, text) + size_of::<ackbus_str>();

    fn of(report: &Report<'_>) -> Self {
        let payload = report.payload();
        ackbus_report {
            tag: report.tag(),
            id: report.id(),
            stream_seq: report.stream_seq(),
            latency_ns: report.latency_ns(),
            status: report.status() as ackbus_status,
            persistence: report.persistence() as ackbus_persistence,
            flags: report.flags(),
            server_code: report.server_code(),
            attempts: report.attempts(),
            reserved: 0,
            topic: ackbus_str::of_terminated(report.topic_nul()),
            payload: if payload.is_empty() { ptr::null() } else { payload.as_ptr().cast() },
            payload_len: payload.len(),
            msg_id: ackbus_str::of_terminated(report.msg_id_nul()),
            stream: ackbus_str::of_terminated(report.stream_nul()),
            text: ackbus_str::of_terminated(report.text_nul()),
            domain: ackbus_str::of_terminated(report.domain_nul()),
        }
    }
}

/// Receives reports, as the option `report` says which.
///
/// `user_data`: as given to `ackbus_config_on_reports`. `reports`: an array of `count` reports, `stride` bytes apart (use `ackbus_report_at`); count is at least 1.
///
/// Ownership: the reports and all that they point to end when the callback returns. Their places in the window are free before it is called, for its own use:
/// as many messages as it got reports can be published from it whatever other threads wait for.
///
/// Threads: a thread of the library's, one call at a time per publisher. Publishers made of one config have a thread each and may call at the same time.
/// `ackbus_publisher_publish`, `_publish_msg`, `_publish_batch` and `_publish_packed` never wait in it; calls that wait return `ACKBUS_ERR_WRONG_THREAD`.
/// It must return: no exception, no longjmp.
pub type ackbus_report_cb = Option<unsafe extern "C" fn(user_data: *mut c_void, reports: *const ackbus_report, count: usize, stride: usize)>;

type ReportFn = unsafe extern "C" fn(*mut c_void, *const ackbus_report, usize, usize);

thread_local! {
    /// The array of the running report thread, kept for the next batch: no allocation per batch. It is taken out while the callback runs, so nothing is locked
    /// meanwhile (P5), and it is empty between batches, so no view outlives its message.
    static VIEWS: Cell<Vec<ackbus_report>> = const { Cell::new(Vec::new()) };
}

/// Hands reports to C.
pub(crate) struct ReportSink(Callback<ReportFn>);

impl ReportSink {
    pub(crate) fn new(callback: ackbus_report_cb, user_data: *mut c_void, finalizer: ackbus_drop_cb) -> Result<Self> {
        Callback::new(callback, user_data, finalizer).map(ReportSink)
    }
}

impl Sink for ReportSink {
    fn reports(&self, reports: &[Report<'_>]) {
        if reports.is_empty() {
            return;
        }
        let mut views = VIEWS.take();
        views.extend(reports.iter().map(ackbus_report::of));
        // SAFETY: C gave function and user_data together; the views are valid until this returns.
        unsafe { (self.0.function)(self.0.user_data, views.as_ptr(), views.len(), size_of::<ackbus_report>()) };
        views.clear();
        VIEWS.set(views);
    }
}

/// A batch of reports, from `ackbus_publisher_poll` or `ackbus_publisher_publish_wait`.
///
/// Ownership: the caller's, until `ackbus_reports_free`; it may outlive the publisher. Its messages keep their places in the window until then.
/// Threads: one at a time to free it; any to read it.
pub struct ackbus_reports {
    /// Views into `reports`, whose messages stay where they are when it is moved.
    views: Vec<ackbus_report>,
    reports: Reports,
}

impl Handle for ackbus_reports {
    const MAGIC: u64 = u64::from_le_bytes(*b"ackb-rep");
    const NAME: &'static str = "ackbus_reports";
}

impl ackbus_reports {
    pub(crate) fn new(reports: Reports) -> Self {
        ackbus_reports { views: reports.iter().map(|report| ackbus_report::of(&report)).collect(), reports }
    }

    pub(crate) fn enter_callback(&mut self) -> Result<()> {
        self.reports.enter_callback()
    }

    /// The outcome of a batch of one, as the result of a call.
    pub(crate) fn outcome(&self) -> Result<()> {
        match self.reports.get(0) {
            Some(report) if report.status() == Status::Ok => Ok(()),
            Some(report) => Err(Error::new(report.status(), report.text()).with_server_code(report.server_code())),
            None => Err(Error::new(Status::Internal, "a batch of one has no report")),
        }
    }
}

/// The reports of a batch: an array of `*out_len` reports, `*out_stride` bytes apart (use `ackbus_report_at`). Both outputs may be NULL.
///
/// Ownership: the batch's. Threads: any. Returns NULL, with both outputs 0, for NULL and for an empty batch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_reports_data(reports: *const ackbus_reports, out_len: *mut usize, out_stride: *mut usize) -> *const ackbus_report {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    let views = guard_or(&[][..], || Ok(call.shared(reports)?.views.as_slice()));
    call.write(out_len, views.len());
    call.write(out_stride, if views.is_empty() { 0 } else { size_of::<ackbus_report>() });
    if views.is_empty() { ptr::null() } else { views.as_ptr() }
}

/// Whether the poll that made this batch also found room again after an `ACKBUS_ERR_QUEUE_FULL`.
///
/// Threads: any. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_reports_has_room(reports: *const ackbus_reports) -> bool {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or(false, || Ok(call.shared(reports)?.reports.room()))
}

/// Frees a batch: its messages' places go back to the window. NULL does nothing. It may be called after the publisher was closed and freed. In a child of
/// fork it leaks the batch, because a lock that it needs may be held for ever.
///
/// Threads: any; nobody else may use the batch. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ackbus_reports_free(reports: *mut ackbus_reports) {
    // SAFETY: C keeps the header's rules for this call.
    let call = unsafe { Call::from_c() };
    guard_or((), || if ackbus::forked() { Ok(()) } else { call.take(reports).map(drop) });
}
