package ackbus

// All calls into libackbus are in this file and in those whose names begin like its own; the rest of the package is plain Go.
//
// Rules of this file. No C code is handed a Go pointer that it may keep (T28): messages and texts are copied before a call returns, tags are integers. No call
// waits inside C, except for those that say so and that run on a goroutine of their own (T31). The handle is read through native() alone, and every method that
// reads it keeps its Publisher alive to its end (T29).

/*
#cgo !ackbus_pkgconfig LDFLAGS: -L${SRCDIR}/../../target/release -lackbus -Wl,-rpath,${SRCDIR}/../../target/release
#cgo ackbus_pkgconfig pkg-config: ackbus

// None of these calls back into Go, and none keeps what it is given: arguments need not escape to the heap, and the runtime need not prepare for a callback.
#cgo noescape ackbus_go_publish
#cgo nocallback ackbus_go_publish
#cgo noescape ackbus_go_publish_packed
#cgo nocallback ackbus_go_publish_packed
#cgo nocallback ackbus_go_poll
#cgo nocallback ackbus_go_poll_events
#cgo nocallback ackbus_go_readable
#cgo noescape ackbus_publisher_stats
#cgo nocallback ackbus_publisher_stats
#cgo noescape ackbus_metrics
#cgo nocallback ackbus_metrics
#cgo noescape ackbus_publisher_info
#cgo nocallback ackbus_publisher_info
#cgo nocallback ackbus_in_callback
#cgo nocallback ackbus_reports_free
#cgo nocallback ackbus_publisher_pending
#cgo nocallback ackbus_publisher_pending_bytes

#include "ackbus.h"

#include <poll.h>
#include <stdlib.h>

typedef struct {
	ackbus_error *error;
	uint64_t id;
	size_t accepted;
} ackbus_go_accepted;

// The payload is uint8_t and not void: cgo looks for pointers in the memory behind every void pointer, and knows that there are none in bytes.
static ackbus_go_accepted ackbus_go_publish(const ackbus_publisher *bus, const char *topic, size_t topic_len, const uint8_t *payload, size_t payload_len,
                                            uint64_t tag, uint32_t flags)
{
	ackbus_go_accepted result = {NULL, 0, 0};
	if (flags == 0) {
		ackbus_publisher_publish(bus, topic, topic_len, payload, payload_len, tag, &result.id, &result.error);
		return result;
	}
	ackbus_message message = ACKBUS_MESSAGE_INIT;
	message.topic.data = topic;
	message.topic.len = topic_len;
	message.payload = payload;
	message.payload_len = payload_len;
	message.tag = tag;
	message.flags = flags;
	ackbus_publisher_publish_msg(bus, &message, &result.id, &result.error);
	return result;
}

// The id is that of the first message.
static ackbus_go_accepted ackbus_go_publish_packed(const ackbus_publisher *bus, const ackbus_packed *msgs, size_t count, const uint8_t *slab, size_t slab_len)
{
	ackbus_go_accepted result = {NULL, 0, 0};
	ackbus_publisher_publish_packed(bus, msgs, count, sizeof *msgs, slab, slab_len, count == 1 ? &result.id : NULL, &result.accepted, &result.error);
	return result;
}

typedef struct {
	ackbus_reports *reports; // NULL if there are none
	const ackbus_report *first;
	size_t count, stride;
	ackbus_status status;
	bool room;
} ackbus_go_batch;

static ackbus_go_batch ackbus_go_poll(const ackbus_publisher *bus, size_t max)
{
	ackbus_go_batch batch = {NULL, NULL, 0, 0, ACKBUS_OK, false};
	batch.status = ackbus_publisher_poll(bus, max, 0, &batch.reports, NULL);
	if (batch.status != ACKBUS_OK)
		return batch;
	batch.first = ackbus_reports_data(batch.reports, &batch.count, &batch.stride);
	batch.room = ackbus_reports_has_room(batch.reports);
	if (batch.count == 0) {
		ackbus_reports_free(batch.reports);
		batch.reports = NULL;
	}
	return batch;
}

typedef struct {
	ackbus_events *events; // NULL if there are none
	const ackbus_event *first;
	size_t count, stride;
} ackbus_go_events;

static ackbus_go_events ackbus_go_poll_events(const ackbus_publisher *bus, size_t max)
{
	ackbus_go_events batch = {NULL, NULL, 0, 0};
	if (ackbus_publisher_poll_events(bus, max, 0, &batch.events, NULL) != ACKBUS_OK)
		return batch;
	batch.first = ackbus_events_data(batch.events, &batch.count, &batch.stride);
	if (batch.count == 0) {
		ackbus_events_free(batch.events);
		batch.events = NULL;
	}
	return batch;
}

static bool ackbus_go_readable(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	return poll(&poller, 1, 0) == 1;
}

typedef struct {
	ackbus_status status;
	uint32_t server_code;
	bool retriable, fatal;
	ackbus_str text;
	uint64_t held_by;
} ackbus_go_error;

static ackbus_go_error ackbus_go_describe(const ackbus_error *error)
{
	ackbus_go_error result = {ackbus_error_status(error), ackbus_error_server_code(error), ackbus_error_is_retriable(error), ackbus_error_is_fatal(error),
	                          ackbus_error_message(error), ackbus_error_held_by(error)};
	return result;
}

static ackbus_status ackbus_go_check_abi(void) { return ackbus_check_abi(); }
*/
import "C"

