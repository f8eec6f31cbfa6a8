package ackbus

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// window is a window of a test's: places for everybody, and a share for each number.
type window struct {
	places int
	shares map[uint64]int
	tries  int
	order  []string
}

// publish is the try of a message that needs a place, and one of a share if it is behind a held stream.
func (w *window) publish(name string, share uint64) func() (bool, error) {
	return func() (bool, error) {
		w.tries++
		switch {
		case share != 0 && w.shares[share] == 0:
			return false, &Error{Status: ErrQueueFull, heldBy: share}
		case w.places == 0:
			return false, &Error{Status: ErrQueueFull}
		}
		w.places--
		if share != 0 {
			w.shares[share]--
		}
		w.order = append(w.order, name)
		return false, nil
	}
}

func (w *window) batch(name string, count int) func() (bool, error) {
	return func() (bool, error) {
		one := w.publish(name, 0)
		for i := 0; count > 0; i++ {
			if _, err := one(); err != nil {
				return i > 0, err
			}
			count--
		}
		return false, nil
	}
}

// len is how many wait.
func (l *line) len() (count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, waiters := range l.queues {
		count += waiters.Len()
	}
	return count
}

func (l *line) waitFor(t *testing.T, try func() (bool, error)) *waiter {
	t.Helper()
	_, refusal := try()
	w, err := l.enter(refusal, try)
	if w == nil {
		t.Fatalf("it does not wait: %v", err)
	}
	return w
}

func TestAShareHoldsUpItsOwnAlone(t *testing.T) {
	w := &window{shares: map[uint64]int{}}
	var l line
	l.waitFor(t, w.publish("bad 1", 7))
	l.waitFor(t, w.publish("good 1", 0))
	l.waitFor(t, w.publish("bad 2", 7))
	l.waitFor(t, w.publish("worse 1", 8))
	l.waitFor(t, w.publish("good 2", 0))
	w.places = 3
	l.admit()
	equal(t, "order", fmt.Sprint(w.order), fmt.Sprint([]string{"good 1", "good 2"}))
	// One place is left, and two of the share are free: the earlier one goes, the later one waits for the window now.
	w.shares[7] = 2
	l.admit()
	w.places = 1
	l.admit()
	w.places, w.shares[8] = 5, 1
	l.admit()
	equal(t, "order", fmt.Sprint(w.order), fmt.Sprint([]string{"good 1", "good 2", "bad 1", "bad 2", "worse 1"}))
	equal(t, "queues left", len(l.queues), 0)
}

func TestOneThatGivesUpHoldsUpNobody(t *testing.T) {
	w := &window{shares: map[uint64]int{}}
	var l line
	large := l.waitFor(t, func() (bool, error) { return false, &Error{Status: ErrQueueFull} })
	small := l.waitFor(t, w.publish("small", 0))
	w.places = 1
	l.admit()
	equal(t, "those behind the first let it go first", len(w.order), 0)
	equal(t, "it leaves", l.leave(large), true)
	must(t, wait(t, "the next", small.done))
	equal(t, "it has left", l.leave(large), false)
	equal(t, "that one is in", l.leave(small), false)
	equal(t, "queues left", len(l.queues), 0)
}

// A batch that gets on in part goes behind those who wait already.
func TestABatchLetsOthersGo(t *testing.T) {
	w := &window{}
	var l line
	l.waitFor(t, w.batch("batch", 5))
	for i := range 3 {
		l.waitFor(t, w.publish(fmt.Sprint(i), 0))
	}
	for range 8 {
		w.places += 2
		l.admit()
	}
	equal(t, "order", fmt.Sprint(w.order), "[batch batch 0 1 2 batch batch batch]")
}

func TestWaitersAreTriedOnce(t *testing.T) {
	const count = 2000
	w := &window{shares: map[uint64]int{}}
	var l line
	for i := range count {
		l.waitFor(t, w.publish("", uint64(i%4)))
	}
	w.tries = 0
	for range count / 4 {
		w.places++
		l.admit()
	}
	if w.tries > 5*count/4 {
		t.Errorf("%d tries to let in %d", w.tries, count/4)
	}
	equal(t, "in", len(w.order), count/4)
}

