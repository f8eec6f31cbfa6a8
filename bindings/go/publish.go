package ackbus

import (
	"context"
	"runtime"
	"time"
)

// Publish publishes a message and returns at once while there is room; on a full window it waits or fails as [WithOnFull] and [WithStallWait] say. With nil the bus
// owns a copy and owes exactly one outcome, which the handlers hear of. From a handler it never waits.
//
// Its errors mean that the message was not accepted: [ErrQueueFull], [ErrClosed], [ErrFailed], [ErrInvalidTopic], [ErrTooLarge], and [ErrDisconnected] with
// WithOnDisconnect(Fail).
func (p *Publisher) Publish(topic string, payload []byte) error {
	_, err := p.publishPlain(context.Background(), topic, payload, 0, 0)
	return err
}

// PublishContext is Publish whose waiting for room the context ends, with [ErrTimedOut] and the context's error: then the message was not accepted.
func (p *Publisher) PublishContext(ctx context.Context, topic string, payload []byte) error {
	if ctx.Err() != nil {
		return ended(ctx, NotPersisted, "not published")
	}
	_, err := p.publishPlain(ctx, topic, payload, 0, 0)
	return err
}

// PublishMsg publishes a message with headers, ids, expectations or times of its own, and returns its id, which is counted from 1. Otherwise it is like
// PublishContext; its errors are [ErrInvalidHeader] and [ErrInvalidArgument] besides.
func (p *Publisher) PublishMsg(ctx context.Context, m *Message) (uint64, error) {
	return p.publish(ctx, m, m.Tag, m.flags())
}

// PublishAsync publishes a message and returns a ticket for its outcome. It waits for room as Publish does.
func (p *Publisher) PublishAsync(topic string, payload []byte) (*Ticket, error) {
	ticket := &Ticket{owner: p}
	number := p.core.tickets.put(ticket)
	id, err := p.publishPlain(context.Background(), topic, payload, number, flagReportAlways|flagMark)
	return p.issue(ticket, number, id, err)
}

// PublishMsgAsync is PublishMsg with a ticket. The message's tag comes back if its outcome goes to a handler after all, and nowhere else.
func (p *Publisher) PublishMsgAsync(ctx context.Context, m *Message) (*Ticket, error) {
	ticket := &Ticket{owner: p, tag: m.Tag}
	number := p.core.tickets.put(ticket)
	id, err := p.publish(ctx, m, number, flagReportAlways|flagMark)
	return p.issue(ticket, number, id, err)
}

func (p *Publisher) issue(ticket *Ticket, number, id uint64, err error) (*Ticket, error) {
	if err != nil {
		p.core.tickets.drop(number)
		return nil, err
	}
	ticket.id = id
	return ticket, nil
}

// PublishWait publishes a message and waits for its outcome. When the context ends first it returns at once with [ErrTimedOut] and the context's error. The error's
// Persistence then tells whether the message was accepted: NotPersisted, it was not; PossiblyPersisted, it stays pending, and its outcome goes to the handlers.
// From a handler it returns [ErrWrongThread].
func (p *Publisher) PublishWait(ctx context.Context, topic string, payload []byte) (Ack, error) {
	return p.PublishMsgWait(ctx, &Message{Topic: topic, Payload: payload})
}

// PublishMsgWait is PublishWait for a message with more than topic and payload.
func (p *Publisher) PublishMsgWait(ctx context.Context, m *Message) (Ack, error) {
	if err := wrongThread("PublishWait"); err != nil {
		return Ack{}, err
	}
	ticket, err := p.PublishMsgAsync(ctx, m)
	if err != nil {
		return Ack{}, err
	}
	if _, err := ticket.Wait(ctx); ticket.leave() {
		return Ack{}, err
	}
	// It is there, perhaps since this gave up: then it is told here all the same, and nowhere else.
	return ticket.Ack(), ticket.Err()
}