import (
	"fmt"
	"strings"
	"time"
	"unsafe"
)

// Flags of messages and reports that the rest of the package uses.
const (
	flagReportAlways = uint32(C.ACKBUS_MSG_REPORT_ALWAYS)
	flagMark         = uint32(C.ACKBUS_MSG_MARK)
	flagLastSeq      = uint32(C.ACKBUS_MSG_EXPECTED_LAST_SEQ)
	flagLastSubject  = uint32(C.ACKBUS_MSG_EXPECTED_LAST_SUBJECT_SEQ)

	purgeUnsent   = uint32(C.ACKBUS_PURGE_UNSENT)
	purgeInFlight = uint32(C.ACKBUS_PURGE_IN_FLIGHT)
)

// native is a publisher of the library's.
type native struct {
	bus *C.ackbus_publisher
}

// setting is an option, or a key of the rule for a pattern.
type setting struct {
	rule                bool
	pattern, key, value string
}

// connectNative makes a publisher. It waits inside C, up to connect_timeout_ms.
func connectNative(settings []setting) (native, error) {
	if status := Status(C.ackbus_go_check_abi()); status != OK {
		return native{}, &Error{Status: status, Text: "this package was compiled with the header of version " + headerVersion() +
			", and runs with the library of version " + LibraryVersion()}
	}
	config := C.ackbus_config_new()
	defer C.ackbus_config_free(config)
	for _, s := range settings {
		if err := setNative(s, func(pattern, key, value *C.char, err **C.ackbus_error) {
			if pattern == nil {
				C.ackbus_config_set(config, key, value, err)
			} else {
				C.ackbus_config_set_topic(config, pattern, key, value, err)
			}
		}); err != nil {
			return native{}, err
		}
	}
	var n native
	var err *C.ackbus_error
	C.ackbus_publisher_connect(config, &n.bus, &err)
	return n, takeError(err)
}

// setNative calls with a setting's texts as C strings.
func setNative(s setting, set func(pattern, key, value *C.char, err **C.ackbus_error)) error {
	for _, text := range []string{s.pattern, s.key, s.value} {
		if strings.IndexByte(text, 0) >= 0 {
			return &Error{Status: ErrInvalidOption, Text: s.key + ": a NUL byte is not allowed in a setting"}
		}
	}
	var pattern *C.char
	if s.rule {
		pattern = C.CString(s.pattern)
	}
	key, value := C.CString(s.key), C.CString(s.value)
	var err *C.ackbus_error
	set(pattern, key, value, &err)
	C.free(unsafe.Pointer(pattern))
	C.free(unsafe.Pointer(key))
	C.free(unsafe.Pointer(value))
	return takeError(err)
}

