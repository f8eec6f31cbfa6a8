package ackbus

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// flushes are the goroutines that wait for everything accepted so far. One call into C at a time serves them all, because the library can wait for this inside C
// alone: however many goroutines flush, one OS thread is blocked (T31).
type flushes struct {
	mu sync.Mutex
	// next is closed when a flush is done that began after now; nil if nobody waits for one.
	next    chan struct{}
	running bool
}

// Flush waits until all messages that were accepted before the call are settled and the handlers have heard of them. A message that failed is no error here. When the
// context ends first it returns at once with [ErrTimedOut] and the context's error. From a handler it returns [ErrWrongThread].
func (p *Publisher) Flush(ctx context.Context) error {
	if err := wrongThread("Flush"); err != nil {
		return err
	}
	defer runtime.KeepAlive(p)
	select {
	case <-p.core.flushed():
		return nil
	case <-ctx.Done():
		return ended(ctx, PossiblyPersisted, fmt.Sprintf("%d messages are still pending", p.Pending()))
	}
}

// flushed returns a channel that is closed when everything accepted until now is settled and told.
func (c *core) flushed() <-chan struct{} {
	f := &c.flushes
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		f.next = make(chan struct{})
	}
	if !f.running {
		f.running = true
		go c.flush()
	}
	return f.next
}

// flush serves those who wait, and those who come meanwhile, together, after them: what the first wait for was accepted before the others asked.
func (c *core) flush() {
	f := &c.flushes
	for {
		f.mu.Lock()
		served := f.next
		f.next = nil
		f.running = served != nil
		f.mu.Unlock()
		if served == nil {
			return
		}
		// The one error, that the process was forked, cannot happen to a Go program: its children exec.
		_ = c.bus.flush()
		// What is settled waits to be polled, or is being polled.
		c.drain()
		go func(told <-chan struct{}) {
			<-told
			close(served)
		}(c.handlers.idle())
	}
}

// Close closes the publisher: publishes, also waiting ones, return [ErrClosed]; it waits for acknowledgements until the context ends, or as long as [WithCloseTimeout]
// says if the context has no deadline; settles what is left, with ErrClosed; tells all reports and ends. After it no handler runs.
//
// It returns nil if the server acknowledged or refused every message, and else [ErrTimedOut], with the context's error if that ended: how many messages were settled
// without. [ErrCallbackBusy] says that a handler has not returned one second after the context's end: what is left will be told when it does, and Close may be
// called again. Several goroutines may close and wait for the same end; closing a closed publisher does nothing. From a handler it returns [ErrWrongThread].
func (p *Publisher) Close(ctx context.Context) error {
	if err := wrongThread("Close"); err != nil {
		return err
	}
	defer runtime.KeepAlive(p)
	return p.core.close(ctx)
}

// handlerGrace is how long Close waits for a handler after its time (P6).
const handlerGrace = time.Second

func (c *core) close(ctx context.Context) error {
	select {
	case <-c.ended:
		return nil
	default:
	}
	timeout := time.Duration(-1)
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(deadline), 0)
	}
	if ctx.Err() != nil {
		timeout = 0
	}
	c.closeOnce.Do(func() {
		close(c.closing)
		go c.end(timeout)
	})
	select {
	case <-c.ended:
		return c.verdict(ctx)
	case <-ctx.Done():
	}
	grace := time.NewTimer(handlerGrace)
	defer grace.Stop()
	// The close that runs may have been given more time, by another caller or by the options. This ends its waiting, not the handlers.
	_ = c.bus.close(0)
	select {
	case <-c.ended:
		return c.verdict(ctx)
	case <-grace.C:
		return &Error{Status: ErrCallbackBusy, Retriable: true, cause: context.Cause(ctx),
			Text: "a handler has not returned; what is left will be told when it does. Call Close again"}
	}
}

// end closes the publisher and sees to it that everything is told.
func (c *core) end(timeout time.Duration) {
	for isBusy(c.bus.close(timeout)) {
		// The library's own thread is late; nothing of ours keeps it.
		timeout = 0
	}
	for c.drain() {
		// Reports can be polled until C says that there are no more.
		runtime.Gosched()
	}
	_ = c.desk.file.Close()
	<-c.handlers.idle()
	close(c.ended)
	c.line.admit()
	c.news.wake()
}

func isBusy(err error) bool {
	e, ok := err.(*Error)
	return ok && e.Status == ErrCallbackBusy
}

// verdict is what Close returns at the end.
func (c *core) verdict(ctx context.Context) error {
	count := c.abandoned.Load()
	if count == 0 {
		return nil
	}
	err := &Error{Status: ErrTimedOut, Persistence: PossiblyPersisted,
		Text: fmt.Sprintf("%d messages had no outcome when the time to close was over; their reports tell what is known", count)}
	if ctx.Err() != nil {
		err.cause = context.Cause(ctx)
	}
	return err
}

// forsaken runs when nobody can reach the Publisher any more. Close is the contract, this is a net (T32).
func (c *core) forsaken() {
	select {
	case <-c.ended:
		c.bus.free()
		return
	default:
	}
	go func() {
		c.logger.Warn("ackbus: a publisher was never closed; closing it now", "server", c.bus.info().Server, "pending", c.bus.pending())
		_ = c.close(context.Background())
		c.bus.free()
	}()
}