// PublishBatch publishes messages in their order until all are accepted or one is not, with one crossing into C for many of them. It returns how many were
// accepted; the error is that of the first that was not. On a full window it waits as the window frees.
func (p *Publisher) PublishBatch(ctx context.Context, messages []Message) (int, error) {
	if ctx.Err() != nil {
		return 0, ended(ctx, NotPersisted, "nothing was published")
	}
	defer runtime.KeepAlive(p)
	pack := p.core.packers.Get().(*packer)
	defer p.core.packers.Put(pack)
	accepted := 0
	for accepted < len(messages) {
		pack.reset()
		var bad error
		for i := accepted; i < len(messages) && !pack.full() && bad == nil; i++ {
			bad = pack.add(&messages[i], messages[i].Tag, messages[i].flags())
		}
		_, err := p.publishPacked(ctx, pack, func() time.Duration { return messages[accepted+pack.accepted].StallWait })
		accepted += pack.accepted
		if err != nil {
			return accepted, err
		}
		if bad != nil {
			return accepted, bad
		}
	}
	return accepted, nil
}

func (p *Publisher) publish(ctx context.Context, m *Message, tag uint64, flags uint32) (uint64, error) {
	if ctx.Err() != nil {
		return 0, ended(ctx, NotPersisted, "not published")
	}
	if m.plain() {
		return p.publishPlain(ctx, m.Topic, m.Payload, tag, flags)
	}
	defer runtime.KeepAlive(p)
	pack := p.core.packers.Get().(*packer)
	defer p.core.packers.Put(pack)
	pack.reset()
	if err := pack.add(m, tag, flags); err != nil {
		return 0, err
	}
	return p.publishPacked(ctx, pack, func() time.Duration { return m.StallWait })
}

// publishPlain is the fast way, for messages with nothing but topic and payload.
func (p *Publisher) publishPlain(ctx context.Context, topic string, payload []byte, tag uint64, flags uint32) (uint64, error) {
	id, err := p.native().publish(topic, payload, tag, flags)
	if err != nil {
		id, err = p.publishWhenRoom(ctx, topic, payload, tag, flags, err)
	}
	runtime.KeepAlive(p)
	return id, err
}

// publishWhenRoom goes on where publishPlain failed. It is a function of its own because what its closure catches is allocated.
func (p *Publisher) publishWhenRoom(ctx context.Context, topic string, payload []byte, tag uint64, flags uint32, err error) (id uint64, _ error) {
	err = p.core.whenRoom(ctx, err, func() time.Duration { return 0 }, func() (_ bool, err error) {
		id, err = p.native().publish(topic, payload, tag, flags)
		return false, err
	})
	return id, err
}

func (p *Publisher) publishPacked(ctx context.Context, pack *packer, stall func() time.Duration) (id uint64, err error) {
	try := func() (_ bool, err error) {
		before := pack.accepted
		id, err = p.native().publishPacked(pack)
		return pack.accepted > before, err
	}
	_, err = try()
	err = p.core.whenRoom(ctx, err, stall, try)
	return id, err
}

// whenRoom tries again while the window is full, for as long as the message, the options and the context allow. It waits here and not inside C: a context can end it,
// it holds no OS thread, and whoever makes room needs none either. stall is the message's own limit; it is asked when there is no room. try may run on another
// goroutine, but not after this has returned.
func (c *core) whenRoom(ctx context.Context, err error, stall func() time.Duration, try func() (bool, error)) error {
	if !isFull(err) {
		return err
	}
	limit := c.stallWait
	if own := stall(); own != 0 {
		limit = max(own, 0)
	} else if c.onFull == FailWhenFull {
		limit = 0
	}
	if limit == 0 || inCallback() {
		return err
	}
	var stalled <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		stalled = timer.C
	}
	w, err := c.line.enter(err, try)
	if w == nil {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-c.closing:
		err = errClosed()
	case <-stalled:
		// With the reason, if it is not let in at the last moment.
		if c.line.leave(w) {
			_, err := try()
			return err
		}
	case <-ctx.Done():
		err = ended(ctx, NotPersisted, "there is no room in the window; not published")
	}
	if c.line.leave(w) {
		return err
	}
	return <-w.done
}

func isFull(err error) bool {
	e, ok := err.(*Error)
	return ok && e.Status == ErrQueueFull
}
