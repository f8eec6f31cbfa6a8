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

// natsGo is nats.go as its documentation has it for throughput: PublishAsync with as many pending as the window has, failures by the error handler, and one wait at
// the end. Nobody looks at the single futures, which is the cheapest way to use it.
func natsGo(l load, begin, end func()) (int, error) {
	nc, err := nats.Connect("nats://" + l.address)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	var failed atomic.Int64
	var first sync.Once
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(l.window),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			failed.Add(1)
			first.Do(func() { fmt.Fprintln(os.Stderr, "publish: the first failure:", err) })
		}))
	if err != nil {
		return 0, err
	}
	payload := make([]byte, l.size)
	options := []jetstream.PublishOpt{jetstream.WithStallWait(settle)}
	prefix := fmt.Sprintf("%x-", time.Now().UnixNano())
	var id []byte
	begin()
	for i := range l.count {
		with := options
		if l.msgID {
			id = fmt.Appendf(id[:0], "%s%d", prefix, i)
			with = append(options[:1:1], jetstream.WithMsgID(string(id)))
		}
		if _, err := js.PublishAsync(l.subject, payload, with...); err != nil {
			return 0, err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(settle):
		return 0, fmt.Errorf("%d messages are still pending", js.PublishAsyncPending())
	}
	end()
	return l.count - int(failed.Load()), nil
}