func (n native) setTopic(s setting) error {
	return setNative(s, func(pattern, key, value *C.char, err **C.ackbus_error) {
		C.ackbus_publisher_set_topic(n.bus, pattern, key, value, err)
	})
}

// takeError turns an error of the library's into one of Go's, and frees it.
func takeError(err *C.ackbus_error) error {
	if err == nil {
		return nil
	}
	e := C.ackbus_go_describe(err)
	result := &Error{
		Status:     Status(e.status),
		ServerCode: uint32(e.server_code),
		Retriable:  bool(e.retriable),
		Fatal:      bool(e.fatal),
		Text:       copyText(e.text),
		heldBy:     uint64(e.held_by),
	}
	C.ackbus_error_free(err)
	return result
}

// viewText is the text itself, for as long as C keeps it.
func viewText(s C.ackbus_str) string {
	return unsafe.String((*byte)(unsafe.Pointer(s.data)), int(s.len))
}

func copyText(s C.ackbus_str) string {
	return strings.Clone(viewText(s))
}

func (n native) publish(topic string, payload []byte, tag uint64, flags uint32) (uint64, error) {
	r := C.ackbus_go_publish(n.bus, (*C.char)(unsafe.Pointer(unsafe.StringData(topic))), C.size_t(len(topic)),
		(*C.uint8_t)(unsafe.SliceData(payload)), C.size_t(len(payload)), C.uint64_t(tag), C.uint32_t(flags))
	return uint64(r.id), takeError(r.error)
}

// publishPacked publishes what was not accepted yet, and counts in the packer what is. It returns the id of a single message.
func (n native) publishPacked(p *packer) (uint64, error) {
	records := p.records[p.accepted:]
	r := C.ackbus_go_publish_packed(n.bus, unsafe.SliceData(records), C.size_t(len(records)),
		(*C.uint8_t)(unsafe.SliceData(p.slab)), C.size_t(len(p.slab)))
	p.accepted += int(r.accepted)
	return uint64(r.id), takeError(r.error)
}

// wakeFD is readable while there is something to poll.
func (n native) wakeFD() int {
	return int(C.ackbus_publisher_wake_fd(n.bus))
}

// readable asks whether a descriptor is, now.
func readable(fd int) bool {
	return bool(C.ackbus_go_readable(C.int(fd)))
}

// flush waits inside C until everything accepted before the call is settled.
func (n native) flush() error {
	var err *C.ackbus_error
	C.ackbus_publisher_flush(n.bus, -1, &err)
	return takeError(err)
}

// close waits inside C until the publisher is closed: up to the timeout for acknowledgements. A negative one means close_timeout_ms.
func (n native) close(timeout time.Duration) error {
	ms := int64(-1)
	if timeout >= 0 {
		ms = timeout.Milliseconds()
	}
	var err *C.ackbus_error
	C.ackbus_publisher_close(n.bus, C.int64_t(ms), &err)
	return takeError(err)
}

// free ends the handle. Nothing else may use it any more.
func (n native) free() {
	C.ackbus_publisher_free(n.bus)
}

func (n native) purge(flags uint32) (uint64, error) {
	var count C.uint64_t
	var err *C.ackbus_error
	C.ackbus_publisher_purge(n.bus, C.uint32_t(flags), &count, &err)
	return uint64(count), takeError(err)
}

func (n native) pending() uint64      { return uint64(C.ackbus_publisher_pending(n.bus)) }
func (n native) pendingBytes() uint64 { return uint64(C.ackbus_publisher_pending_bytes(n.bus)) }

// inCallback tells whether this goroutine is one that runs a handler: only such a one is locked to a thread that C knows to be inside a callback.
func inCallback() bool {
	return bool(C.ackbus_in_callback())
}

// enterCallback makes this thread one inside a callback, with the places of the batch, which may be nil. The goroutine must be locked to its thread.
func enterCallback(b *batch) {
	var reports *C.ackbus_reports
	if b != nil {
		reports = b.reports
	}
	C.ackbus_callback_enter(reports, nil)
}

func leaveCallback() {
	C.ackbus_callback_leave()
}

