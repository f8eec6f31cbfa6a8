// Httpservice publishes an event for each request, and ends in order on SIGTERM and Ctrl-C: no request is cut off, and every event that was accepted has its outcome
// before the process ends.
//
//	go run ./httpservice nats://127.0.0.1:4222 [127.0.0.1:8080]
//
// POST /orders answers when the event is stored, or says whether it is safe to try again. POST /clicks answers at once. GET /metrics tells Prometheus the figures,
// and GET /debug/vars people.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"ackbus"
	"ackbus/ackbusexpvar"
)

// requestTime is how long a request may wait for its event, and endTime how long the end may take.
const (
	requestTime = 5 * time.Second
	endTime     = 10 * time.Second
)

func main() {
	arguments := []string{"nats://127.0.0.1:4222", "127.0.0.1:8080"}
	copy(arguments, os.Args[1:])
	if err := run(arguments); err != nil {
		slog.Error(err.Error())
		os.Exit(1)
	}
}

func run(arguments []string) error {
	// Until the first signal; a second one ends the process at once, as ever.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	bus, err := ackbus.Connect(ctx,
		ackbus.WithServers(arguments[0]),
		ackbus.WithTopic("web.>", ackbus.Topic{Stream: "WEB", Create: ackbus.IfMissing}),
		ackbus.WithErrorHandler(func(r ackbus.Report) { slog.Error("event lost", "topic", r.Topic, "error", r.Err) }),
		ackbus.WithEventHandler(func(e ackbus.Event) { slog.Info(e.Kind.String(), "server", e.Server, "text", e.Text) }))
	if err != nil {
		return err
	}
	ackbusexpvar.Publish("bus", bus)

	http.Handle("GET /metrics", ackbus.MetricsHandler(bus))
	http.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) { order(bus, w, r) })
	http.HandleFunc("POST /clicks", func(w http.ResponseWriter, r *http.Request) { click(bus, w, r) })
	listener, err := net.Listen("tcp", arguments[1])
	if err != nil {
		return err
	}
	fmt.Println("http://" + listener.Addr().String())
	server := http.Server{}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	select {
	case err = <-served:
	case <-ctx.Done():
		stop()
	}
	// First those who publish, then the bus.
	end, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	err = errors.Join(err, server.Shutdown(end), bus.Close(end))
	stats := bus.Stats()
	fmt.Printf("%d accepted, %d persisted, %d failed\n", stats.Accepted, stats.Published, stats.PublishErrors)
	return err
}

// order waits for the acknowledgement. When its client goes away it stops waiting; the event is pending all the same.
func order(bus *ackbus.Publisher, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	ack, err := bus.PublishWait(ctx, "web.orders", body)
	var e *ackbus.Error
	switch {
	case err == nil:
		fmt.Fprintf(w, "stored as %d in %s\n", ack.Sequence, ack.Stream)
	case errors.As(err, &e) && e.Persistence == ackbus.NotPersisted:
		http.Error(w, "not stored, try again: "+err.Error(), http.StatusServiceUnavailable)
	default:
		http.Error(w, "perhaps stored: "+err.Error(), http.StatusGatewayTimeout)
	}
}

// click waits only for room, and no longer than its client.
func click(bus *ackbus.Publisher, w http.ResponseWriter, r *http.Request) {
	if err := bus.PublishContext(r.Context(), "web.clicks", []byte(r.RemoteAddr)); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}
