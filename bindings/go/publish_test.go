package ackbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestEveryFieldArrives(t *testing.T) {
	var told collector
	bus := inMemory(t, WithReportHandler(told.report))
	ctx := testContext(t)
	must(t, bus.Publish("a.plain", []byte("one")))
	id, err := bus.PublishMsg(ctx, &Message{Topic: "a.full", Payload: []byte("two\x00\xff"), Tag: 1<<64 - 1, MsgID: "my-id", TTL: time.Second, DeliveryTimeout: time.Minute,
		ExpectedLastSeq: Seq(1), ExpectedLastSubjectSeq: Seq(0), Headers: []Header{{"Name", "value"}, {"Empty", ""}}})
	must(t, err)
	equal(t, "id", id, 2)
	must(t, bus.Flush(ctx))

	reports := told.all()
	equal(t, "reports", len(reports), 2)
	plain, full := reports[0], reports[1]
	equal(t, "topics", plain.Topic+" "+full.Topic, "a.plain a.full")
	equal(t, "payloads", string(plain.Payload)+" "+string(full.Payload), "one two\x00\xff")
	equal(t, "ids", fmt.Sprint(plain.ID, full.ID), "1 2")
	equal(t, "tags", fmt.Sprint(plain.Tag, full.Tag), fmt.Sprint(0, uint64(1<<64-1)))
	equal(t, "msg id", full.MsgID, "my-id")
	equal(t, "automatic id", plain.MsgID != "", true)
	equal(t, "sequences", fmt.Sprint(plain.Sequence, full.Sequence), "1 2")
	equal(t, "attempts", full.Attempts, 1)
	equal(t, "persistence", full.Persistence(), Persisted)
	equal(t, "latency", full.Latency > 0, true)
	if full.Err != nil || full.Stream == "" || full.Domain != "" || full.Duplicate || full.Ephemeral {
		t.Errorf("%+v", full)
	}
}

func TestReportsAndAcksNameTheDomain(t *testing.T) {
	url, number := server(t, fields{"jetstream": "domain: hub"})
	ask(t, fields{"do": "create_stream", "server": number, "config": fields{"name": "ORDERS", "subjects": []string{"orders.>"}}})
	var told collector
	ctx := testContext(t)
	bus, err := Connect(ctx, WithServers(url), WithReportHandler(told.report))
	must(t, err)
	must(t, bus.Publish("orders.created", []byte("one")))
	ticket, err := bus.PublishAsync("orders.created", []byte("two"))
	must(t, err)
	ack, err := ticket.Wait(ctx)
	must(t, err)
	equal(t, "ticket", fmt.Sprint(ack.Stream, " ", ack.Domain, " ", ack.Sequence), "ORDERS hub 2")
	ack, err = bus.PublishWait(ctx, "orders.created", []byte("three"))
	must(t, err)
	equal(t, "waited for", fmt.Sprint(ack.Stream, " ", ack.Domain, " ", ack.Sequence), "ORDERS hub 3")
	must(t, bus.Publish("no.stream", nil))
	must(t, bus.Close(ctx))
	reports := told.all()
	equal(t, "reports", len(reports), 2)
	equal(t, "stored", reports[0].Stream+" "+reports[0].Domain, "ORDERS hub")
	equal(t, "refused", reports[1].Err != nil && reports[1].Stream == "" && reports[1].Domain == "", true)
}

