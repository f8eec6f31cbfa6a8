// Package ackbus publishes to an event bus, with one unified acknowledgement handler, for NATS JetStream.
//
// [Publisher.Publish] hands a message over and returns at once while there is room. The library underneath settles the acknowledgements of all messages of all
// topics, through lost connections, timeouts, elections and full streams, and tells exactly one outcome for each: persisted, proven not persisted, or possibly
// persisted.
//
//	bus, err := ackbus.Connect(ctx,
//		ackbus.WithServers("nats://127.0.0.1:4222"),
//		ackbus.WithTopic("orders.>", ackbus.Topic{Stream: "ORDERS", Create: ackbus.IfMissing}),
//		ackbus.WithErrorHandler(func(r ackbus.Report) { log.Printf("%s: %v", r.Topic, r.Err) }))
//	...
//	err = bus.Publish("orders.created", payload)      // at once; failures go to the handler
//	ticket, err := bus.PublishAsync("orders.created", payload)
//	ack, err := ticket.Wait(ctx)                      // this message's own outcome
//	err = bus.Close(ctx)                              // waits for what is pending
//
// # Waiting
//
// Whatever waits, waits in Go, and a context ends it at once; no outcome is lost by that. A publish waits only for room in the window of pending messages.
//
// # Outcomes
//
// The outcome of a message goes to its ticket if it was published with [Publisher.PublishAsync] or [Publisher.PublishWait], and else to the handlers that were set
// with [WithErrorHandler] and [WithReportHandler]. Errors are [*Error]: errors.Is compares them with a [Status] such as [ErrQueueFull], and Persistence says whether
// a message may be published again.
//
// # Ending
//
// [Publisher.Close] is the contract. A process may end without it, by os.Exit or a signal: then what is pending is lost or not, and nobody is told. The package
// installs no signal handlers.
//
// # Building
//
// The package needs cgo and the shared library libackbus. In a checkout of the project `make build` makes it, and the package finds it there. With the build tag
// ackbus_pkgconfig it is found by pkg-config instead, as an installed one is. The static library is not for Go programs: two Rust libraries in one program collide.
package ackbus