// batch is some reports, in C's memory until they are freed. They hold their places in the window until then.
type batch struct {
	reports *C.ackbus_reports
	first   *C.ackbus_report
	count   int
	stride  uintptr
}

// poll takes up to max reports without waiting. A nil batch: there are none.
func (n native) poll(max int) (b *batch, room, ended bool) {
	r := C.ackbus_go_poll(n.bus, C.size_t(max))
	if r.reports != nil {
		b = &batch{r.reports, r.first, int(r.count), uintptr(r.stride)}
	}
	return b, bool(r.room), r.status != C.ACKBUS_OK
}

func (b *batch) free() {
	C.ackbus_reports_free(b.reports)
	b.reports, b.first, b.count = nil, nil, 0
}

// at is report i of the batch.
func (b *batch) at(i int) *rawReport {
	return (*rawReport)(unsafe.Add(unsafe.Pointer(b.first), uintptr(i)*b.stride))
}

// rawReport is a report in C's memory.
type rawReport C.ackbus_report

// marked tells the reports of tickets from all others.
func (r *rawReport) marked() bool    { return r.flags&C.ACKBUS_REPORT_MARK != 0 }
func (r *rawReport) ephemeral() bool { return r.flags&C.ACKBUS_REPORT_EPHEMERAL != 0 }
func (r *rawReport) closed() bool    { return r.status == C.ACKBUS_ERR_CLOSED }

// done: persisted or, ephemeral, written.
func (r *rawReport) done() bool { return r.status == C.ACKBUS_OK }

// err is nil if the message is persisted or, ephemeral, written.
func (r *rawReport) err() *Error {
	if r.done() {
		return nil
	}
	return &Error{
		Status:      Status(r.status),
		Persistence: Persistence(r.persistence),
		ServerCode:  uint32(r.server_code),
		Retriable:   bool(C.ackbus_status_is_retriable(r.status)),
		Attempts:    int(r.attempts),
		Text:        copyText(r.text),
	}
}

// ack is what a stream answered. The names are taken from names, so that there is one copy for many messages.
func (r *rawReport) ack(names *streamNames) Ack {
	return Ack{
		Stream:    names.name.of(viewText(r.stream)),
		Sequence:  uint64(r.stream_seq),
		Duplicate: r.flags&C.ACKBUS_REPORT_DUPLICATE != 0,
		Ephemeral: r.ephemeral(),
		Attempts:  int(r.attempts),
		Latency:   time.Duration(r.latency_ns),
		Domain:    names.domain.of(viewText(r.domain)),
	}
}

// report copies what users get to see.
func (r *rawReport) report(names *handlerNames) Report {
	report := Report{
		ID:    uint64(r.id),
		Tag:   uint64(r.tag),
		Topic: names.topic.of(viewText(r.topic)),
		MsgID: copyText(r.msg_id),
		// C's copy ends with the batch, and users keep what they are given.
		Payload: append([]byte{}, unsafe.Slice((*byte)(r.payload), int(r.payload_len))...),
		Ack:     r.ack(&names.stream),
	}
	if err := r.err(); err != nil {
		report.Err = err
	}
	return report
}

// pollEvents takes all events without waiting.
func (n native) pollEvents() []Event {
	r := C.ackbus_go_poll_events(n.bus, 64)
	if r.events == nil {
		return nil
	}
	events := make([]Event, 0, int(r.count))
	for i := range uintptr(r.count) {
		e := (*C.ackbus_event)(unsafe.Add(unsafe.Pointer(r.first), i*uintptr(r.stride)))
		events = append(events, Event{
			Kind:   EventKind(e.kind),
			Status: Status(e.status),
			Time:   time.Unix(0, int64(e.time_unix_ns)),
			Value:  uint64(e.value),
			Server: copyText(e.server),
			Topic:  copyText(e.topic),
			Text:   copyText(e.text),
		})
	}
	C.ackbus_events_free(r.events)
	return events
}

