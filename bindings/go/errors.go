package ackbus

import (
	"context"
	"fmt"
)

// Status says how a call or a message fared. It is an error: errors.Is(err, ackbus.ErrQueueFull) asks for one. The numbers are those of the C API and never
// change; be ready for some that this version does not know.
type Status int32

// What a call or a message can come to.
const (
	// OK is no error: done; for a message: persisted (or, ephemeral, written).
	OK Status = 0

	// ErrInvalidArgument: an argument is missing or has a value that is not allowed.
	ErrInvalidArgument Status = 100
	// ErrInvalidUTF8: text that must be UTF-8 is not.
	ErrInvalidUTF8 Status = 101
	// ErrInvalidTopic: the topic is empty, has empty tokens, wildcards, blanks or control bytes, or is too long.
	ErrInvalidTopic Status = 102
	// ErrInvalidHeader: a header name or value is not allowed, or the header block is too large.
	ErrInvalidHeader Status = 103
	// ErrInvalidOption: an option's key is unknown or its value is not allowed.
	ErrInvalidOption Status = 104
	// ErrInvalidState: the call does not fit the publisher's mode or state.
	ErrInvalidState Status = 105
	// ErrWrongThread: a call that waits was made from a handler.
	ErrWrongThread Status = 106
	// ErrTooLarge: the message can never be sent.
	ErrTooLarge Status = 107
	// ErrABIMismatch: this package and the library do not fit together.
	ErrABIMismatch Status = 108
	// ErrForked: the process was forked after it first connected.
	ErrForked Status = 109

	// ErrQueueFull: the window of pending messages is full.
	ErrQueueFull Status = 200
	// ErrTimedOut: the time that the caller gave ran out, or its context ended; then errors.Is finds the context's error too.
	ErrTimedOut Status = 201
	// ErrPurged: the message was removed by Purge.
	ErrPurged Status = 202
	// ErrCallbackBusy: a handler had not returned one second after the end of Close's time.
	ErrCallbackBusy Status = 203
	// ErrClosed: the publisher is closed, or was closed before the message's outcome was known.
	ErrClosed Status = 204
	// ErrInterrupted: no call of this package returns it; in other languages it ends a call that waits when its thread is wanted elsewhere.
	ErrInterrupted Status = 205

	// ErrDisconnected: there is no connection to a server.
	ErrDisconnected Status = 300
	// ErrConnectFailed: no server could be reached.
	ErrConnectFailed Status = 301
	// ErrAuthFailed: the server refused the credentials.
	ErrAuthFailed Status = 302
	// ErrTLSFailed: the TLS handshake or the check of a certificate failed.
	ErrTLSFailed Status = 303
	// ErrAckTimeout: no acknowledgement came until the message's deadline or its last attempt.
	ErrAckTimeout Status = 304
	// ErrDenied: the server's permissions do not allow this topic, or not the replies.
	ErrDenied Status = 305
	// ErrProtocolError: the server sent something that is not its protocol.
	ErrProtocolError Status = 306
	// ErrFailed: the publisher gave up for good; Info tells why.
	ErrFailed Status = 307

	// ErrNoStream: no stream takes the topic.
	ErrNoStream Status = 400
	// ErrStreamFull: the stream is full and refuses new messages.
	ErrStreamFull Status = 401
	// ErrOverloaded: the server is overloaded and refused the message until its deadline.
	ErrOverloaded Status = 402
	// ErrWrongExpectation: an expectation (last sequence, last id, stream) did not hold.
	ErrWrongExpectation Status = 403
	// ErrQuotaExceeded: an account or server quota is used up.
	ErrQuotaExceeded Status = 404
	// ErrRejected: JetStream refused the message for another reason; see the server code and text.
	ErrRejected Status = 405
	// ErrUnavailable: the stream has no leader or the server no resources, until the message's deadline.
	ErrUnavailable Status = 406
	// ErrCreateFailed: the stream could not be created.
	ErrCreateFailed Status = 407

	// ErrInternal: a fault inside ackbus. Please report it.
	ErrInternal Status = 500
)

// String is the name that all languages share, such as "QUEUE_FULL".
func (s Status) String() string { return statusName(s) }

// Error is the status in words.
func (s Status) Error() string { return "ackbus: " + statusName(s) + ": " + statusText(s) }

// Persistence is what is known about a message's copy in its stream. It tells whether the message may be published again.
type Persistence int32

const (
	// NotPersisted: proven not to be in the stream. Publishing it again cannot make a second copy.
	NotPersisted Persistence = 0
	// PossiblyPersisted: may be in the stream. Publishing it again may make a second copy.
	PossiblyPersisted Persistence = 1
	// Persisted: in the stream; the server acknowledged it.
	Persisted Persistence = 2
)

// String says it in words.
func (p Persistence) String() string {
	switch p {
	case NotPersisted:
		return "not persisted"
	case PossiblyPersisted:
		return "possibly persisted"
	case Persisted:
		return "persisted"
	}
	return fmt.Sprintf("persistence %d", int32(p))
}

// Error is why a call failed or a message is not known to be persisted. Every error of this package is one; errors.As finds it, and errors.Is compares it with a
// [Status] such as [ErrQueueFull].
type Error struct {
	// Status is what happened.
	Status Status
	// Persistence is what is known about the message's copy in its stream. It is NotPersisted for a message that was not accepted, and where there is no message.
	Persistence Persistence
	// ServerCode is JetStream's err_code, or the status of a reply without a body (such as 503); 0 if the server had no part in it.
	ServerCode uint32
	// Retriable: the same call may succeed later. Whether a message may be published again is told by Persistence.
	Retriable bool
	// Fatal: the publisher is beyond repair.
	Fatal bool
	// Attempts is how many times the message was sent; 0: it never left the process.
	Attempts int
	// Text says what was wrong, which value, and what is allowed.
	Text string

	cause error
	// heldBy is what a publish without room waits for: 0 is the window, else the number of a share.
	heldBy uint64
}

// Error is the status and the text.
func (e *Error) Error() string {
	text := e.Text
	if text == "" {
		text = statusText(e.Status)
	}
	return "ackbus: " + statusName(e.Status) + ": " + text
}

// Is tells whether target is this error's status.
func (e *Error) Is(target error) bool {
	status, ok := target.(Status)
	return ok && status == e.Status
}

// Unwrap is the error of the context that ended the call, if one did.
func (e *Error) Unwrap() error { return e.cause }

// ended is the error of a call whose context ended.
func ended(ctx context.Context, persistence Persistence, what string) error {
	cause := context.Cause(ctx)
	return &Error{Status: ErrTimedOut, Persistence: persistence, Retriable: true, Text: what + ": " + cause.Error(), cause: cause}
}

// wrongThread refuses a call that waits on the goroutine of a handler: it would wait for itself (P5).
func wrongThread(call string) error {
	if !inCallback() {
		return nil
	}
	return &Error{Status: ErrWrongThread, Text: call + " may not be called from a handler: it would wait for itself"}
}
