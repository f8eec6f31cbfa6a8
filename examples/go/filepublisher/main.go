// Filepublisher publishes a file line by line, shows how far it is, and says what was not stored.
//
//	go run ./filepublisher nats://127.0.0.1:4222 TOPIC STREAM FILE
//
// It exits with 0 only if every line is stored. Ctrl-C ends it in order: what was accepted until then gets its outcome.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"ackbus"
)

// atOnce is how many lines go to the bus in one call.
const atOnce = 256

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: filepublisher URL TOPIC STREAM FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "filepublisher:", err)
		os.Exit(1)
	}
}

func run(url, topic, stream, path string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	bus, err := ackbus.Connect(ctx, ackbus.WithServers(url), ackbus.WithTopic(topic, ackbus.Topic{Stream: stream, Create: ackbus.IfMissing}),
		// The tag is the line's number.
		ackbus.WithErrorHandler(func(r ackbus.Report) { fmt.Printf("line %d: %v: %v\n", r.Tag, r.Persistence(), r.Err) }))
	if err != nil {
		return err
	}

	progress := make(chan struct{})
	go func() {
		defer close(progress)
		show(ctx, bus)
	}()
	lines, err := publish(ctx, bus, topic, file)
	// With its own time: ctx may be over.
	err = errors.Join(err, bus.Close(context.Background()))
	stop()
	<-progress

	stats := bus.Stats()
	fmt.Printf("%d lines, %d persisted, %d failed\n", lines, stats.Published, stats.PublishErrors)
	if err == nil && stats.PublishErrors > 0 {
		err = fmt.Errorf("%d lines are not stored", stats.PublishErrors)
	}
	return err
}

// publish returns how many lines were accepted.
func publish(ctx context.Context, bus *ackbus.Publisher, topic string, file io.Reader) (lines int, err error) {
	reader := bufio.NewScanner(file)
	reader.Buffer(nil, 1<<20)
	batch := make([]ackbus.Message, 0, atOnce)
	send := func() error {
		accepted, err := bus.PublishBatch(ctx, batch)
		lines += accepted
		batch = batch[:0]
		return err
	}
	for number := uint64(1); reader.Scan(); number++ {
		// The scanner uses its buffer again.
		payload := append([]byte(nil), reader.Bytes()...)
		batch = append(batch, ackbus.Message{Topic: topic, Payload: payload, Tag: number})
		if len(batch) == atOnce {
			if err := send(); err != nil {
				return lines, err
			}
		}
	}
	if err := reader.Err(); err != nil {
		return lines, err
	}
	return lines, send()
}

// show tells every second how far it is, until the context ends.
func show(ctx context.Context, bus *ackbus.Publisher) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			stats := bus.Stats()
			fmt.Fprintf(os.Stderr, "%d persisted, %d failed, %d pending\n", stats.Published, stats.PublishErrors, stats.Pending)
		case <-ctx.Done():
			return
		}
	}
}
