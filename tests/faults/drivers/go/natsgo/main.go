// The fault driver for nats.go: asynchronous publishing of its package jetstream, with an acknowledgement handler and an error handler.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ackbus-fault-drivers/driver"
)

// stallWait is longer than any run: a full window is waited for, as with ackbus. The default, 200 ms, would make errors of it.
const stallWait = 10 * time.Minute

type client struct {
	run     *driver.Run
	nc      *nats.Conn
	js      jetstream.JetStream
	closing atomic.Bool
}

func main() {
	driver.Main(connect)
}

func connect(run *driver.Run) (driver.Client, error) {
	c := &client{run: run}
	var err error
	c.nc, err = nats.Connect(run.URL,
		// It goes on trying, soon, and notices a dead connection in seconds; the defaults are 60 tries, 2 s, and 2 minutes.
		nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.PingInterval(5*time.Second), nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { c.state("disconnected") }),
		nats.ReconnectHandler(func(*nats.Conn) { c.state("reconnected") }),
		nats.ClosedHandler(func(*nats.Conn) { c.state("failed") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { run.Error(err.Error()) }))
	if err != nil {
		return nil, err
	}
	window := run.MaxPending
	if window == 0 {
		window = 10_000
	}
	c.js, err = jetstream.New(c.nc, jetstream.WithPublishAsyncMaxPending(window), jetstream.WithPublishAsyncTimeout(run.AckTimeout),
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, ack *jetstream.PubAck) {
			run.Outcome(driver.Outcome{ID: number(m), Kind: driver.Acked, Sequence: ack.Sequence, Duplicate: ack.Duplicate})
		}),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) { run.Outcome(failure(number(m), err)) }))
	return c, err
}

// state tells what happens to the connection, unless it is closed on purpose.
func (c *client) state(state string) {
	if !c.closing.Load() {
		c.run.State(state)
	}
}

// numbered hides a message's number behind its payload: handlers are given the message and nothing else of ours, and Msg-Ids need not be unique.
func numbered(payload []byte, id int64) []byte {
	return binary.LittleEndian.AppendUint64(payload, uint64(id))[:len(payload)]
}

func number(m *nats.Msg) int64 {
	size := len(m.Data)
	return int64(binary.LittleEndian.Uint64(m.Data[size : size+8]))
}

func failure(id int64, err error) driver.Outcome {
	o := driver.Outcome{ID: id, Kind: driver.Failed, Text: err.Error()}
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrAsyncPublishTimeout), errors.Is(err, nats.ErrTimeout):
		o.Kind = driver.InDoubt
	case errors.As(err, &api):
		o.Kind, o.Code = driver.Refused, int(api.ErrorCode)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		o.Kind, o.Code = driver.Refused, 503
	}
	return o
}

func (c *client) Name() string { return "nats.go " + nats.Version }

func (c *client) Publish(m *driver.Message, inHandler bool) error {
	message := &nats.Msg{Subject: m.Subject, Data: numbered(m.Payload, m.ID)}
	if m.Header.Name != "" {
		message.Header = nats.Header{m.Header.Name: {m.Header.Value}}
	}
	wait := stallWait
	if inHandler {
		wait = time.Nanosecond // 0 is not allowed
	}
	options := []jetstream.PublishOpt{jetstream.WithRetryAttempts(20), jetstream.WithRetryWait(500 * time.Millisecond), jetstream.WithStallWait(wait)}
	if m.MsgID != "" {
		options = append(options, jetstream.WithMsgID(m.MsgID))
	}
	_, err := c.js.PublishMsgAsync(message, options...)
	return err
}

func (c *client) IsClosed(err error) bool { return errors.Is(err, nats.ErrConnectionClosed) }

func (c *client) Pending() int { return c.js.PublishAsyncPending() }

// Close waits for acknowledgements, gives up the rest, and closes: the order that its documentation has.
func (c *client) Close(limit time.Duration) (err error) {
	c.run.Stop()
	c.closing.Store(true)
	select {
	case <-c.js.PublishAsyncComplete():
	case <-time.After(limit):
		err = fmt.Errorf("%d messages were pending when the time was over", c.js.PublishAsyncPending())
	}
	c.js.CleanupPublisher()
	c.nc.Close()
	return err
}

// CloseInHandler waits for nothing: in a handler no acknowledgement can come. Nothing is documented, so any answer will do.
func (c *client) CloseInHandler() (bool, string) {
	if err := c.Close(0); err != nil {
		return true, err.Error()
	}
	return true, "OK"
}
