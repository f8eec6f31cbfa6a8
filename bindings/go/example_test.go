package ackbus_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"ackbus"
)

// The in-memory backend serves tests and examples without a server; "nats://127.0.0.1:4222" in its place is the real thing.
const url = "memory:"

func Example() {
	ctx := context.Background()
	bus, err := ackbus.Connect(ctx,
		ackbus.WithServers(url),
		ackbus.WithTopic("orders.>", ackbus.Topic{Stream: "ORDERS", Create: ackbus.IfMissing}),
		ackbus.WithErrorHandler(func(r ackbus.Report) { log.Printf("%s: %v", r.Topic, r.Err) }))
	if err != nil {
		log.Fatal(err)
	}
	for i := range 10 {
		if err := bus.Publish("orders.created", fmt.Appendf(nil, "order %d", i)); err != nil { // returns at once
			log.Fatal(err)
		}
	}
	if err := bus.Close(ctx); err != nil { // waits for the outcomes
		log.Fatal(err)
	}
	fmt.Println(bus.Stats().Published, "persisted")
	// Output: 10 persisted
}

func ExamplePublisher_PublishAsync() {
	ctx := context.Background()
	bus, err := ackbus.Connect(ctx, ackbus.WithServers(url), ackbus.WithTopic("orders.>", ackbus.Topic{Stream: "ORDERS", Create: ackbus.IfMissing}))
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close(ctx)
	var tickets []*ackbus.Ticket
	for range 3 {
		ticket, err := bus.PublishAsync("orders.created", []byte("{}"))
		if err != nil {
			log.Fatal(err)
		}
		tickets = append(tickets, ticket)
	}
	for _, ticket := range tickets {
		ack, err := ticket.Wait(ctx)
		fmt.Println(ack.Stream, ack.Sequence, err)
	}
	// Output:
	// ORDERS 1 <nil>
	// ORDERS 2 <nil>
	// ORDERS 3 <nil>
}

// A message that failed is published to another topic, with the reason. That works at a full window too.
func ExampleWithErrorHandler() {
	ctx := context.Background()
	done := make(chan string, 1)
	var bus *ackbus.Publisher
	bus, err := ackbus.Connect(ctx, ackbus.WithServers(url), ackbus.WithMaxPending(1),
		ackbus.WithErrorHandler(func(r ackbus.Report) {
			var e *ackbus.Error
			errors.As(r.Err, &e)
			letter := &ackbus.Message{Topic: "dead." + r.Topic, Payload: r.Payload, Headers: []ackbus.Header{{"Reason", e.Status.String()}}}
			if _, err := bus.PublishMsg(ctx, letter); err != nil {
				log.Print(err)
			}
			done <- fmt.Sprintf("%s is %v: %s", r.Topic, e.Persistence, e.Status)
		}))
	if err != nil {
		log.Fatal(err)
	}
	// The stream's last sequence is not 41.
	if _, err := bus.PublishMsg(ctx, &ackbus.Message{Topic: "orders.created", ExpectedLastSeq: ackbus.Seq(41)}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-done)
	if err := bus.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: orders.created is not persisted: ackbus: WRONG_EXPECTATION: an expected sequence, id or stream did not match
}

func ExamplePublisher_PublishWait() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	bus, err := ackbus.Connect(ctx, ackbus.WithServers(url))
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close(ctx)
	ack, err := bus.PublishWait(ctx, "orders.created", []byte("{}"))
	var e *ackbus.Error
	switch {
	case err == nil:
		fmt.Println("stored as", ack.Sequence)
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("no answer in time; its outcome goes to the error handler")
	case errors.As(err, &e) && e.Persistence == ackbus.NotPersisted:
		fmt.Println("proven not stored:", err)
	default:
		fmt.Println("perhaps stored:", err)
	}
	// Output: stored as 1
}

func ExamplePublisher_PublishBatch() {
	ctx := context.Background()
	bus, err := ackbus.Connect(ctx, ackbus.WithServers(url))
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close(ctx)
	accepted, err := bus.PublishBatch(ctx, []ackbus.Message{
		{Topic: "orders.created", Payload: []byte("1")},
		{Topic: "orders paid", Payload: []byte("2")},
	})
	fmt.Println(accepted, errors.Is(err, ackbus.ErrInvalidTopic))
	// Output: 1 true
}
