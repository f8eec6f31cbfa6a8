// Publish: ackbus through its Go package, and nats.go, for the benchmark. See ../README.md.
//
//	publish CLIENT HOST:PORT SUBJECT N SIZE WINDOW [--mode MODE] [--rate R] [--latencies FILE] [--no-msg-id] [--hold]
//
// CLIENT is ackbus-go, whose MODE is publish (an error handler), report (a handler for every report), or ticket (PublishAsync, a window of tickets, every one waited
// for); or nats-go, whose MODE is publish (jetstream.PublishAsync with an error handler; at a rate with an ack handler, too).
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// settle is how long the last acks may take.
const settle = 2 * time.Minute

const options = "[--mode MODE] [--rate R] [--latencies FILE] [--no-msg-id] [--hold]"

// load is what a client is put to.
type load struct {
	address, subject, mode, latencies string
	count, size, window, rate         int
	msgID, hold                       bool
}

// client publishes a load and tells how many messages were acked. It calls begin before the first message, and end with what was acked after the last ack.
type client struct {
	modes []string
	run   func(l load, p *pace, begin func() error, end func(acked int) error) error
}

var clients = map[string]client{
	"ackbus-go": {[]string{"publish", "report", "ticket"}, runAckbus},
	"nats-go":   {[]string{"publish"}, runNats},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "publish:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	c, l, err := parse(arguments)
	if err != nil {
		return err
	}
	var w *watch
	p := newPace(l)
	begin := func() (err error) {
		w, err = startWatch()
		p.begin()
		return err
	}
	end := func(acked int) error {
		if err := w.stop(l, acked); err != nil {
			return err
		}
		if l.hold {
			os.Exit(0) // nobody acks: a close would wait for that
		}
		if acked != l.count {
			return fmt.Errorf("%d of %d messages were not acked", l.count-acked, l.count)
		}
		return nil
	}
	if err := c.run(l, p, begin, end); err != nil {
		return err
	}
	return p.write(l.latencies)
}

func parse(arguments []string) (c client, l load, err error) {
	var words []string
	l.msgID = true
	for i := 0; i < len(arguments); i++ {
		value := func() string {
			i++
			return strings.Join(arguments[min(i, len(arguments)):min(i+1, len(arguments))], "")
		}
		switch word := arguments[i]; {
		case word == "--mode":
			l.mode = value()
		case word == "--rate":
			l.rate, err = number("R", value(), 1)
		case word == "--latencies":
			l.latencies = value()
		case word == "--no-msg-id":
			l.msgID = false
		case word == "--hold":
			l.hold = true
		case strings.HasPrefix(word, "--"):
			return c, l, fmt.Errorf("unknown option %s; allowed: %s", word, options)
		default:
			words = append(words, word)
		}
		if err != nil {
			return c, l, err
		}
	}
	if len(words) != 6 || clients[words[0]].run == nil {
		return c, l, fmt.Errorf("usage: publish CLIENT HOST:PORT SUBJECT N SIZE WINDOW %s", options)
	}
	c, l.address, l.subject = clients[words[0]], words[1], words[2]
	for i, each := range []struct {
		name  string
		value *int
		least int
	}{{"N", &l.count, 1}, {"SIZE", &l.size, 0}, {"WINDOW", &l.window, 1}} {
		if *each.value, err = number(each.name, words[3+i], each.least); err != nil {
			return c, l, err
		}
	}
	if l.mode == "" {
		l.mode = c.modes[0]
	}
	if !slices.Contains(c.modes, l.mode) {
		return c, l, fmt.Errorf("MODE is %q; allowed: %s", l.mode, strings.Join(c.modes, ", "))
	}
	if (l.rate > 0) != (l.latencies != "") {
		return c, l, fmt.Errorf("--rate and --latencies are given both or neither")
	}
	return c, l, nil
}
