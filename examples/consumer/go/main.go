// app [URL]: publishes one message, to a server or in memory, and says what became of it.
package main

import (
	"context"
	"fmt"
	"os"

	"ackbus"
)

func main() {
	ctx, url := context.Background(), append(os.Args, "memory:")[1]
	bus, err := ackbus.Connect(ctx, ackbus.WithServers(url), ackbus.WithTopic("consumer.>", ackbus.Topic{Stream: "CONSUMER", Create: ackbus.IfMissing}))
	if err == nil {
		_, err = bus.PublishWait(ctx, "consumer.created", nil)
	}
	if err == nil {
		err = bus.Close(ctx)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Printf("Go, ackbus %s: persisted\n", ackbus.LibraryVersion())
}
