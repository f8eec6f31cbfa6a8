package ackbus

import (
	"fmt"
	"strings"
	"time"
)

// Ack is what a stream answered: where the message is.
type Ack struct {
	// Stream is the stream that stored the message; empty for an ephemeral one.
	Stream string
	// Sequence is the message's place in the stream; 0 for an ephemeral one.
	Sequence uint64
	// Duplicate: the stream had a message with this id already, and it cannot be an earlier attempt of this one.
	Duplicate bool
	// Ephemeral: the topic is ephemeral: the message was written and is never acknowledged.
	Ephemeral bool
	// Attempts is how many times the message was sent.
	Attempts int
	// Latency is the time from acceptance to the outcome.
	Latency time.Duration
	// Domain is the JetStream domain of the stream, as the server named it; empty if it named none.
	Domain string
}

// Report is the outcome of one message.
type Report struct {
	// ID is the message's id, counted from 1, with gaps if there are several connections ([WithConnections]).
	ID uint64
	// Tag is the number that the caller gave with the message.
	Tag uint64
	// Topic is the message's topic.
	Topic string
	// MsgID is the id that the message was sent with; empty if it had none.
	MsgID string
	// Payload is what was published. It is a copy, and the handler's to keep.
	Payload []byte
	// Ack says where the message is, if it is persisted.
	Ack
	// Err says why the message is not known to be persisted, and is nil if it is. Then it is an [*Error], whose Persistence tells whether the message may be
	// published again.
	Err error
}

// Persistence is what is known about the message's copy in its stream.
func (r *Report) Persistence() Persistence {
	if err, ok := r.Err.(*Error); ok {
		return err.Persistence
	}
	if r.Ephemeral {
		return PossiblyPersisted
	}
	return Persisted
}

// EventKind says what an [Event] is about. The numbers are those of the C API and never change; be ready for some that this version does not know.
type EventKind int32

// What can happen to a connection or to a stream.
const (
	// EventConnected: a connection stands for the first time. With several each tells of itself, here and below, and Text says which.
	EventConnected EventKind = 1
	// EventDisconnected: a connection ended; its pending messages wait for the next. Status and Text say why.
	EventDisconnected EventKind = 2
	// EventReconnected: a lost connection was made again; what is pending on it goes out again. Value is how often it was made so far.
	EventReconnected EventKind = 3
	// EventConnectFailed: one try to connect failed. Value is the tries since the last connection.
	EventConnectFailed EventKind = 4
	// EventLameDuck: the server asked its clients to leave; the bus connects elsewhere and reads the old connection to its last ack.
	EventLameDuck EventKind = 5
	// EventServersDiscovered: the server named other members of its cluster. Value is the servers known now.
	EventServersDiscovered EventKind = 6
	// EventStreamCreated: a rule's stream was missing and has been created. Topic is the rule's pattern, Text the stream.
	EventStreamCreated EventKind = 7
	// EventStreamDiffers: a rule's stream exists with another configuration, and is used as it is.
	EventStreamDiffers EventKind = 8
	// EventStreamRisk: the stream may forget ids inside the duplicate window, by its retention or limits: a resend may store a second copy. Or that window is
	// too short.
	EventStreamRisk EventKind = 9
	// EventWindowUnknown: the stream's duplicate window could not be read. Value is the window that is assumed, in ms.
	EventWindowUnknown EventKind = 10
	// EventGateHeld: a gate closed: messages to its stream wait and one probes. Status and Text say why; Topic is the message refused first.
	EventGateHeld EventKind = 11
	// EventGateOpened: the gate is open again. Value is the messages that waited behind it.
	EventGateOpened EventKind = 12
	// EventDenied: the server's permissions do not allow a topic.
	EventDenied EventKind = 13
	// EventPendingHigh: as many messages are pending as [WithPendingWarn] says, or more. Value is how many.
	EventPendingHigh EventKind = 14
	// EventPendingNormal: pending fell well below it again.
	EventPendingNormal EventKind = 15
	// EventAuthFailed: the server refused the credentials.
	EventAuthFailed EventKind = 16
	// EventQuarantined: a message that ended a connection is sent alone, to see whether it is the cause. Value is its id.
	EventQuarantined EventKind = 17
	// EventClockJump: the clock jumped, or the process was stopped: deadlines ran out meanwhile. Value is ms.
	EventClockJump EventKind = 18
	// EventAckSilence: the connection lives and messages are pending, yet no acknowledgement came for longer than the ack wait. Value is the messages pending.
	EventAckSilence EventKind = 19
	// EventFailed: the publisher gave up for good; everything pending is settled.
	EventFailed EventKind = 20
	// EventClosed: the publisher is closed. It is the last event.
	EventClosed EventKind = 21
)

// String is the name that all languages share, such as "RECONNECTED".
func (k EventKind) String() string { return eventKindName(k) }

// Event is something that happened to the connection or to a stream. Fields that a kind does not use are empty.
type Event struct {
	// Kind is what happened.
	Kind EventKind
	// Status is the cause, or OK.
	Status Status
	// Time is when, by the wall clock.
	Time time.Time
	// Value is a number whose meaning the kind says.
	Value uint64
	// Server is the server as host:port.
	Server string
	// Topic is a topic, or the pattern of a topic rule.
	Topic string
	// Text is words for people.
	Text string
}

// State is how a publisher stands.
type State int32

const (
	// Connecting: not every connection was made yet ([WithRetryOnConnect]).
	Connecting State = 0
	// Connected: every connection stands.
	Connected State = 1
	// Reconnecting: a connection was lost; another is sought.
	Reconnecting State = 2
	// Closing: Close was called.
	Closing State = 3
	// Closed: closed.
	Closed State = 4
	// Failed: given up for good.
	Failed State = 5
)

// String is the state's name.
func (s State) String() string {
	names := [...]string{"connecting", "connected", "reconnecting", "closing", "closed", "failed"}
	if s < 0 || int(s) >= len(names) {
		return fmt.Sprintf("state %d", int32(s))
	}
	return names[s]
}

// Info is how a publisher stands, and with whom.
type Info struct {
	// State is the state.
	State State
	// Server is the server of the newest connection, without credentials; empty before the first.
	Server string
	// ServerVersion is its version, such as "2.12.1".
	ServerVersion string
	// MaxPayload is the largest payload that every server of ours takes, in bytes; 0 if not yet known.
	MaxPayload uint64
	// LastError is the last error of the connection; nil if there was none.
	LastError error
}

// lastName keeps one copy of a name that comes many times in a row.
type lastName struct{ text string }

// of takes a view of C's and returns a string of Go's.
func (l *lastName) of(view string) string {
	if l.text != view {
		l.text = strings.Clone(view)
	}
	return l.text
}
