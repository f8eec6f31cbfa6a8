package main

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// runNats is nats.go as its documentation has it for throughput: PublishAsync with as many pending as the window has, failures by the error handler, and one wait at
// the end. Nobody looks at the single futures, which is the cheapest way to use it. At a rate the ack handler tells when an ack came; it is called in the order of
// the acks, and that is the order of the messages: one stream, one connection.
func runNats(l load, p *pace, begin func() error, end func(int) error) error {
	nc, err := nats.Connect("nats://" + l.address)
	if err != nil {
		return err
	}
	defer nc.Close()
	var failed atomic.Int64
	var first sync.Once
	handlers := []jetstream.JetStreamOpt{jetstream.WithPublishAsyncMaxPending(l.window),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			failed.Add(1)
			first.Do(func() { fmt.Fprintln(os.Stderr, "publish: the first failure:", err) })
		})}
	if l.rate > 0 {
		next := 0
		handlers = append(handlers, jetstream.WithPublishAsyncAckHandler(func(jetstream.JetStream, *nats.Msg, *jetstream.PubAck) {
			p.acked(next)
			next++
		}))
	}
	js, err := jetstream.New(nc, handlers...)
	if err != nil {
		return err
	}
	if err := begin(); err != nil {
		return err
	}
	if err := natsPublish(js, l, p); err != nil {
		return err
	}
	if !l.hold {
		select {
		case <-js.PublishAsyncComplete():
		case <-time.After(settle):
			return fmt.Errorf("%d messages are still pending", js.PublishAsyncPending())
		}
		return end(l.count - int(failed.Load()))
	}
	return end(0)
}

func natsPublish(js jetstream.JetStream, l load, p *pace) error {
	payload := make([]byte, l.size)
	options := []jetstream.PublishOpt{jetstream.WithStallWait(settle)}
	prefix := fmt.Sprintf("%x-", time.Now().UnixNano())
	var id []byte
	for i := range l.count {
		p.wait(i)
		with := options
		if l.msgID {
			id = fmt.Appendf(id[:0], "%s%d", prefix, i)
			with = append(options[:1:1], jetstream.WithMsgID(string(id)))
		}
		if _, err := js.PublishAsync(l.subject, payload, with...); err != nil {
			return err
		}
	}
	return nil
}
