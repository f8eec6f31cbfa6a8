package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	"ackbus"
)

func connect(l load) (*ackbus.Publisher, error) {
	ids := ackbus.AutoMsgID
	if !l.msgID {
		ids = ackbus.NoMsgID
	}
	var first sync.Once
	return ackbus.Connect(context.Background(), ackbus.WithServers("nats://"+l.address), ackbus.WithMaxPending(l.window), ackbus.WithMsgID(ids),
		ackbus.WithErrorHandler(func(r ackbus.Report) {
			first.Do(func() { fmt.Fprintln(os.Stderr, "publish: the first failure:", r.Err) })
		}))
}

func ackbusPublish(l load, begin, end func()) (int, error) {
	bus, err := connect(l)
	if err != nil {
		return 0, err
	}
	payload := make([]byte, l.size)
	begin()
	for range l.count {
		if err := bus.Publish(l.subject, payload); err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	if err := bus.Flush(ctx); err != nil {
		return 0, err
	}
	end()
	return int(bus.Stats().Published), bus.Close(ctx)
}

// ackbusTickets has as many tickets at a time as the window has places, and waits for every one.
func ackbusTickets(l load, begin, end func()) (acked int, err error) {
	bus, err := connect(l)
	if err != nil {
		return 0, err
	}
	payload := make([]byte, l.size)
	tickets := make([]*ackbus.Ticket, l.window)
	ctx := context.Background()
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
	begin()
	for i := range l.count {
		place := &tickets[i%l.window]
		if err := wait(*place); err != nil {
			return acked, err
		}
		if *place, err = bus.PublishAsync(l.subject, payload); err != nil {
			return acked, err
		}
	}
	for i := range l.window {
		if err := wait(tickets[(l.count+i)%l.window]); err != nil {
			return acked, err
		}
	}
	end()
	return acked, bus.Close(ctx)
}
