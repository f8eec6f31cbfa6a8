// Publishes one message, without a server, and says what became of it.
package main

import (
	"context"
	"fmt"
	"os"

	"ackbus"
)

func main() {
	ctx := context.Background()
	bus, err := ackbus.Connect(ctx, ackbus.WithServers("memory:"))
	if err == nil {
		_, err = bus.PublishWait(ctx, "orders.created", nil)
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
