package ackbus

import "time"

// Stats is a publisher's figures, all since it connected. At rest, for persistent messages, Accepted is Published + PublishErrors + Pending.
type Stats struct {
	// Accepted is the persistent messages that a publish took: each gets exactly one outcome.
	Accepted uint64
	// Pending is those not yet settled, now.
	Pending uint64
	// PendingBytes is what counts against [WithMaxPendingBytes] now: pending messages, ephemeral ones not yet written, reports not yet returned.
	PendingBytes uint64
	// EventsDropped is the events that made room for newer ones because nobody took them.
	EventsDropped uint64
	// Published is the persistent messages that the server acknowledged, duplicates included.
	Published uint64
	// PublishErrors is the persistent messages that settled without an acknowledgement: refused, timed out, purged, closed.
	PublishErrors uint64
	// PendingMax is the most that counted against [WithMaxPending] at once, ephemeral messages and reports not yet returned included.
	PendingMax uint64
	// AckTimeouts is the attempts whose ack wait ran out. The message may have been sent again and acknowledged later.
	AckTimeouts uint64
	// Duplicates is the acknowledgements that found the id in the stream already: of a resend, or of an id used twice. Only these have Report.Duplicate.
	Duplicates uint64
	// Attempts is the sendings that were begun, first ones and repeated ones; ephemeral messages have one.
	Attempts uint64
	// Retries is the attempts after a message's first, whatever the reason.
	Retries uint64
	// Resent is the attempts written whole of messages that had been written whole before.
	Resent uint64
	// LateAcks is the replies to messages that had settled, and refusals of attempts that were over. They change no report.
	LateAcks uint64
	// AlienReplies is the replies that are no acknowledgement: unreadable, to an attempt never made, or from another stream than the rule names.
	AlienReplies uint64
	// QueueFull is how often the window was full when a publish tried. One that waits for room may try several times.
	QueueFull uint64
	// GatesHeld is how often a gate closed because its stream was missing, overloaded or without a leader.
	GatesHeld uint64
	// Ephemeral is the ephemeral messages written. They are not acknowledged and in no figure of persistent messages.
	Ephemeral uint64
	// EphemeralDropped is the ephemeral messages not written before their deadline, a purge or the close.
	EphemeralDropped uint64
	// ReportsDelivered is the reports that came from the library to this package.
	ReportsDelivered uint64
	// Reconnects is the connections after the first.
	Reconnects uint64
	// BytesOut is the bytes of the protocol that the kernel took, before TLS.
	BytesOut uint64
	// Wakeups is how often a publishing goroutine woke the library's thread. Far below Accepted under load.
	Wakeups uint64
	// LatencyP50: half of the acknowledged messages took no longer, from publish to the ack. At most 6.25 % too high.
	LatencyP50 time.Duration
	// LatencyP99: 99 % of them took no longer. At most 6.25 % too high.
	LatencyP99 time.Duration
	// LatencyMax is the slowest acknowledgement, exactly.
	LatencyMax time.Duration
}
