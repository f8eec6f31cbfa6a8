package ackbus

import (
	"os"
	"sync"
	"syscall"
)

// broadcast wakes everybody who waits for something to change.
type broadcast struct {
	mu      sync.Mutex
	waiting chan struct{}
}

// wait returns a channel that the next wake closes. Ask for it before looking whether there is need to wait.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting = make(chan struct{})
	}
	return b.waiting
}

func (b *broadcast) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting != nil {
		close(b.waiting)
		b.waiting = nil
	}
}

// desk is where reports and events come from C. One goroutine waits for the library's descriptor in the network poller, so that no OS thread is blocked (T31), and
// takes what there is in batches: there are no calls from C into Go for messages (T30).
type desk struct {
	mu sync.Mutex
	// file is the descriptor, for the poller.
	file *os.File
	// stream is the last stream that acked.
	stream  streamNames
	tickets []settling
}

// settling is a ticket and the place of its report in the batch.
type settling struct {
	ticket *Ticket
	report int
}

// pollBatch is the most reports to take at once. A batch holds its places in the window until it is done with, so it is not too large.
const pollBatch = 256

func (c *core) startPolling() error {
	// A descriptor of its own: that of the library must not be closed here.
	fd, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(c.bus.wakeFD()), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return errno
	}
	c.desk.file = os.NewFile(fd, "ackbus")
	raw, err := c.desk.file.SyscallConn()
	if err != nil {
		_ = c.desk.file.Close()
		return err
	}
	go func() {
		// Ends when the file is closed.
		_ = raw.Read(func(fd uintptr) bool {
			for {
				c.drain()
				// The poller tells of edges. The descriptor is a level, so if it is down after all was taken, an edge will come.
				if !readable(int(fd)) {
					return false
				}
			}
		})
	}()
	return nil
}

// drain takes everything there is. It returns false when no more will come.
func (c *core) drain() bool {
	c.desk.mu.Lock()
	defer c.desk.mu.Unlock()
	for {
		batch, room, ended := c.bus.poll(pollBatch)
		if room {
			c.line.admit()
		}
		if batch != nil {
			c.take(batch)
			continue
		}
		for events := c.bus.pollEvents(); len(events) > 0; events = c.bus.pollEvents() {
			c.handlers.events(events)
			c.news.wake()
		}
		return !ended
	}
}

// take settles the tickets of a batch and leaves the rest to the handlers, which also give the batch back.
func (c *core) take(b *batch) {
	work := work{batch: b}
	c.desk.tickets = c.desk.tickets[:0]
	c.tickets.mu.Lock()
	for i := range b.count {
		report := b.at(i)
		if report.marked() {
			c.desk.tickets = append(c.desk.tickets, settling{c.tickets.take(uint64(report.tag)), i})
		}
	}
	c.tickets.mu.Unlock()
	others := b.count - len(c.desk.tickets)
	for i, s := range c.desk.tickets {
		report := b.at(s.report)
		if !s.ticket.settle(report.ack(&c.desk.stream), report.err()) {
			work.left = append(work.left, leftReport{s.report, s.ticket.tag})
			others++
		}
		c.desk.tickets[i].ticket = nil
	}
	for i := range b.count {
		if b.at(i).closed() {
			c.abandoned.Add(1)
		}
	}
	if others == 0 {
		b.free()
		return
	}
	c.handlers.reports(work)
}
