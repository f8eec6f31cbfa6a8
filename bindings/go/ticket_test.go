package ackbus

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"
)

func TestTickets(t *testing.T) {
	bus := inMemory(t)
	ctx := testContext(t)
	ticket, err := bus.PublishAsync("a.b", []byte("x"))
	must(t, err)
	ack, err := ticket.Wait(ctx)
	must(t, err)
	equal(t, "sequence", ack.Sequence, 1)
	equal(t, "id", ticket.ID(), 1)
	again, err := ticket.Wait(ctx)
	must(t, err)
	equal(t, "the same", again, ack)
	equal(t, "Ack", ticket.Ack(), ack)
	must(t, ticket.Err())
	wait(t, "Done", ticket.Done())

	ticket, err = bus.PublishMsgAsync(ctx, refused("a.b", 0))
	must(t, err)
	wait(t, "Done", ticket.Done())
	wants(t, ticket.Err(), ErrWrongExpectation)
	_, err = ticket.Wait(ctx)
	wants(t, err, ErrWrongExpectation)
	equal(t, "Ack", ticket.Ack(), Ack{})
}

// A context that ends loses no outcome: the ticket is as good as before.
func TestWaitingForATicketMayEnd(t *testing.T) {
	bus := silent(t)
	ticket, err := bus.PublishAsync("a", nil)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = ticket.Wait(ctx)
	wants(t, err, ErrTimedOut)
	equal(t, "persistence", err.(*Error).Persistence, PossiblyPersisted)
	equal(t, "the context's error", errors.Is(err, context.Canceled), true)
	brief, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err = ticket.Wait(brief)
	equal(t, "deadline", errors.Is(err, context.DeadlineExceeded), true)
	must(t, ticket.Err())
	select {
	case <-ticket.Done():
		t.Fatal("it has no outcome yet")
	default:
	}

	waiting := make(chan error, 3)
	for range 3 {
		go func() { waiting <- second(ticket.Wait(context.Background())) }()
	}
	second(bus.Purge(Unsent | InFlight))
	for range 3 {
		wants(t, wait(t, "Wait", waiting), ErrPurged)
	}
	// A context that is over is no reason not to tell what is known.
	_, err = ticket.Wait(ctx)
	wants(t, err, ErrPurged)
}

// The outcome of a PublishWait that was given up goes to the handlers, once, with its tag.
func TestAPublishWaitThatIsGivenUp(t *testing.T) {
	var told collector
	bus := silent(t, WithErrorHandler(told.report))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	_, err := bus.PublishMsgWait(ctx, &Message{Topic: "a", Payload: []byte("x"), Tag: 77})
	wants(t, err, ErrTimedOut)
	equal(t, "persistence", err.(*Error).Persistence, PossiblyPersisted)
	ticket, err := bus.PublishAsync("b", nil)
	must(t, err)
	second(bus.Purge(Unsent | InFlight))
	wants(t, second(ticket.Wait(testContext(t))), ErrPurged)
	must(t, bus.Flush(testContext(t)))
	reports := told.all()
	equal(t, "reports", len(reports), 1)
	equal(t, "tag", reports[0].Tag, 77)
	equal(t, "payload", string(reports[0].Payload), "x")
	wants(t, reports[0].Err, ErrPurged)
}

// The race between the outcome and giving up: it goes to one of the two, never to both or none.
func TestGivingUpAsTheOutcomeComes(t *testing.T) {
	var told collector
	bus := inMemory(t, WithReportHandler(told.report))
	count := few(2000)
	waited := 0
	for i := range count {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%100)*time.Microsecond)
		_, err := bus.PublishWait(ctx, "a", nil)
		cancel()
		var e *Error
		switch {
		case err == nil:
			waited++
		case errors.As(err, &e) && e.Persistence == NotPersisted:
			waited++ // it was not even accepted
		}
	}
	must(t, bus.Flush(testContext(t)))
	equal(t, "told", len(told.all())+waited, count)
}

// Tickets cost no goroutine, and no channel until somebody waits.
func TestTicketsAreCheap(t *testing.T) {
	bus := silent(t, WithMaxPending(20_000))
	before := runtime.NumGoroutine()
	for range few(10_000) {
		ticket, err := bus.PublishAsync("a", nil)
		must(t, err)
		if ticket.done.Load() != nil {
			t.Fatal("it has a channel")
		}
	}
	equal(t, "no more goroutines", runtime.NumGoroutine() <= before, true)
}

func TestPublishingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector allocates")
	}
	if garbageIsCollectedAlways {
		t.Skip("skipped: the collector empties the pools at each call")
	}
	bus := inMemory(t)
	payload := make([]byte, 100)
	if allocations := testing.AllocsPerRun(2000, func() { must(t, bus.Publish("a.b", payload)) }); allocations >= 1 {
		t.Errorf("%v allocations for a message", allocations)
	}
	if allocations := testing.AllocsPerRun(2000, func() { must(t, second(bus.PublishAsync("a.b", payload))) }); allocations >= 2 {
		t.Errorf("%v allocations for a ticket", allocations)
	}
}
