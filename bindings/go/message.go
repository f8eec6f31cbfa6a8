package ackbus

import (
	"fmt"
	"math"
	"time"
)

// Header is a name and a value. Names are printable ASCII without ":"; values are text without control bytes and without blanks at their ends.
type Header struct {
	Name, Value string // as they stand on the wire
}

// Message is a message with everything that can be said about it. Only the topic must be given. It is copied when it is published.
type Message struct {
	// Topic is where it goes: tokens with dots between them, no wildcards, no blanks.
	Topic string
	// Payload is any bytes, also none.
	Payload []byte
	// Headers are sent in this order.
	Headers []Header
	// MsgID is the id by which the stream knows a second copy. Empty: as [WithMsgID] says.
	MsgID string
	// ExpectedStream refuses the message unless this stream stores it.
	ExpectedStream string
	// ExpectedLastMsgID refuses it unless the stream's last message has this id.
	ExpectedLastMsgID string
	// ExpectedLastSeq refuses it unless this is the stream's last sequence. 0 is a value: the stream is empty. See [Seq].
	ExpectedLastSeq *uint64
	// ExpectedLastSubjectSeq refuses it unless this is the last sequence with this topic.
	ExpectedLastSubjectSeq *uint64
	// TraceParent is the trace that the message belongs to, as the header traceparent of W3C Trace Context: version-traceid-parentid-flags in lower-case
	// hex. See [Message.TraceCarrier].
	TraceParent string
	// TraceState is what tracing systems add to it, 1 to 512 bytes. Only with TraceParent.
	TraceState string
	// TTL is how long the stream keeps the message, at least a second. 0: as the stream says. The stream must allow it.
	TTL time.Duration
	// DeliveryTimeout is the time until the outcome is decided. 0: as [WithDeliveryTimeout] says.
	DeliveryTimeout time.Duration
	// Tag is the caller's number for this message. It comes back in the report.
	Tag uint64
	// ReportAlways reports this message's outcome whatever [WithReport] says.
	ReportAlways bool
	// StallWait is how long the call waits for room before it returns [ErrQueueFull]. 0: as [WithOnFull] and [WithStallWait] say; negative: not at all.
	StallWait time.Duration
}

// Seq is for the fields of [Message] in which 0 is a value of its own.
func Seq(sequence uint64) *uint64 { return &sequence }

// plain messages have nothing that the fast way cannot carry.
func (m *Message) plain() bool {
	return len(m.Headers) == 0 && m.MsgID == "" && m.ExpectedStream == "" && m.ExpectedLastMsgID == "" && m.ExpectedLastSeq == nil &&
		m.ExpectedLastSubjectSeq == nil && m.TraceParent == "" && m.TraceState == "" && m.TTL == 0 && m.DeliveryTimeout == 0 && m.StallWait == 0
}

func (m *Message) flags() uint32 {
	if m.ReportAlways {
		return flagReportAlways
	}
	return 0
}

// check refuses what would be lost on the way to C. All else is checked there.
func (m *Message) check(packed int) error {
	if m.TTL < 0 || m.DeliveryTimeout < 0 {
		return &Error{Status: ErrInvalidArgument, Text: fmt.Sprintf("TTL is %v and DeliveryTimeout is %v; they must not be negative", m.TTL, m.DeliveryTimeout)}
	}
	size := len(m.Topic) + len(m.Payload) + len(m.MsgID) + len(m.ExpectedStream) + len(m.ExpectedLastMsgID) + len(m.TraceParent) + len(m.TraceState)
	for _, header := range m.Headers {
		size += len(header.Name) + len(header.Value) + 2*lengthSize
	}
	// Spans count in 32 bits; no server takes a tenth of it.
	if uint64(size)+uint64(packed) > math.MaxUint32 {
		return &Error{Status: ErrTooLarge, Text: fmt.Sprintf("the message has %d bytes; at most 4 GiB are allowed", size)}
	}
	return nil
}

// milliseconds rounds up: a time that was given must not become 0, which means that none was.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
