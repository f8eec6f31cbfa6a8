package ackbus

import (
	"container/list"
	"sync"
)

// line is who waits for room: one queue for the window and one for each share of a held stream that is used up. Within a queue the first to come is the first to go.
// No queue holds up another: who waits behind a held stream costs nobody else a place that is free.
//
// When the library tells of room, the goroutine that polls tries for those who wait, in the order of their coming. So nobody is woken for nothing, however many wait.
type line struct {
	mu sync.Mutex
	// queues by what they wait for: 0 is the window, else the number of a share.
	queues map[uint64]*list.List
	// comings counts who came, and who goes to the end again.
	comings uint64
}

// waiter is a publish that waits.
type waiter struct {
	// try publishes, and never waits. It says whether it got on: a batch may be accepted in part.
	try func() (bool, error)
	// number is its place in the order of coming.
	number uint64
	queue  uint64
	place  *list.Element
	// done has the end of a try that was not refused for want of room.
	done chan error
}

// enter lets one wait that was refused. If nobody waits for the same, it tries once more first, because room that came since the first try has been told of, and will
// not be again: without room it waits, else there is no waiter, and the error is that of the try.
func (l *line) enter(refusal error, try func() (bool, error)) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := refusal
	if l.queues[heldBy(err)] == nil {
		if _, err = try(); !isFull(err) {
			return nil, err
		}
	}
	l.comings++
	w := &waiter{try: try, number: l.comings, done: make(chan error, 1)}
	l.push(w, heldBy(err))
	return w, err
}

// leave takes out one that gives up. False: it has been let in, or has failed, just now.
func (l *line) leave(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.place == nil {
		return false
	}
	first := w.place.Prev() == nil
	l.remove(w)
	if first {
		// What it waited for may be there for the next, who needs fewer bytes.
		l.admitLocked()
	}
	return true
}

// admit lets in who may go now.
func (l *line) admit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admitLocked()
}

func (l *line) admitLocked() {
	// The queues whose first was refused: those behind it wait for the same.
	var refused map[uint64]bool
	for {
		w := l.first(refused)
		if w == nil {
			return
		}
		gotOn, err := w.try()
		if !isFull(err) {
			l.remove(w)
			w.done <- err
			continue
		}
		if gotOn {
			// A batch took what there was. Others go before its rest.
			l.comings++
			w.number = l.comings
		}
		by := heldBy(err)
		if gotOn || by != w.queue {
			l.remove(w)
			l.push(w, by)
		}
		if by == 0 {
			return
		}
		if refused == nil {
			refused = make(map[uint64]bool)
		}
		refused[by] = true
	}
}

// first is the earliest of those who may try.
func (l *line) first(refused map[uint64]bool) (first *waiter) {
	for queue, waiters := range l.queues {
		if refused[queue] {
			continue
		}
		if w := waiters.Front().Value.(*waiter); first == nil || w.number < first.number {
			first = w
		}
	}
	return first
}

// push puts a waiter into a queue, at its place in the order of coming: near one of the ends.
func (l *line) push(w *waiter, queue uint64) {
	waiters := l.queues[queue]
	if waiters == nil {
		if l.queues == nil {
			l.queues = make(map[uint64]*list.List)
		}
		waiters = list.New()
		l.queues[queue] = waiters
	}
	w.queue = queue
	if front := waiters.Front(); front != nil && w.number < front.Value.(*waiter).number {
		w.place = waiters.PushFront(w)
		return
	}
	before := waiters.Back()
	for before != nil && before.Value.(*waiter).number > w.number {
		before = before.Prev()
	}
	if before == nil {
		w.place = waiters.PushFront(w)
	} else {
		w.place = waiters.InsertAfter(w, before)
	}
}

func (l *line) remove(w *waiter) {
	waiters := l.queues[w.queue]
	waiters.Remove(w.place)
	w.place = nil
	if waiters.Len() == 0 {
		delete(l.queues, w.queue)
	}
}

// heldBy is what a refused publish waits for.
func heldBy(err error) uint64 {
	return err.(*Error).heldBy
}
