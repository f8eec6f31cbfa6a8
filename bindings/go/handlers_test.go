package ackbus

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Who hears of what: on_error gets failures, on_report the rest; with on_report alone it gets all.
func TestWhoHearsOfWhat(t *testing.T) {
	for _, test := range []struct {
		name             string
		report, fail     bool
		mode             ReportMode
		reported, failed int
	}{
		{name: "both", report: true, fail: true, reported: 2, failed: 1},
		{name: "report alone", report: true, reported: 3},
		{name: "error alone", fail: true, failed: 1},
		{name: "both, failures", report: true, fail: true, mode: ReportFailures, failed: 1},
		{name: "both, none", report: true, fail: true, mode: ReportNone},
		{name: "report alone, failures", report: true, mode: ReportFailures, reported: 1},
		{name: "error alone, all", fail: true, mode: ReportAll, failed: 1},
	} {
		var reported, failed collector
		options := []Option{WithLogger(slog.New(slog.DiscardHandler))}
		if test.report {
			options = append(options, WithReportHandler(reported.report))
		}
		if test.fail {
			options = append(options, WithErrorHandler(failed.report))
		}
		if test.mode != "" {
			options = append(options, WithReport(test.mode))
		}
		bus := inMemory(t, options...)
		ctx := testContext(t)
		must(t, bus.Publish("a", nil))
		must(t, second(bus.PublishMsg(ctx, refused("a", 0))))
		must(t, bus.Publish("a", nil))
		must(t, bus.Flush(ctx))
		equal(t, test.name+": reported", len(reported.all()), test.reported)
		equal(t, test.name+": failed", len(failed.all()), test.failed)
	}
}

func TestReportAlways(t *testing.T) {
	var told collector
	bus := inMemory(t, WithReport(ReportNone), WithReportHandler(told.report))
	must(t, second(bus.PublishMsg(testContext(t), &Message{Topic: "a", Tag: 1})))
	must(t, second(bus.PublishMsg(testContext(t), &Message{Topic: "a", Tag: 2, ReportAlways: true})))
	must(t, second(bus.PublishMsg(testContext(t), &Message{Topic: "a", Tag: 3, ReportAlways: true, MsgID: "x"})))
	must(t, bus.Flush(testContext(t)))
	reports := told.all()
	equal(t, "reports", len(reports), 2)
	equal(t, "tags", reports[0].Tag+reports[1].Tag, 5)
}

// P5: whatever waits is refused in a handler, of reports and of events, and nothing deadlocks.
func TestCallsThatWaitAreRefusedInHandlers(t *testing.T) {
	type refusal struct {
		call string
		err  error
	}
	refusals := make(chan refusal, 100)
	var bus *Publisher
	var ticket *Ticket
	ready := make(chan struct{})
	try := func() {
		<-ready
		ctx := context.Background()
		refusals <- refusal{"Flush", bus.Flush(ctx)}
		refusals <- refusal{"Close", bus.Close(ctx)}
		refusals <- refusal{"PublishWait", second(bus.PublishWait(ctx, "a", nil))}
		refusals <- refusal{"WaitConnected", bus.WaitConnected(ctx)}
		refusals <- refusal{"Purge", second(bus.Purge(Unsent))}
		refusals <- refusal{"Connect", second(Connect(ctx, WithServers("memory:")))}
		refusals <- refusal{"Wait", second(ticket.Wait(ctx))}
		refusals <- refusal{"the end", nil}
	}
	var once sync.Once
	bus = silent(t, WithErrorHandler(func(r Report) {
		if r.Topic == "a" {
			try()
		}
	}), WithEventHandler(func(Event) { once.Do(try) }))
	ticket, err := bus.PublishAsync("b", nil)
	must(t, err)
	// Messages that are queued settle in their order, so the ticket's outcome would come after the handler's.
	must(t, bus.Publish("a", nil))
	close(ready)
	collect := func() {
		for {
			r := wait(t, "the handler", refusals)
			if r.call == "the end" {
				return
			}
			if !isStatus(r.err, ErrWrongThread) && r.call != "Wait" {
				t.Errorf("%s: %v", r.call, r.err)
			}
		}
	}
	// Closing tells an event, whose handler comes first here, then the reports.
	go closeNow(t, bus)
	collect()
	collect()
	until(t, "the end", func() bool { return bus.Info().State == Closed })
}