func (n native) stats() Stats {
	s := C.ackbus_stats{struct_size: C.sizeof_ackbus_stats}
	C.ackbus_publisher_stats(n.bus, &s)
	return Stats{
		Accepted:         uint64(s.accepted),
		Pending:          uint64(s.pending),
		PendingBytes:     uint64(s.pending_bytes),
		EventsDropped:    uint64(s.events_dropped),
		Published:        uint64(s.published),
		PublishErrors:    uint64(s.publish_errors),
		PendingMax:       uint64(s.pending_max),
		AckTimeouts:      uint64(s.ack_timeouts),
		Duplicates:       uint64(s.duplicates),
		Attempts:         uint64(s.attempts),
		Retries:          uint64(s.retries),
		Resent:           uint64(s.resent),
		LateAcks:         uint64(s.late_acks),
		AlienReplies:     uint64(s.alien_replies),
		QueueFull:        uint64(s.queue_full),
		GatesHeld:        uint64(s.gates_held),
		Ephemeral:        uint64(s.ephemeral),
		EphemeralDropped: uint64(s.ephemeral_dropped),
		ReportsDelivered: uint64(s.reports_delivered),
		Reconnects:       uint64(s.reconnects),
		BytesOut:         uint64(s.bytes_out),
		Wakeups:          uint64(s.wakeups),
		LatencyP50:       time.Duration(s.latency_p50_ns),
		LatencyP99:       time.Duration(s.latency_p99_ns),
		LatencyMax:       time.Duration(s.latency_max_ns),
	}
}

func (n native) info() Info {
	i := C.ackbus_info{struct_size: C.sizeof_ackbus_info}
	C.ackbus_publisher_info(n.bus, &i)
	info := Info{
		State:         State(i.state),
		Server:        C.GoString(&i.server[0]),
		ServerVersion: C.GoString(&i.server_version[0]),
		MaxPayload:    uint64(i.max_payload),
	}
	if i.last_error != C.ACKBUS_OK {
		info.LastError = &Error{
			Status:     Status(i.last_error),
			ServerCode: uint32(i.last_error_server_code),
			Retriable:  bool(C.ackbus_status_is_retriable(i.last_error)),
			Text:       C.GoString(&i.last_error_text[0]),
		}
	}
	return info
}

// metricsType is the Content-Type of metrics.
const metricsType = C.ACKBUS_METRICS_CONTENT_TYPE

// metricsOf is the figures of these publishers as one text.
func metricsOf(buses []native) string {
	list := make([]*C.ackbus_publisher, len(buses))
	for i, n := range buses {
		list[i] = n.bus
	}
	// Figures grow: a length that was asked for first may be too small.
	buffer := make([]byte, (len(buses)+1)*C.ACKBUS_METRICS_MAX)
	var length C.size_t
	C.ackbus_metrics(unsafe.SliceData(list), C.size_t(len(list)), (*C.char)(unsafe.Pointer(unsafe.SliceData(buffer))), C.size_t(len(buffer)), &length, nil)
	return string(buffer[:length])
}

// optionKeys lists the options that the library knows, and topicKeys the keys of topic rules.
func optionKeys() []string {
	return keys(func(i C.size_t) *C.char { return C.ackbus_config_key(i) })
}

func topicKeys() []string {
	return keys(func(i C.size_t) *C.char { return C.ackbus_config_topic_key(i) })
}

func keys(key func(C.size_t) *C.char) (list []string) {
	for i := C.size_t(0); ; i++ {
		text := key(i)
		if text == nil {
			return list
		}
		list = append(list, C.GoString(text))
	}
}

func statusName(s Status) string       { return C.GoString(C.ackbus_status_name(C.ackbus_status(s))) }
func statusText(s Status) string       { return C.GoString(C.ackbus_status_text(C.ackbus_status(s))) }
func eventKindName(k EventKind) string { return C.GoString(C.ackbus_event_kind_name(C.int32_t(k))) }

func headerVersion() string {
	return fmt.Sprintf("%d.%d.%d", C.ACKBUS_VERSION_MAJOR, C.ACKBUS_VERSION_MINOR, C.ACKBUS_VERSION_PATCH)
}

// LibraryVersion is the version of the libackbus that the program runs with, such as "0.1.0".
func LibraryVersion() string {
	return C.GoString(C.ackbus_version_string())
}