// beside is a publisher with two rules; the streams of "bad1" and "bad2" are missing and hold so many places, once this returns.
func beside(t *testing.T, places, held int, options ...Option) (*Publisher, any) {
	t.Helper()
	_, number := server(t, nil)
	ask(t, fields{"do": "create_stream", "server": number, "config": fields{"name": "GOOD", "subjects": []string{"good.>"}}})
	proxy := ask(t, fields{"do": "proxy", "server": number})
	bus := connect(t, append([]Option{WithServers(proxy["url"].(string)), WithMaxPending(places), WithOption("on_no_stream", "wait"), WithMonitorInterval(0),
		WithTopic("bad1.>", Topic{Stream: "BAD1"}), WithTopic("bad2.>", Topic{Stream: "BAD2"}), WithTopic("good.>", Topic{Stream: "GOOD"}),
		WithErrorHandler(func(Report) {})}, options...)...)
	second(bus.PublishWait(testContext(t), "good.1", nil))
	for i := range held {
		must(t, bus.Publish(fmt.Sprintf("bad%d.1", 1+i%2), nil))
	}
	until(t, "held gates", func() bool { return bus.Stats().GatesHeld >= uint64(min(held, 2)) })
	return bus, proxy["proxy"]
}

// Two streams that are missing hold most of the window. Thirty goroutines share what is left, and none waits for more than its turn.
func TestGoroutinesBesideHeldStreams(t *testing.T) {
	bus, _ := beside(t, 100, 90)
	const goroutines, each = 30, 50
	results := make(chan error, goroutines)
	begin := time.Now()
	for range goroutines {
		go func() {
			for range each {
				if err := bus.Publish("good.1", nil); err != nil {
					results <- err
					return
				}
			}
			results <- nil
		}()
	}
	for range goroutines {
		must(t, wait(t, "a goroutine beside held streams", results))
	}
	t.Logf("%d messages through ten places in %v", goroutines*each, time.Since(begin))
	until(t, "the acks", func() bool { return bus.Stats().Published == 1+goroutines*each })
	equal(t, "pending", bus.Pending(), 90)
}

// One place is free, of a hundred: who waits for it gets it as soon as it is.
func TestOnePlaceIsRoom(t *testing.T) {
	bus, proxy := beside(t, 100, 99, WithOption("gate_share", "50"))
	for range 20 {
		ask(t, fields{"do": "hold_replies", "proxy": proxy})
		must(t, bus.Publish("good.1", nil))
		result := waiting(t, bus, func() error { return bus.Publish("good.1", nil) })
		ask(t, fields{"do": "release", "proxy": proxy})
		must(t, wait(t, "Publish", result))
		until(t, "the ack", func() bool { return bus.Pending() == 99 })
	}
}

// Goroutines that wait for the share of a held stream hold up none of the others; contexts end their waiting, and they leave nothing behind.
func TestAHeldStreamHoldsUpNobodyElse(t *testing.T) {
	bus, _ := beside(t, 20, 10, WithOption("gate_share", "25"))
	ctx, cancel := context.WithCancel(context.Background())
	var held []<-chan error
	for range 8 {
		held = append(held, waiting(t, bus, func() error { return bus.PublishContext(ctx, "bad1.1", nil) }))
	}
	var done atomic.Int32
	for range 500 {
		second(bus.PublishWait(testContext(t), "good.1", nil))
		done.Add(1)
	}
	equal(t, "published", bus.Stats().Published, uint64(done.Load())+1)
	cancel()
	for _, result := range held {
		wants(t, wait(t, "PublishContext", result), ErrTimedOut)
	}
	equal(t, "left in the line", bus.core.line.len(), 0)
	equal(t, "pending", bus.Pending(), 10)
}

// Whoever comes first goes first, however many wait.
func TestWaitersGoInTheirOrder(t *testing.T) {
	bus := full(t, 1, WithErrorHandler(func(Report) {}), WithReport(ReportAll))
	var results []<-chan error
	for tag := range 20 {
		results = append(results, waiting(t, bus, func() error {
			return second(bus.PublishMsg(context.Background(), &Message{Topic: "b", Tag: uint64(tag)}))
		}))
	}
	for i, result := range results {
		second(bus.Purge(Unsent | InFlight))
		must(t, wait(t, "Publish", result))
		if i+1 < len(results) && slices.ContainsFunc(results[i+1:], func(r <-chan error) bool { return len(r) > 0 }) {
			t.Fatal("a later one has overtaken it")
		}
	}
}
