package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	"ackbus"
)

func runAckbus(l load, p *pace, begin func() error, end func(int) error) error {
	if l.mode == "ticket" {
		return ackbusTickets(l, begin, end)
	}
	return ackbusPublish(l, p, begin, end)
}

func connect(l load, more ...ackbus.Option) (*ackbus.Publisher, error) {
	ids := ackbus.AutoMsgID
	if !l.msgID {
		ids = ackbus.NoMsgID
	}
	var first sync.Once
	options := []ackbus.Option{ackbus.WithServers("nats://" + l.address), ackbus.WithMaxPending(l.window), ackbus.WithMsgID(ids),
		ackbus.WithErrorHandler(func(r ackbus.Report) {
			first.Do(func() { fmt.Fprintln(os.Stderr, "publish: the first failure:", r.Err) })
		})}
	return ackbus.Connect(context.Background(), append(options, more...)...)
}

func ackbusPublish(l load, p *pace, begin func() error, end func(int) error) error {
	var more []ackbus.Option
	if l.mode == "report" {
		more = append(more, ackbus.WithReportHandler(func(r ackbus.Report) { p.acked(int(r.Tag)) }))
	}
	bus, err := connect(l, more...)
	if err != nil {
		return err
	}
	payload := make([]byte, l.size)
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	if err := begin(); err != nil {
		return err
	}
	if l.mode == "report" {
		err = ackbusTagged(ctx, bus, l, p, payload)
	} else {
		for i := range l.count {
			p.wait(i)
			if err = bus.Publish(l.subject, payload); err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	if !l.hold {
		if err := bus.Flush(ctx); err != nil {
			return err
		}
	}
	if err := end(int(bus.Stats().Published)); err != nil {
		return err
	}
	return bus.Close(ctx)
}

// ackbusTagged gives each message its number, which comes back in its report.
func ackbusTagged(ctx context.Context, bus *ackbus.Publisher, l load, p *pace, payload []byte) error {
	for i := range l.count {
		p.wait(i)
		if _, err := bus.PublishMsg(ctx, &ackbus.Message{Topic: l.subject, Payload: payload, Tag: uint64(i)}); err != nil {
			return err
		}
	}
	return nil
}

// ackbusTickets has as many tickets at a time as the window has places, and waits for every one.
func ackbusTickets(l load, begin func() error, end func(int) error) error {
	bus, err := connect(l)
	if err != nil {
		return err
	}
	payload := make([]byte, l.size)
	tickets := make([]*ackbus.Ticket, l.window)
	ctx := context.Background()
	acked := 0
	wait := func(ticket *ackbus.Ticket) error {
		if ticket == nil {
			return nil
		}
		_, err := ticket.Wait(ctx)
		if err == nil {
			acked++
		}
		return err
	}
	if err := begin(); err != nil {
		return err
	}
	for i := range l.count {
		place := &tickets[i%l.window]
		if err := wait(*place); err != nil {
			return err
		}
		if *place, err = bus.PublishAsync(l.subject, payload); err != nil {
			return err
		}
	}
	for i := range l.window {
		if err := wait(tickets[(l.count+i)%l.window]); err != nil {
			return err
		}
	}
	if err := end(acked); err != nil {
		return err
	}
	return bus.Close(ctx)
}
