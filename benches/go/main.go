// Publish: ackbus through its Go package, and nats.go, for the benchmark. See ../run.sh.
//
//	publish CLIENT HOST:PORT SUBJECT N SIZE WINDOW [--no-msg-id]
//
// CLIENT is ackbus-go (Publish, an error handler), ackbus-go-async (PublishAsync, every ticket waited for), or nats-go (jetstream.PublishAsync). It prints the same
// line as the other clients of the benchmark.
package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settle is how long the last acks may take.
const settle = time.Minute

// load is what a client is put to.
type load struct {
	address, subject    string
	count, size, window int
	msgID               bool
}

// client publishes a load and tells how many messages were acked. It calls begin before the first message, and end after the last ack.
type client func(l load, begin, end func()) (acked int, err error)

var clients = map[string]client{
	"ackbus-go":       ackbusPublish,
	"ackbus-go-async": ackbusTickets,
	"nats-go":         natsGo,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "publish:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	msgID := !slices.Contains(arguments, "--no-msg-id")
	arguments = slices.DeleteFunc(arguments, func(word string) bool { return strings.HasPrefix(word, "--") })
	if len(arguments) != 6 || clients[arguments[0]] == nil {
		return fmt.Errorf("usage: publish CLIENT HOST:PORT SUBJECT N SIZE WINDOW [--no-msg-id]")
	}
	l := load{address: arguments[1], subject: arguments[2], msgID: msgID}
	for i, number := range []*int{&l.count, &l.size, &l.window} {
		var err error
		if *number, err = strconv.Atoi(arguments[3+i]); err != nil {
			return err
		}
	}

	var began, ended time.Time
	var cpu time.Duration
	acked, err := clients[arguments[0]](l,
		func() { began, cpu = time.Now(), cpuTime() },
		func() { ended, cpu = time.Now(), cpuTime()-cpu })
	if err != nil {
		return err
	}
	id := "no"
	if msgID {
		id = "yes"
	}
	fmt.Printf("client=%s msg_id=%s n=%d size=%d window=%d acked=%d failed=%d msgs_per_s=%.0f cpu_us_per_msg=%.3f\n", arguments[0], id, l.count, l.size, l.window,
		acked, l.count-acked, float64(acked)/ended.Sub(began).Seconds(), float64(cpu)/float64(time.Microsecond)/float64(l.count))
	if acked != l.count {
		return fmt.Errorf("%d of %d messages were not acked", l.count-acked, l.count)
	}
	return nil
}

// cpuTime is the user and system time of this process, threads of the client library included.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
