package ackbus

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// Ticket is the promise of one message's outcome, which goes to its holder alone and not to the handlers. It costs no goroutine, and no channel until somebody has
// to wait. Whoever throws a ticket away throws the outcome away; where nobody will look at it, [Publisher.Publish] with an error handler is the better call.
type Ticket struct {
	// owner keeps the publisher alive for as long as somebody waits for it.
	owner *Publisher
	id    uint64
	tag   uint64
	// ack and err are written once, before done becomes settled.
	ack Ack
	err *Error
	// done is nil at first, then perhaps a channel that somebody waits for, and at last settled or left.
	done atomic.Pointer[chan struct{}]
}

var (
	settled = closedChannel()
	// left marks the ticket of a PublishWait that was given up: its outcome goes the usual way.
	left = new(chan struct{})
)

func closedChannel() *chan struct{} {
	channel := make(chan struct{})
	close(channel)
	return &channel
}

// ID is the message's id, counted from 1.
func (t *Ticket) ID() uint64 { return t.id }

// Done is closed when the outcome is there. From then on Err and Ack tell it.
func (t *Ticket) Done() <-chan struct{} {
	if channel := t.done.Load(); channel != nil {
		return *channel
	}
	fresh := make(chan struct{})
	if t.done.CompareAndSwap(nil, &fresh) {
		return fresh
	}
	return *t.done.Load()
}

// Err says why the message is not known to be persisted. It is nil if it is persisted, and while there is no outcome yet.
func (t *Ticket) Err() error {
	if t.done.Load() != settled || t.err == nil {
		return nil
	}
	return t.err
}

// Ack says where the message is. It is zero if it failed, and while there is no outcome yet.
func (t *Ticket) Ack() Ack {
	if t.done.Load() != settled || t.err != nil {
		return Ack{}
	}
	return t.ack
}

// Wait waits for the outcome: where the message is, or why it is not known to be persisted. When the context ends first, Wait returns at once with [ErrTimedOut] and
// the context's error, the message stays pending, and the ticket is still good. From a handler it returns [ErrWrongThread] unless the outcome is there.
func (t *Ticket) Wait(ctx context.Context) (Ack, error) {
	if t.done.Load() != settled {
		if err := wrongThread("Wait"); err != nil {
			return Ack{}, err
		}
		select {
		case <-t.Done():
		case <-ctx.Done():
			return Ack{}, ended(ctx, PossiblyPersisted, "the message has no outcome yet; it stays pending")
		}
	}
	runtime.KeepAlive(t.owner)
	return t.Ack(), t.Err()
}

// settle tells the outcome. False: nobody wants it any more.
func (t *Ticket) settle(ack Ack, err *Error) bool {
	t.ack, t.err = ack, err
	switch waiting := t.done.Swap(settled); waiting {
	case nil:
		return true
	case left:
		return false
	default:
		close(*waiting)
		return true
	}
}

// leave gives the outcome up. False: it is there already.
func (t *Ticket) leave() bool {
	for {
		now := t.done.Load()
		if now == settled {
			return false
		}
		if t.done.CompareAndSwap(now, left) {
			return true
		}
	}
}

// tickets finds the tickets of pending messages by a number: no Go pointer goes to C (T28).
type tickets struct {
	mu    sync.Mutex
	slab  []*Ticket
	empty []uint64
}

// put takes a ticket in and returns its number.
func (t *tickets) put(ticket *Ticket) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last := len(t.empty) - 1; last >= 0 {
		number := t.empty[last]
		t.empty = t.empty[:last]
		t.slab[number] = ticket
		return number
	}
	t.slab = append(t.slab, ticket)
	return uint64(len(t.slab) - 1)
}

// take gives the ticket with this number out. The lock must be held.
func (t *tickets) take(number uint64) *Ticket {
	ticket := t.slab[number]
	t.slab[number] = nil
	t.empty = append(t.empty, number)
	return ticket
}

// drop forgets a ticket whose message was not accepted.
func (t *tickets) drop(number uint64) {
	t.mu.Lock()
	t.take(number)
	t.mu.Unlock()
}
