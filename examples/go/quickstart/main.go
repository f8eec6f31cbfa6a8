// Quickstart publishes ten messages and hears of every failure: go run ./quickstart nats://127.0.0.1:4222
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"ackbus"
)

func main() {
	ctx, url := context.Background(), append(os.Args, "nats://127.0.0.1:4222")[1]
	bus, err := ackbus.Connect(ctx, ackbus.WithServers(url),
		ackbus.WithTopic("orders.>", ackbus.Topic{Stream: "ORDERS", Create: ackbus.IfMissing}),
		ackbus.WithErrorHandler(func(r ackbus.Report) { log.Printf("%s: %v", r.Topic, r.Err) }))
	if err != nil {
		log.Fatal(err)
	}
	for i := 0; i < 10 && err == nil; i++ {
		err = bus.Publish("orders.created", fmt.Appendf(nil, "order %d", i)) // returns at once
	}
	fmt.Println(err, bus.Close(ctx), bus.Stats().Published, "persisted") // Close waits for the outcomes
}
