package ackbus

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
)

// handlers runs the user's functions, on one goroutine that is there only while there is something to do. It is not the one that polls: a slow handler keeps nobody
// from getting room or a ticket's outcome. What waits here is bounded: a batch of reports holds its places in the window, and events drop the oldest (P9).
type handlers struct {
	onReport, onError func(Report)
	onEvent           func(Event)
	maxEvents         int
	logger            *slog.Logger

	mu            sync.Mutex
	running       bool
	waitingEvents []Event
	droppedEvents uint64
	waiting       []work
	// Only the running goroutine uses it.
	names handlerNames
}

// handlerNames keeps texts that come many times in a row.
type handlerNames struct {
	topic  lastName
	stream streamNames
}

// streamNames are those of the stream that answered last.
type streamNames struct {
	name, domain lastName
}

// work is a batch of reports, or a channel to close when everything before it is done.
type work struct {
	batch *batch
	// left are reports of tickets that were given up: they go to the handlers after all.
	left []leftReport
	done chan struct{}
	// next is the first report that was not handled yet.
	next    int
	entered bool
}

// leftReport is the place of a report in its batch, and the tag that the user gave.
type leftReport struct {
	report int
	tag    uint64
}

func (h *handlers) dropped() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.droppedEvents
}

func (h *handlers) events(events []Event) {
	if h.onEvent == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waitingEvents = append(h.waitingEvents, events...)
	if over := len(h.waitingEvents) - h.maxEvents; over > 0 {
		h.droppedEvents += uint64(over)
		h.waitingEvents = append(h.waitingEvents[:0], h.waitingEvents[over:]...)
	}
	h.start()
}

func (h *handlers) reports(w work) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting = append(h.waiting, w)
	h.start()
}

// idle returns a channel that is closed when everything that waits now is done.
func (h *handlers) idle() <-chan struct{} {
	done := make(chan struct{})
	h.reports(work{done: done})
	return done
}

// start sees to it that somebody works. The lock must be held.
func (h *handlers) start() {
	if !h.running {
		h.running = true
		go h.run()
	}
}

func (h *handlers) run() {
	finished := false
	defer func() {
		if !finished {
			// A handler ended the goroutine with runtime.Goexit, as a test's FailNow does. The others must hear of their outcomes all the same (P1).
			go h.run()
		}
	}()
	for {
		event, w, any := h.next()
		switch {
		case !any:
			finished = true
			return
		case event != nil:
			h.inCallback(nil, func() { h.call(func() { h.onEvent(*event) }) })
		case w.done != nil:
			close(w.done)
		default:
			h.handle(w)
		}
	}
}

func (h *handlers) next() (event *Event, w *work, any bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waitingEvents) > 0 {
		event = &h.waitingEvents[0]
		h.waitingEvents = h.waitingEvents[1:]
		return event, nil, true
	}
	if len(h.waiting) > 0 {
		w := h.waiting[0]
		h.waiting[0] = work{}
		h.waiting = h.waiting[1:]
		return nil, &w, true
	}
	h.running, h.waiting, h.waitingEvents = false, nil, nil
	return nil, nil, false
}

// inCallback runs a function as C runs a callback: the goroutine is locked to its thread, and C knows that thread as one inside a callback. So publishes from a
// handler, and from no other goroutine, have the places of the batch and never wait (P3, P5).
func (h *handlers) inCallback(b *batch, run func()) {
	runtime.LockOSThread()
	enterCallback(b)
	defer func() {
		leaveCallback()
		runtime.UnlockOSThread()
	}()
	run()
}

// handle tells the reports of a batch, and gives the batch back.
func (h *handlers) handle(w *work) {
	defer func() {
		if w.next < w.batch.count {
			h.mu.Lock()
			h.waiting = append([]work{*w}, h.waiting...)
			h.mu.Unlock()
			return
		}
		w.batch.free()
	}()
	places := w.batch
	if w.entered {
		places = nil
	}
	w.entered = true
	h.inCallback(places, func() {
		if h.onReport == nil && h.onError == nil {
			h.logFailures(w)
		}
		for w.next < w.batch.count {
			report := w.batch.at(w.next)
			tag, wanted := w.wants(w.next, report)
			w.next++
			if wanted {
				h.tell(report, tag)
			}
		}
	})
}

// wants tells whether report i is for the handlers, and which tag its user gave.
func (w *work) wants(i int, report *rawReport) (uint64, bool) {
	if !report.marked() {
		return uint64(report.tag), true
	}
	for _, s := range w.left {
		if s.report == i {
			return s.tag, true
		}
	}
	return 0, false
}

func (h *handlers) tell(report *rawReport, tag uint64) {
	handler := h.onReport
	if h.onError != nil && !report.done() {
		handler = h.onError
	}
	if handler == nil {
		return
	}
	r := report.report(&h.names)
	r.Tag = tag
	h.call(func() { handler(r) })
}

// call runs a handler. A panic ends here: the other reports must go on (P1).
func (h *handlers) call(handler func()) {
	defer func() {
		if reason := recover(); reason != nil {
			h.logger.Error("ackbus: a handler panicked", "panic", fmt.Sprint(reason), "stack", string(debug.Stack()))
		}
	}()
	handler()
}

// logFailures is for publishers without a handler: failures are not silent. One line for a batch, so that a stream that refuses everything does not flood the log.
func (h *handlers) logFailures(w *work) {
	failed := 0
	var first Report
	for i := w.next; i < w.batch.count; i++ {
		report := w.batch.at(i)
		if _, wanted := w.wants(i, report); wanted && !report.done() {
			if failed == 0 {
				first = report.report(&h.names)
			}
			failed++
		}
	}
	w.next = w.batch.count
	if failed > 0 {
		h.call(func() {
			h.logger.Error("ackbus: messages were not persisted, and no handler was set", "count", failed, "topic", first.Topic, "first", first.Err)
		})
	}
}