func TestWaitIsRefusedInAHandler(t *testing.T) {
	result := make(chan error, 1)
	var ticket *Ticket
	ready := make(chan struct{})
	bus := silent(t, WithEventHandler(func(Event) {}), WithErrorHandler(func(Report) {
		<-ready
		result <- second(ticket.Wait(context.Background()))
	}))
	must(t, bus.Publish("a", nil))
	second(bus.Purge(Unsent | InFlight))
	ticket, err := bus.PublishAsync("b", nil)
	must(t, err)
	close(ready)
	wants(t, wait(t, "the handler", result), ErrWrongThread)
}

// A handler that takes its time holds up no ticket and no room.
func TestASlowHandlerHoldsUpNobody(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	bus := inMemory(t, WithMaxPending(4), WithErrorHandler(func(Report) {
		entered <- struct{}{}
		<-release
	}))
	ctx := testContext(t)
	must(t, second(bus.PublishMsg(ctx, refused("a", 0))))
	wait(t, "the handler", entered)
	for range 100 {
		must(t, second(bus.PublishWait(ctx, "a", nil)))
		must(t, bus.Publish("a", nil))
	}
	close(release)
}

// A panic ends with its report; the others are told (P1).
func TestAHandlerThatPanics(t *testing.T) {
	var log lockedBuffer
	var told atomic.Int32
	bus := inMemory(t, WithLogger(slog.New(slog.NewTextHandler(&log, nil))), WithErrorHandler(func(r Report) {
		told.Add(1)
		if r.Tag%2 == 0 {
			panic("out of cheese")
		}
	}))
	for tag := range uint64(10) {
		must(t, second(bus.PublishMsg(testContext(t), refused("a", tag))))
	}
	must(t, bus.Flush(testContext(t)))
	equal(t, "told", told.Load(), 10)
	equal(t, "logged", strings.Count(log.String(), "out of cheese"), 5)
}

// Neither does a handler that ends its goroutine take others' outcomes with it. It must not leave the thread marked, or later goroutines could not wait.
func TestAHandlerThatEndsItsGoroutine(t *testing.T) {
	var told atomic.Int32
	bus := inMemory(t, WithErrorHandler(func(r Report) {
		told.Add(1)
		if r.Tag%3 == 0 {
			runtime.Goexit()
		}
	}), WithEventHandler(func(Event) { runtime.Goexit() }))
	for tag := range uint64(100) {
		must(t, second(bus.PublishMsg(testContext(t), refused("a", tag))))
	}
	must(t, bus.Flush(testContext(t)))
	equal(t, "told", told.Load(), 100)
	equal(t, "places", bus.PendingBytes(), 0)
	must(t, bus.Close(testContext(t)))
}

// One call at a time, in the order in which the outcomes came.
func TestHandlersAreCalledOneAtATime(t *testing.T) {
	var inside atomic.Int32
	var next uint64
	bus := inMemory(t, WithReportHandler(func(r Report) {
		if inside.Add(1) != 1 {
			t.Error("two at a time")
		}
		if r.Tag != next {
			t.Errorf("tag %d, should be %d", r.Tag, next)
		}
		next++
		runtime.Gosched()
		inside.Add(-1)
	}))
	for tag := range uint64(few(3000)) {
		must(t, second(bus.PublishMsg(testContext(t), &Message{Topic: "a", Tag: tag})))
	}
	must(t, bus.Flush(testContext(t)))
	equal(t, "told", next, uint64(few(3000)))
}

func TestEvents(t *testing.T) {
	var told collector
	bus := inMemory(t, WithEventHandler(told.event))
	until(t, "the first event", func() bool { return told.told(EventConnected) })
	equal(t, "server", told.events[0].Server, "memory:")
	equal(t, "time", time.Since(told.events[0].Time) < long, true)
	must(t, bus.Close(testContext(t)))
	equal(t, "the last event", told.events[len(told.events)-1].Kind, EventClosed)
}

