package driver

import (
	"encoding/json"
	"os"
	"strconv"
	"sync"
	"time"
)

// output gathers lines and writes them together: at 50,000 messages a second there is no time for two writes per message.
type output struct {
	mu             sync.Mutex
	waiting, spare []byte
	// writing keeps the order of two writers. It is not held while lines are added.
	writing sync.Mutex
	sealed  bool
}

func (o *output) add(l line) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.sealed {
		o.waiting = append(append(o.waiting, l...), "}\n"...)
	}
}

func (o *output) flush() {
	o.writing.Lock()
	defer o.writing.Unlock()
	o.mu.Lock()
	lines := o.waiting
	o.waiting, o.spare = o.spare[:0], nil
	o.mu.Unlock()
	if _, err := os.Stdout.Write(lines); err != nil {
		// Nobody reads any more.
		os.Exit(1)
	}
	o.spare = lines
}

// end makes a line the last one.
func (o *output) end(l line) {
	o.add(l)
	o.mu.Lock()
	o.sealed = true
	o.mu.Unlock()
	o.flush()
}

// line is a JSON object without its closing brace, made by hand because that costs a tenth.
type line []byte

// event begins a line; its time is now.
func event(name string) line {
	l := make(line, 0, 128)
	l = append(append(l, `{"e":"`...), name...)
	return append(l, '"').number("t", time.Now().UnixMicro())
}

func (l line) name(name string) line {
	return append(append(append(l, `,"`...), name...), `":`...)
}

func (l line) number(name string, n int64) line {
	return strconv.AppendInt(l.name(name), n, 10)
}

func (l line) flag(name string, is bool) line {
	return strconv.AppendBool(l.name(name), is)
}

func (l line) text(name, text string) line {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string can always be quoted
	}
	return append(l.name(name), quoted...)
}
