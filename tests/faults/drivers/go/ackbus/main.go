// The fault driver for ackbus' Go package.
package main

import (
	"context"
	"errors"
	"time"

	"ackbus"
	"ackbus-fault-drivers/driver"
)

type client struct{ bus *ackbus.Publisher }

func main() {
	driver.Main(connect)
}

func connect(run *driver.Run) (driver.Client, error) {
	run.HandlersMayPanic = true
	told := func(r ackbus.Report) { run.Outcome(outcome(r)) }
	options := []ackbus.Option{
		ackbus.WithServers(run.URL),
		ackbus.WithReportHandler(told),
		ackbus.WithErrorHandler(told),
		ackbus.WithEventHandler(func(e ackbus.Event) { tell(run, e) }),
	}
	if run.MaxPending > 0 {
		options = append(options, ackbus.WithMaxPending(run.MaxPending))
	}
	for _, o := range run.Options {
		options = append(options, ackbus.WithOption(o.Key, o.Value))
	}
	for _, r := range run.Rules {
		options = append(options, ackbus.WithTopicOption(r.Pattern, r.Key, r.Value))
	}
	bus, err := ackbus.Connect(context.Background(), options...)
	return client{bus}, err
}

func outcome(r ackbus.Report) driver.Outcome {
	o := driver.Outcome{ID: int64(r.Tag), Kind: driver.InDoubt, Sequence: r.Sequence, Duplicate: r.Duplicate}
	switch r.Persistence() {
	case ackbus.Persisted:
		o.Kind = driver.Acked
	case ackbus.NotPersisted:
		o.Kind = driver.Refused
	}
	var err *ackbus.Error
	if errors.As(r.Err, &err) {
		o.Text, o.Code = err.Error(), int(err.ServerCode)
	}
	return o
}

func tell(run *driver.Run, e ackbus.Event) {
	switch e.Kind {
	case ackbus.EventDisconnected:
		run.State("disconnected")
	case ackbus.EventReconnected:
		run.State("reconnected")
	case ackbus.EventFailed:
		run.State("failed")
	}
	if e.Status != ackbus.OK {
		run.Error(e.Kind.String() + ": " + e.Status.String() + ": " + e.Text)
	}
}

func (c client) Name() string { return "ackbus (Go) " + ackbus.LibraryVersion() }

func (c client) Publish(m *driver.Message, _ bool) error {
	message := ackbus.Message{Topic: m.Subject, Payload: m.Payload, MsgID: m.MsgID, Tag: uint64(m.ID)}
	if m.Header.Name != "" {
		message.Headers = []ackbus.Header{{Name: m.Header.Name, Value: m.Header.Value}}
	}
	_, err := c.bus.PublishMsg(context.Background(), &message)
	return err
}

func (c client) IsClosed(err error) bool { return errors.Is(err, ackbus.ErrClosed) }

func (c client) Pending() int { return int(c.bus.Pending()) }

func (c client) Close(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		// A handler that is busy keeps what is left from being told: "call Close again".
		if err := c.bus.Close(ctx); !errors.Is(err, ackbus.ErrCallbackBusy) {
			return err
		}
	}
}

func (c client) CloseInHandler() (bool, string) {
	err := c.bus.Close(context.Background())
	if err == nil {
		return false, "OK"
	}
	return errors.Is(err, ackbus.ErrWrongThread), err.Error()
}
