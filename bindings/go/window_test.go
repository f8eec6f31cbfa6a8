package ackbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// full is a publisher without room: its messages are pending and nobody settles them.
func full(t *testing.T, places int, options ...Option) *Publisher {
	t.Helper()
	bus := silent(t, append([]Option{WithMaxPending(places)}, options...)...)
	for range places {
		must(t, bus.Publish("a", nil))
	}
	return bus
}

// waiting starts a call, and returns when it waits for room.
func waiting(t *testing.T, bus *Publisher, call func() error) <-chan error {
	t.Helper()
	before := bus.core.line.len()
	result := make(chan error, 1)
	go func() { result <- call() }()
	until(t, "a publish that waits", func() bool { return bus.core.line.len() > before })
	return result
}

// Every publish that waits for room is ended by its context at once, and accepts nothing.
func TestContextsEndWaiting(t *testing.T) {
	bus := full(t, 2, WithErrorHandler(func(Report) {}))
	calls := map[string]func(context.Context) error{
		"PublishContext": func(ctx context.Context) error { return bus.PublishContext(ctx, "b", nil) },
		"PublishMsg":     func(ctx context.Context) error { return second(bus.PublishMsg(ctx, &Message{Topic: "b"})) },
		"with headers": func(ctx context.Context) error {
			return second(bus.PublishMsg(ctx, &Message{Topic: "b", Headers: []Header{{"A", "b"}}}))
		},
		"PublishMsgAsync": func(ctx context.Context) error { return second(bus.PublishMsgAsync(ctx, &Message{Topic: "b"})) },
		"PublishWait":     func(ctx context.Context) error { return second(bus.PublishWait(ctx, "b", nil)) },
		"PublishBatch":    func(ctx context.Context) error { return second(bus.PublishBatch(ctx, []Message{{Topic: "b"}})) },
	}
	for name, call := range calls {
		reason := errors.New("the reason")
		ctx, cancel := context.WithCancelCause(context.Background())
		result := waiting(t, bus, func() error { return call(ctx) })
		cancel(reason)
		err := wait(t, name, result)
		if !isStatus(err, ErrTimedOut) || !errors.Is(err, reason) || err.(*Error).Persistence != NotPersisted {
			t.Errorf("%s: %v", name, err)
		}
		// One that is over already does not even try.
		if err := call(ctx); !errors.Is(err, reason) {
			t.Errorf("%s with a context that is over: %v", name, err)
		}
		deadline, cancelDeadline := context.WithTimeout(context.Background(), 5*time.Millisecond)
		if err := call(deadline); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s with a deadline: %v", name, err)
		}
		cancelDeadline()
	}
	equal(t, "accepted", bus.Stats().Accepted, 2)
	equal(t, "tickets left", len(bus.core.tickets.slab)-len(bus.core.tickets.empty), 0)
}

func TestRoomWakesWhoWaits(t *testing.T) {
	bus := full(t, 2, WithErrorHandler(func(Report) {}))
	plain := waiting(t, bus, func() error { return bus.Publish("b", nil) })
	headers := waiting(t, bus, func() error {
		return second(bus.PublishMsg(context.Background(), &Message{Topic: "b", Headers: []Header{{"A", "b"}}}))
	})
	purged, err := bus.Purge(Unsent | InFlight)
	must(t, err)
	equal(t, "purged", purged, 2)
	must(t, wait(t, "Publish", plain))
	must(t, wait(t, "PublishMsg", headers))
	equal(t, "pending", bus.Pending(), 2)
}

func TestOnFull(t *testing.T) {
	bus := full(t, 1, WithOnFull(FailWhenFull))
	wants(t, bus.Publish("b", nil), ErrQueueFull)
	// A message's own patience wins over the option.
	_, err := bus.PublishMsg(testContext(t), &Message{Topic: "b", StallWait: 10 * time.Millisecond})
	wants(t, err, ErrQueueFull)
	if e := err.(*Error); !e.Retriable || e.Text == "" {
		t.Errorf("%+v", e)
	}

	bus = full(t, 1, WithStallWait(30*time.Millisecond))
	begin := time.Now()
	wants(t, bus.Publish("b", nil), ErrQueueFull)
	equal(t, "it waited", time.Since(begin) >= 30*time.Millisecond, true)
	_, err = bus.PublishMsg(testContext(t), &Message{Topic: "b", StallWait: -1})
	wants(t, err, ErrQueueFull)
	_, err = bus.PublishBatch(testContext(t), []Message{{Topic: "b", StallWait: -1}})
	wants(t, err, ErrQueueFull)
}

