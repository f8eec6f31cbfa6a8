// Mistakes shows what a newcomer reads after the usual mistakes. docs/quickstart/go.md has this program and what it prints.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"ackbus"
)

func mistakes(ctx context.Context, url string) {
	// A value that an option does not have.
	_, err := ackbus.Connect(ctx, ackbus.WithServers(url), ackbus.WithMaxPending(0))
	fmt.Println(err)

	// Nobody listens there.
	_, err = ackbus.Connect(ctx, ackbus.WithServers("nats://127.0.0.1:1"))
	fmt.Println(err)

	var bus *ackbus.Publisher
	bus, err = ackbus.Connect(ctx, ackbus.WithServers(url), ackbus.WithErrorHandler(func(r ackbus.Report) {
		fmt.Println("the handler:", r.Err)
		fmt.Println(bus.Flush(ctx)) // in a handler, which would wait for itself
	}))
	if err != nil {
		fmt.Println(err)
		return
	}

	// A pattern where a topic is wanted.
	fmt.Println(bus.Publish("orders.*", []byte("{}")))

	// No stream takes the topic: Publish succeeds, and the handler is told. One that waits for the outcome hears it itself.
	_, err = bus.PublishWait(ctx, "invoices.new", []byte("{}"))
	fmt.Println(err)
	fmt.Println(bus.Publish("invoices.new", []byte("{}")))
	fmt.Println(bus.Flush(ctx))

	// A context that is over.
	over, cancel := context.WithDeadline(ctx, time.Unix(0, 0))
	defer cancel()
	_, err = bus.PublishWait(over, "orders.created", []byte("{}"))
	fmt.Println(err)

	// Too late.
	fmt.Println(bus.Close(ctx))
	fmt.Println(bus.Publish("orders.created", []byte("{}")))
}

func main() {
	mistakes(context.Background(), append(os.Args, "nats://127.0.0.1:4222")[1])
}
