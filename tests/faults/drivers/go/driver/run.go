// Package driver is what the fault drivers in Go share: all but the client. tests/faults/README.md is the protocol.
package driver

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Client is the client under test, used as its users do.
type Client interface {
	// Name says what it is, with its version.
	Name() string
	// Publish publishes and does not wait for the outcome. It may wait for room, but not in a handler.
	Publish(m *Message, inHandler bool) error
	// IsClosed tells whether an error of Publish says that the client is closed.
	IsClosed(err error) bool
	// Pending is how many messages have no outcome yet, as the client says.
	Pending() int
	// Close closes within a time.
	Close(limit time.Duration) error
	// CloseInHandler closes where that may not be allowed, and tells whether the answer is as documented.
	CloseInHandler() (ok bool, text string)
}

// Run is one run of a driver. Clients tell it what they hear.
type Run struct {
	Arguments
	// HandlersMayPanic is for clients that document what a handler's panic does.
	HandlersMayPanic bool

	client   Client
	out      output
	outcomes atomic.Int64
	halt     sync.Once
	halted   chan struct{}
	// badOutcomes are those of bad messages.
	badOutcomes chan Outcome
}

// The kinds of outcomes.
const (
	Acked   = "acked"
	Refused = "refused"
	Failed  = "failed"
	InDoubt = "in_doubt"
)

// Outcome is what a client told of a message.
type Outcome struct {
	ID        int64
	Kind      string
	Sequence  uint64
	Duplicate bool
	Text      string
	// Code is the server's; 0 if it gave none.
	Code int
}

const tick = 50 * time.Millisecond

// Main runs a driver: the whole program.
func Main(connect func(*Run) (Client, error)) {
	r := &Run{halted: make(chan struct{}), badOutcomes: make(chan Outcome, 100)}
	arguments, err := parse(os.Args[1:])
	if err != nil {
		fail(err)
	}
	r.Arguments = arguments
	commands := make(chan command)
	go read(commands)
	if r.client, err = connect(r); err != nil {
		fail(err)
	}
	r.out.add(event("ready").text("client", r.client.Name()))
	// Two goroutines, because a client may block whoever asks it something.
	go every(tick, r.out.flush)
	go every(tick, func() {
		n := r.client.Pending()
		r.out.add(event("pending").number("n", int64(n)))
	})
	go r.publishAll()
	r.obey(commands)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "driver:", err)
	os.Exit(1)
}

func every(pause time.Duration, do func()) {
	for range time.Tick(pause) {
		do()
	}
}

type command struct {
	Do    string `json:"do"`
	Value int64  `json:"value"`
}

// read ends the process when standard input ends, whatever the rest of it waits for.
func read(commands chan<- command) {
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		var c command
		if err := json.Unmarshal(input.Bytes(), &c); err != nil {
			fail(fmt.Errorf("command %q: %w", input.Text(), err))
		}
		commands <- c
	}
	os.Exit(0)
}

func (r *Run) obey(commands <-chan command) {
	var closing sync.Once
	for c := range commands {
		switch c.Do {
		case "stop":
			r.Stop()
		case "close":
			go closing.Do(func() { r.close(time.Duration(c.Value) * time.Millisecond) })
		default:
			fail(fmt.Errorf("command %q is not known; close and stop are", c.Do))
		}
	}
}

func (r *Run) close(limit time.Duration) {
	r.out.add(event("close_begin"))
	text := "OK"
	if err := r.client.Close(limit); err != nil {
		text = err.Error()
	}
	r.out.add(event("close_end").text("text", text))
	// For handlers that run although they must not.
	time.Sleep(300 * time.Millisecond)
	r.out.end(event("end").number("rss_kb", peakMemory()))
	os.Exit(0)
}

// peakMemory is in KiB. Not that of getrusage, which begins with the memory of the process that started this one.
func peakMemory() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fail(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	n, err := strconv.ParseInt(strings.Fields(rest + " ?")[0], 10, 64)
	if err != nil {
		fail(fmt.Errorf("VmHWM in /proc/self/status: %w", err))
	}
	return n
}

// Stop ends publishing for good.
func (r *Run) Stop() { r.halt.Do(func() { close(r.halted) }) }

func (r *Run) publishAll() {
	begin := time.Now()
	for id := int64(1); id <= r.count && r.awaitTurn(begin, id); id++ {
		r.publish(id, false)
		if r.mode == "bad" && id == (r.count+1)/2 {
			r.publishBad()
		}
	}
	r.out.add(event("published"))
}

// awaitTurn waits until a message is due. It returns false when publishing is over.
func (r *Run) awaitTurn(begin time.Time, id int64) bool {
	var wait time.Duration
	if r.rate > 0 {
		due := float64(id-1) / r.rate * float64(time.Second)
		wait = time.Until(begin.Add(time.Duration(due)))
	}
	if wait <= 0 {
		select {
		case <-r.halted:
			return false
		default:
			return true
		}
	}
	select {
	case <-r.halted:
		return false
	case <-time.After(wait):
		return true
	}
}

func (r *Run) publish(id int64, inHandler bool) {
	if err := r.client.Publish(r.message(id), inHandler); err != nil {
		r.out.add(event("reject").number("id", id).text("text", err.Error()))
		if r.client.IsClosed(err) {
			r.Stop()
		}
		return
	}
	r.out.add(event("accept").number("id", id))
}

func (r *Run) publishBad() {
	for _, bad := range badMessages(r.subjects[0]) {
		err := r.client.Publish(&bad.Message, false)
		text := ""
		if err != nil {
			text = err.Error()
		} else {
			text = "accepted, " + r.badOutcome(bad.ID)
		}
		r.check("bad: "+bad.name, err != nil, text)
	}
}

func (r *Run) badOutcome(id int64) string {
	limit := time.After(2 * time.Second)
	for {
		select {
		case o := <-r.badOutcomes:
			// Another is that of an earlier one, and late.
			if o.ID == id {
				return "then " + o.Kind + ": " + o.Text
			}
		case <-limit:
			return "and no outcome in 2 s"
		}
	}
}

func (r *Run) check(what string, ok bool, text string) {
	r.out.add(event("check").text("what", what).flag("ok", ok).text("text", text))
}

// Outcome tells what became of a message, and does what the mode wants done in a handler. Call it in the client's handler.
func (r *Run) Outcome(o Outcome) {
	if o.ID < 1 {
		r.badOutcomes <- o
		return
	}
	l := event("outcome").number("id", o.ID).text("kind", o.Kind)
	if o.Kind == Acked {
		l = l.number("seq", int64(o.Sequence)).flag("dup", o.Duplicate)
	} else {
		l = l.text("text", o.Text)
		if o.Code != 0 {
			l = l.number("code", int64(o.Code))
		}
	}
	r.out.add(l)
	n := r.outcomes.Add(1)
	switch {
	case r.mode == "block" && n == 1000:
		time.Sleep(10 * time.Second)
	case r.mode == "throw" && n%100 == 0 && r.HandlersMayPanic:
		panic(fmt.Sprintf("thrown by the handler at outcome %d", n))
	case r.mode == "republish" && n <= 100:
		r.publish(r.count+n, true)
	case r.mode == "close" && n == 1000:
		ok, text := r.client.CloseInHandler()
		r.check("close in the handler", ok, text)
	}
}

// State tells that the connection is "disconnected", "reconnected" or "failed".
func (r *Run) State(state string) { r.out.add(event("state").text("state", state)) }

// Error tells an error that belongs to no message.
func (r *Run) Error(text string) { r.out.add(event("error").text("text", text)) }