func TestCloseEndsWaiting(t *testing.T) {
	bus := full(t, 1, WithErrorHandler(func(Report) {}))
	var results []<-chan error
	for range 3 {
		results = append(results, waiting(t, bus, func() error { return bus.Publish("b", nil) }))
	}
	closed := make(chan error, 1)
	go func() { closed <- bus.Close(context.Background()) }()
	for _, result := range results {
		wants(t, wait(t, "Publish", result), ErrClosed)
	}
	// They did not have to wait for what is pending.
	equal(t, "pending", bus.Pending(), 1)
	closeNow(t, bus)
	wants(t, wait(t, "Close", closed), ErrTimedOut)
	equal(t, "accepted", bus.Stats().Accepted, 1)
}

// P3: every message is refused, and the handler publishes each again, for good, while other goroutines take every place that is free. None may be lost.
func TestDeadLettersAtAFullWindow(t *testing.T) {
	for _, window := range []int{1, 3, 64} {
		const goroutines = 8
		each := few(100)
		var bus *Publisher
		var ready sync.WaitGroup
		ready.Add(1)
		var failed, lost atomic.Int32
		dead := make([]atomic.Int32, goroutines*each)
		var told sync.WaitGroup
		told.Add(goroutines * each)
		bus = inMemory(t, WithMaxPending(window),
			WithErrorHandler(func(r Report) {
				ready.Wait()
				failed.Add(1)
				if _, err := bus.PublishMsg(context.Background(), &Message{Topic: "dead", Payload: r.Payload, Tag: r.Tag}); err != nil {
					t.Error(err)
					lost.Add(1)
					told.Done()
				}
			}),
			WithReportHandler(func(r Report) {
				equal(t, "payload", string(r.Payload), "payload")
				dead[r.Tag].Add(1)
				told.Done()
			}))
		ready.Done()
		var all sync.WaitGroup
		for g := range goroutines {
			all.Add(1)
			go func() {
				defer all.Done()
				for i := range each {
					if _, err := bus.PublishMsg(context.Background(), refused("a", uint64(g*each+i))); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		all.Wait()
		told.Wait()
		equal(t, "failed and lost", fmt.Sprint(failed.Load(), lost.Load()), fmt.Sprint(goroutines*each, 0))
		for tag := range dead {
			equal(t, "dead letters", dead[tag].Load(), 1)
		}
		equal(t, "the window held", bus.Stats().PendingMax <= uint64(window), true)
	}
}

// A handler at a full window gets an answer at once: it never waits, for its own batch or for others.
func TestAHandlerNeverWaits(t *testing.T) {
	result := make(chan []error, 1)
	var bus *Publisher
	ready := make(chan struct{})
	bus = silent(t, WithMaxPending(1), WithErrorHandler(func(r Report) {
		<-ready
		if r.Topic == "first" {
			// The first has the place of the report, the second has none.
			result <- []error{bus.Publish("second", nil), bus.Publish("third", nil), second(bus.PublishAsync("third", nil))}
		}
	}))
	close(ready)
	must(t, bus.Publish("first", nil))
	second(bus.Purge(Unsent | InFlight))
	errs := wait(t, "the handler", result)
	must(t, errs[0])
	wants(t, errs[1], ErrQueueFull)
	wants(t, errs[2], ErrQueueFull)
}

// The same with a connection that stands and acknowledgements that do not come: nothing but the close itself wakes who waits.
func TestCloseEndsWaitingWhileAcksStayOut(t *testing.T) {
	_, number := server(t, nil)
	ask(t, fields{"do": "create_stream", "server": number, "config": fields{"name": "A", "subjects": []string{"a"}}})
	proxy := ask(t, fields{"do": "proxy", "server": number})
	// No event comes meanwhile: events make those who wait look again, too.
	bus := connect(t, WithServers(proxy["url"].(string)), WithMaxPending(1), WithAckWait(10*time.Minute), WithDeliveryTimeout(10*time.Minute), WithMonitorInterval(0),
		WithErrorHandler(func(Report) {}))
	ask(t, fields{"do": "hold_replies", "proxy": proxy["proxy"]})
	must(t, bus.Publish("a", nil))
	result := waiting(t, bus, func() error { return bus.Publish("a", nil) })
	closed := make(chan error, 1)
	go func() { closed <- bus.Close(context.Background()) }()
	wants(t, wait(t, "Publish", result), ErrClosed)
	equal(t, "pending", bus.Pending(), 1)
	ask(t, fields{"do": "release", "proxy": proxy["proxy"]})
	must(t, wait(t, "Close", closed))
	equal(t, "published", bus.Stats().Published, 1)
}