// Each expectation is looked at: alone it fails.
func TestExpectationsArrive(t *testing.T) {
	bus := inMemory(t)
	for name, m := range map[string]*Message{
		"last sequence":         {ExpectedLastSeq: Seq(7)},
		"last subject sequence": {ExpectedLastSubjectSeq: Seq(7)},
		"last id":               {ExpectedLastMsgID: "another"},
		"stream":                {ExpectedStream: "ANOTHER"},
	} {
		m.Topic = "a.b"
		_, err := bus.PublishMsgWait(testContext(t), m)
		if !errors.Is(err, ErrWrongExpectation) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorsAreTyped(t *testing.T) {
	bus := inMemory(t)
	ctx := testContext(t)
	err := bus.Publish("a b", nil)
	wants(t, err, ErrInvalidTopic)
	equal(t, "Is its status", errors.Is(err, ErrInvalidTopic), true)
	equal(t, "Is another", errors.Is(err, ErrQueueFull), false)

	_, err = bus.PublishMsgWait(ctx, refused("a.b", 0))
	var e *Error
	equal(t, "As", errors.As(fmt.Errorf("wrapped: %w", err), &e), true)
	equal(t, "error", fmt.Sprintln(e.Status.String(), e.Persistence, e.Retriable, e.Fatal, e.Attempts), "WRONG_EXPECTATION not persisted false false 1\n")
	equal(t, "server code", e.ServerCode, 10071)

	for what, err := range map[string]error{
		"too large":      second(bus.PublishMsg(ctx, &Message{Topic: "a", Payload: make([]byte, 2<<20)})),
		"negative times": second(bus.PublishMsg(ctx, &Message{Topic: "a", TTL: -1})),
		"short ttl":      second(bus.PublishMsg(ctx, &Message{Topic: "a", TTL: time.Millisecond})),
		"header":         second(bus.PublishMsg(ctx, &Message{Topic: "a", Headers: []Header{{"a:b", "c"}}})),
		"utf8":           bus.Publish("a.\xff", nil),
		"empty":          bus.Publish("", nil),
	} {
		want := map[string]Status{"too large": ErrTooLarge, "negative times": ErrInvalidArgument, "short ttl": ErrInvalidArgument, "header": ErrInvalidHeader,
			"utf8": ErrInvalidUTF8, "empty": ErrInvalidTopic}[what]
		if !isStatus(err, want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	equal(t, "accepted", bus.Stats().Accepted, 1)
	must(t, bus.Close(ctx))
	wants(t, bus.Publish("a", nil), ErrClosed)
	_, err = bus.PublishAsync("a", nil)
	wants(t, err, ErrClosed)
	equal(t, "tickets of messages that were not accepted", len(bus.core.tickets.slab)-len(bus.core.tickets.empty), 0)
}

func second[T any](_ T, err error) error { return err }

func TestConnectionsThatCannotBe(t *testing.T) {
	_, err := Connect(testContext(t), WithServers("nats://127.0.0.1:1"), WithConnectTimeout(time.Second))
	wants(t, err, ErrConnectFailed)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Connect(over, WithServers("memory:"))
	wants(t, err, ErrTimedOut)
	equal(t, "the context's error", errors.Is(err, context.Canceled), true)
}

// A batch is cut into calls; order, headers and ends of calls do not show.
func TestBatches(t *testing.T) {
	var told collector
	bus := inMemory(t, WithReportHandler(told.report), WithMaxPending(100))
	ctx := testContext(t)
	messages := make([]Message, 3*packMessages+7)
	for i := range messages {
		messages[i] = Message{Topic: fmt.Sprintf("a.%d", i%3), Payload: bytes.Repeat([]byte{byte(i)}, i%300), Tag: uint64(i)}
		if i%5 == 0 {
			messages[i].Headers = []Header{{"Number", fmt.Sprint(i)}}
		}
	}
	accepted, err := bus.PublishBatch(ctx, messages)
	must(t, err)
	equal(t, "accepted", accepted, len(messages))
	must(t, bus.Flush(ctx))
	reports := told.all()
	equal(t, "reports", len(reports), len(messages))
	for i, r := range reports {
		m := &messages[i]
		if r.Tag != m.Tag || r.Topic != m.Topic || !bytes.Equal(r.Payload, m.Payload) || r.Sequence != uint64(i+1) {
			t.Fatalf("report %d: %+v", i, r)
		}
	}
	equal(t, "the window", bus.Stats().PendingMax, 100)

	accepted, err = bus.PublishBatch(ctx, nil)
	must(t, err)
	equal(t, "nothing", accepted, 0)
}

// What comes before a message that is refused is accepted; what comes after is not.
func TestABatchEndsWhereAMessageIsRefused(t *testing.T) {
	for what, bad := range map[string]Message{
		"by C":         {Topic: "a b"},
		"by Go":        {Topic: "a", TTL: -1},
		"by its bytes": {Topic: "a", Payload: make([]byte, 2<<20)},
	} {
		bus := inMemory(t)
		messages := []Message{{Topic: "a"}, {Topic: "b"}, bad, {Topic: "c"}}
		accepted, err := bus.PublishBatch(testContext(t), messages)
		if accepted != 2 || err == nil || bus.Stats().Accepted != 2 {
			t.Errorf("%s: %d accepted, %v", what, accepted, err)
		}
	}
}

// P1 and P3 with 64 goroutines: each message is told once, and the window holds.
func TestSixtyFourGoroutines(t *testing.T) {
	const goroutines, window = 64, 48
	each := few(500)
	times := make([]atomic.Int32, goroutines*each)
	bus := inMemory(t, WithMaxPending(window), WithReportHandler(func(r Report) {
		if r.Err == nil {
			times[r.Tag].Add(1)
		}
	}))
	ctx := testContext(t)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range each {
				tag := uint64(g*each + i)
				var err error
				switch i % 4 {
				case 0:
					_, err = bus.PublishMsg(ctx, &Message{Topic: "a.b", Tag: tag})
				case 1:
					_, err = bus.PublishMsg(ctx, &Message{Topic: "a.b", Tag: tag, Headers: []Header{{"A", "b"}}})
				case 2:
					_, err = bus.PublishBatch(ctx, []Message{{Topic: "a.b", Tag: tag}})
				case 3:
					var ticket *Ticket
					if ticket, err = bus.PublishAsync("a.b", nil); err == nil {
						if _, err = ticket.Wait(ctx); err == nil {
							times[tag].Add(1)
						}
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	all.Wait()
	must(t, bus.Flush(ctx))
	for tag := range times {
		if count := times[tag].Load(); count != 1 {
			t.Fatalf("message %d was told %d times", tag, count)
		}
	}
	stats := bus.Stats()
	equal(t, "published", stats.Published, uint64(goroutines*each))
	equal(t, "the window held", stats.PendingMax <= window, true)
	equal(t, "pending", fmt.Sprint(bus.Pending(), bus.PendingBytes()), "0 0")
}

func TestInfoAndStateChange(t *testing.T) {
	bus := inMemory(t)
	must(t, bus.WaitConnected(testContext(t)))
	info := bus.Info()
	equal(t, "state", info.State, Connected)
	equal(t, "server", info.Server, "memory:")
	equal(t, "last error", info.LastError, nil)
	must(t, bus.Close(testContext(t)))
	equal(t, "state", bus.Info().State, Closed)
	wants(t, bus.WaitConnected(testContext(t)), ErrClosed)

	never := silent(t)
	equal(t, "state", never.Info().State, Connecting)
	brief, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	err := never.WaitConnected(brief)
	equal(t, "deadline", errors.Is(err, context.DeadlineExceeded), true)
}

// An ephemeral message is never acknowledged; its ticket tells that it was written.
func TestEphemeralMessages(t *testing.T) {
	var told collector
	bus := inMemory(t, WithTopic("ticks.>", Topic{Mode: Ephemeral}), WithReportHandler(told.report))
	ack, err := bus.PublishWait(testContext(t), "ticks.a", nil)
	must(t, err)
	equal(t, "ephemeral", fmt.Sprint(ack.Ephemeral, ack.Sequence, ack.Stream), "true 0")
	must(t, bus.Publish("ticks.b", nil))
	must(t, bus.Flush(testContext(t)))
	equal(t, "reports", len(told.all()), 0)
	stats := bus.Stats()
	equal(t, "figures", fmt.Sprint(stats.Ephemeral, stats.Accepted), "2 0")
}
