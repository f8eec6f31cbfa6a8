package ackbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// P6: flush waits for the handlers too.
func TestFlushWaitsForHandlers(t *testing.T) {
	release := make(chan struct{})
	var told atomic.Int32
	bus := inMemory(t, WithReportHandler(func(Report) {
		<-release
		told.Add(1)
	}))
	for range few(700) {
		must(t, bus.Publish("a", nil))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	err := bus.Flush(ctx)
	wants(t, err, ErrTimedOut)
	equal(t, "deadline", errors.Is(err, context.DeadlineExceeded), true)
	close(release)
	must(t, bus.Flush(testContext(t)))
	equal(t, "told", told.Load(), int32(few(700)))
}

// Flush comes after the handlers, not about when they are called.
func TestFlushComesAfterTheHandlers(t *testing.T) {
	var told int
	bus := inMemory(t, WithErrorHandler(func(Report) { told++ }))
	for i := range few(3000) {
		must(t, second(bus.PublishMsg(testContext(t), refused("a", 0))))
		must(t, bus.Flush(testContext(t)))
		equal(t, "told", told, i+1)
	}
}

// However many goroutines flush, one call into C at a time serves them.
func TestManyFlushes(t *testing.T) {
	bus := silent(t)
	must(t, bus.Publish("a", nil))
	var all sync.WaitGroup
	results := make(chan error, 200)
	for range 200 {
		all.Add(1)
		go func() {
			defer all.Done()
			results <- bus.Flush(context.Background())
		}()
	}
	until(t, "flushes", func() bool {
		bus.core.flushes.mu.Lock()
		defer bus.core.flushes.mu.Unlock()
		return bus.core.flushes.running
	})
	threads := threadCount(t)
	equal(t, "threads", threads < 50, true)
	second(bus.Purge(Unsent | InFlight))
	all.Wait()
	for range 200 {
		must(t, <-results)
	}
}

func threadCount(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	must(t, err)
	return len(tasks)
}

func TestCloseSettlesEverything(t *testing.T) {
	var told collector
	bus := silent(t, WithErrorHandler(told.report))
	for tag := range uint64(1000) {
		must(t, second(bus.PublishMsg(testContext(t), &Message{Topic: "a", Tag: tag, Payload: []byte("x")})))
	}
	ticket, err := bus.PublishAsync("b", nil)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err = bus.Close(ctx)
	wants(t, err, ErrTimedOut)
	equal(t, "deadline", errors.Is(err, context.DeadlineExceeded), true)
	equal(t, "text", strings.Contains(err.Error(), "1001 messages"), true)
	reports := told.all()
	equal(t, "told before close returned", len(reports), 1000)
	for i, r := range reports {
		if r.Tag != uint64(i) || !errors.Is(r.Err, ErrClosed) || r.Persistence() != NotPersisted || string(r.Payload) != "x" {
			t.Fatalf("%+v", r)
		}
	}
	wants(t, ticket.Err(), ErrClosed)
	must(t, bus.Close(context.Background()))
	must(t, bus.Flush(testContext(t)))
	equal(t, "figures after close", bus.Stats().PublishErrors, 1001)
}

func TestCloseIsEndedByCancelling(t *testing.T) {
	bus := silent(t, WithErrorHandler(func(Report) {}))
	must(t, bus.Publish("a", nil))
	patient := make(chan error, 1)
	go func() { patient <- bus.Close(context.Background()) }()
	until(t, "closing", func() bool { return bus.Info().State == Closing })
	// Another one waits for the same end, and has less time.
	ctx, cancel := context.WithCancel(context.Background())
	hurried := make(chan error, 1)
	go func() { hurried <- bus.Close(ctx) }()
	cancel()
	err := wait(t, "Close", hurried)
	wants(t, err, ErrTimedOut)
	equal(t, "the context's error", errors.Is(err, context.Canceled), true)
	err = wait(t, "Close", patient)
	wants(t, err, ErrTimedOut)
	equal(t, "the other's context", errors.Is(err, context.Canceled), false)
}

func TestCloseWaitsForAcks(t *testing.T) {
	bus := inMemory(t)
	for range few(5000) {
		must(t, bus.Publish("a", nil))
	}
	must(t, bus.Close(context.Background()))
	equal(t, "published", bus.Stats().Published, uint64(few(5000)))
}

// P6: a handler that does not return is told, and Close may be called again.
func TestCloseAndAHandlerThatDoesNotReturn(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	var told atomic.Int32
	bus := inMemory(t, WithErrorHandler(func(Report) {
		entered <- struct{}{}
		<-release
		told.Add(1)
	}))
	must(t, second(bus.PublishMsg(testContext(t), refused("a", 0))))
	wait(t, "the handler", entered)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	wants(t, bus.Close(ctx), ErrCallbackBusy)
	close(release)
	must(t, bus.Close(testContext(t)))
	equal(t, "told", told.Load(), 1)
}

// After close no goroutine and no descriptor is left.
func TestCloseLeavesNothing(t *testing.T) {
	descriptors := func() int {
		open, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(open)
	}
	cycle := func() {
		bus, err := Connect(testContext(t), WithServers("memory:"), WithErrorHandler(func(Report) {}), WithEventHandler(func(Event) {}))
		must(t, err)
		for range 10 {
			must(t, bus.Publish("a", nil))
			must(t, second(bus.PublishMsg(testContext(t), refused("a", 0))))
		}
		must(t, bus.Flush(testContext(t)))
		must(t, bus.Close(testContext(t)))
	}
	cycle()
	goroutines, open := runtime.NumGoroutine(), descriptors()
	for range 20 {
		cycle()
	}
	until(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
	// The library's descriptors go with its handle, which the collector frees.
	until(t, "descriptors close", func() bool {
		runtime.GC()
		return descriptors() <= open
	})
}

// T32: a publisher that is forgotten is found, told in the log, and closed.
func TestAForgottenPublisherIsReported(t *testing.T) {
	var log lockedBuffer
	ended := func() <-chan struct{} {
		bus, err := Connect(testContext(t), WithServers("memory:"), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		must(t, err)
		for range 100 {
			must(t, bus.Publish("a", nil))
		}
		return bus.core.ended
	}()
	until(t, "the end of a forgotten publisher", func() bool {
		runtime.GC()
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	equal(t, "told", strings.Count(log.String(), "never closed"), 1)
	equal(t, "server", strings.Contains(log.String(), "server=memory:"), true)
}

// One that was closed is freed without a word, and a ticket keeps its publisher.
func TestAClosedPublisherIsFreedSilently(t *testing.T) {
	var log lockedBuffer
	logger := WithLogger(slog.New(slog.NewTextHandler(&log, nil)))
	func() {
		bus, err := Connect(testContext(t), WithServers("memory:"), logger)
		must(t, err)
		must(t, bus.Close(context.Background()))
	}()
	ticket := func() *Ticket {
		bus, err := Connect(testContext(t), WithServers("memory:"), logger)
		must(t, err)
		ticket, err := bus.PublishAsync("a", nil)
		must(t, err)
		return ticket
	}()
	for range 5 {
		runtime.GC()
	}
	must(t, second(ticket.Wait(testContext(t))))
	equal(t, "log", log.String(), "")
	must(t, ticket.owner.Close(testContext(t)))
}

// A million messages of every kind leave nothing behind.
func TestAMillionMessagesLeaveNothing(t *testing.T) {
	if testing.Short() || raceEnabled || garbageIsCollectedAlways {
		t.Skip("skipped: this takes long with what is on")
	}
	// A small window is soon as large as it gets.
	bus := inMemory(t, WithMaxPending(256), WithErrorHandler(func(Report) {}), WithReportHandler(func(Report) {}))
	ctx := testContext(t)
	batch := make([]Message, 100)
	for i := range batch {
		batch[i] = Message{Topic: "a.b", Payload: make([]byte, 100), Headers: []Header{{"A", "b"}}}
	}
	round := func(count int) {
		for range count / 250 {
			for range 100 {
				must(t, bus.Publish("a.b", batch[0].Payload))
			}
			must(t, second(bus.PublishBatch(ctx, batch)))
			var ticket *Ticket
			for range 40 {
				var err error
				ticket, err = bus.PublishAsync("a.b", batch[0].Payload)
				must(t, err)
			}
			must(t, second(ticket.Wait(ctx)))
			for range 10 {
				must(t, second(bus.PublishMsg(ctx, refused("a.b", 0))))
			}
		}
		must(t, bus.Flush(ctx))
	}
	const rounds, each = 4, 250_000
	round(each)
	goroutines := runtime.NumGoroutine()
	sizes := []int{resident(t)}
	grown := 0
	for range rounds {
		round(each)
		sizes = append(sizes, resident(t))
		// A leak of 16 bytes a message would be 4 MB a round.
		if sizes[len(sizes)-1] > sizes[len(sizes)-2]+2<<20 {
			grown++
		}
	}
	equal(t, "accepted", bus.Stats().Accepted, (rounds+1)*each)
	equal(t, "pending", fmt.Sprint(bus.Pending(), bus.PendingBytes()), "0 0")
	equal(t, "tickets left", len(bus.core.tickets.slab)-len(bus.core.tickets.empty), 0)
	equal(t, "goroutines", runtime.NumGoroutine() <= goroutines, true)
	// What a leak does in every round, chance does in some.
	if grown == rounds {
		t.Errorf("bytes in memory after each round: %v", sizes)
	}
}

// resident is what the process has in memory, Go's garbage left out.
func resident(t *testing.T) int {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var pages, resident int
	text, err := os.ReadFile("/proc/self/statm")
	must(t, err)
	if _, err := fmt.Sscan(string(text), &pages, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * os.Getpagesize()
}
