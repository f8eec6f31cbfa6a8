package ackbus

// #include "ackbus.h"
import "C"

import "encoding/binary"

// packer turns messages into two arrays without pointers, which cross to C in one call.
type packer struct {
	records []C.ackbus_packed
	slab    []byte
	// accepted counts the records that C has taken.
	accepted int
}

// lengthSize is the size of the two lengths before each header.
const lengthSize = 4

func appendLength(slab []byte, length int) []byte {
	return binary.NativeEndian.AppendUint32(slab, uint32(length))
}

// Beyond this a batch is cut: it is enough for the call to cost nothing per message, and small enough to stay in a cache.
const (
	packMessages = 1024
	packBytes    = 256 << 10
)

func (p *packer) reset() {
	p.records, p.slab, p.accepted = p.records[:0], p.slab[:0], 0
}

// full tells that what is packed should be sent before more is added.
func (p *packer) full() bool {
	return len(p.records) >= packMessages || len(p.slab) >= packBytes
}

func (p *packer) span(text string) C.ackbus_span {
	span := C.ackbus_span{C.uint32_t(len(p.slab)), C.uint32_t(len(text))}
	p.slab = append(p.slab, text...)
	return span
}

// add appends a message, or says why it can never be sent.
func (p *packer) add(m *Message, tag uint64, flags uint32) error {
	if err := m.check(len(p.slab)); err != nil {
		return err
	}
	payload := C.ackbus_span{C.uint32_t(len(p.slab)), C.uint32_t(len(m.Payload))}
	p.slab = append(p.slab, m.Payload...)
	record := C.ackbus_packed{
		tag:                  C.uint64_t(tag),
		payload:              payload,
		topic:                p.span(m.Topic),
		msg_id:               p.span(m.MsgID),
		expected_stream:      p.span(m.ExpectedStream),
		expected_last_msg_id: p.span(m.ExpectedLastMsgID),
		traceparent:          p.span(m.TraceParent),
		tracestate:           p.span(m.TraceState),
		ttl_ms:               C.int64_t(milliseconds(m.TTL)),
		delivery_timeout_ms:  C.int64_t(milliseconds(m.DeliveryTimeout)),
		header_count:         C.uint32_t(len(m.Headers)),
	}
	if m.ExpectedLastSeq != nil {
		flags |= flagLastSeq
		record.expected_last_seq = C.uint64_t(*m.ExpectedLastSeq)
	}
	if m.ExpectedLastSubjectSeq != nil {
		flags |= flagLastSubject
		record.expected_last_subject_seq = C.uint64_t(*m.ExpectedLastSubjectSeq)
	}
	if m.ReportAlways {
		flags |= flagReportAlways
	}
	record.flags = C.uint32_t(flags)
	start := len(p.slab)
	for _, header := range m.Headers {
		p.slab = appendLength(appendLength(p.slab, len(header.Name)), len(header.Value))
		p.slab = append(append(p.slab, header.Name...), header.Value...)
	}
	record.headers = C.ackbus_span{C.uint32_t(start), C.uint32_t(len(p.slab) - start)}
	p.records = append(p.records, record)
	return nil
}