// P9: events that nobody takes drop the oldest, and are counted.
func TestEventsDropTheOldest(t *testing.T) {
	h := handlers{onEvent: func(Event) {}, maxEvents: 2, running: true}
	h.events([]Event{{Value: 1}, {Value: 2}, {Value: 3}})
	h.events([]Event{{Value: 4}})
	equal(t, "dropped", h.dropped(), 2)
	equal(t, "waiting", len(h.waitingEvents), 2)
	equal(t, "the oldest", h.waitingEvents[0].Value, 3)
}

// Failures that no handler takes are not silent, and a stream that refuses everything does not flood the log.
func TestFailuresWithoutAHandlerAreLogged(t *testing.T) {
	var log lockedBuffer
	bus := silent(t, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	for range 100 {
		must(t, bus.Publish("a.b", nil))
	}
	second(bus.Purge(Unsent | InFlight))
	must(t, bus.Flush(testContext(t)))
	text := log.String()
	equal(t, "lines", strings.Count(text, "\n"), 1)
	if !strings.Contains(text, "count=100") || !strings.Contains(text, "PURGED") || !strings.Contains(text, "a.b") {
		t.Error(text)
	}
}

// lockedBuffer is for loggers that are used by several goroutines.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// The library's log arrives with its levels.
func TestTheLibrarysLog(t *testing.T) {
	var log lockedBuffer
	must(t, SetLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	defer SetLogger(nil)
	bus := inMemory(t, WithLogLevel(LogInfo))
	must(t, bus.Close(testContext(t)))
	until(t, "the log", func() bool { return strings.Contains(log.String(), "CONNECTED") })
	text := log.String()
	if !strings.Contains(text, "level=INFO") || !strings.Contains(text, "target=ackbus") {
		t.Error(text)
	}
}

// No record of any level and no error holds a password.
func TestNoSecretIsLogged(t *testing.T) {
	const right, wrong = "right-7c2f0f8b6f0e4a5d", "wrong-2b1d9a7e4c3f5e60"
	url, _ := server(t, fields{"config": fmt.Sprintf("authorization { user: app, password: %q }", right)})
	var log lockedBuffer
	must(t, SetLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.Level(-100)}))))
	defer SetLogger(nil)
	bus, err := Connect(testContext(t), WithServers(url), WithUser("app", right), WithLogLevel(LogTrace))
	must(t, err)
	must(t, bus.Close(testContext(t)))
	_, err = Connect(testContext(t), WithServers(url), WithUser("app", wrong), WithLogLevel(LogTrace))
	wants(t, err, ErrAuthFailed)
	until(t, "the log", func() bool { return strings.Contains(log.String(), "AUTH_FAILED") })
	for _, text := range []string{log.String(), fmt.Sprintf("%v %+v %#v", err, err, err)} {
		if strings.Contains(text, right) || strings.Contains(text, wrong) {
			t.Error("a secret is told:", text)
		}
	}
}

// A logger may be called from threads of the library's, panic, and publish.
func TestALoggerThatMisbehaves(t *testing.T) {
	var bus *Publisher
	ready, done := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	must(t, SetLogger(slog.New(slogFunc(func() {
		once.Do(func() {
			<-ready
			done <- bus.Flush(context.Background())
		})
		panic("in the logger")
	}))))
	defer SetLogger(nil)
	bus = inMemory(t, WithLogLevel(LogDebug))
	close(ready)
	wants(t, wait(t, "the logger", done), ErrWrongThread)
	must(t, bus.Publish("a", nil))
	must(t, bus.Close(testContext(t)))
}

// slogFunc is a slog.Handler that calls a function for each record.
type slogFunc func()

func (f slogFunc) Enabled(context.Context, slog.Level) bool  { return true }
func (f slogFunc) Handle(context.Context, slog.Record) error { f(); return nil }
func (f slogFunc) WithAttrs([]slog.Attr) slog.Handler        { return f }
func (f slogFunc) WithGroup(string) slog.Handler             { return f }
