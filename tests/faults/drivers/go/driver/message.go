package driver

import (
	"strconv"
	"strings"
)

// Message is what a client is to publish.
type Message struct {
	// ID comes back with the outcome. It is below 1 for a message of mode bad.
	ID      int64
	Subject string
	// Payload is the client's to keep.
	Payload []byte
	// MsgID is empty if there is none.
	MsgID string
	// Header has a name if there is one.
	Header struct{ Name, Value string }
}

func (a *Arguments) message(id int64) *Message {
	number := id
	if a.pairs {
		number -= (id + 1) % 2
	}
	return &Message{
		ID:      id,
		Subject: a.subjects[(id-1)%int64(len(a.subjects))],
		Payload: payload(id, a.sizes[(id-1)%int64(len(a.sizes))]),
		MsgID:   a.prefix + "-" + strconv.FormatInt(number, 10),
	}
}

// letters is long, so that a payload is filled in few steps.
var letters = strings.Repeat("abcdefghijklmnopqrstuvwxyz", 40)

func payload(id int64, size int) []byte {
	bytes := make([]byte, 0, max(size, 24))
	bytes = append(strconv.AppendInt(bytes, id, 10), ' ')
	for len(bytes) < size {
		rest := letters[(id+int64(len(bytes)))%26:]
		bytes = append(bytes, rest[:min(len(rest), size-len(bytes))]...)
	}
	return bytes[:size]
}

type badMessage struct {
	name string
	Message
}

// badMessages are what a client should refuse.
func badMessages(subject string) []badMessage {
	var list []badMessage
	add := func(name, subject string) *Message {
		list = append(list, badMessage{name, Message{ID: -int64(len(list)), Subject: subject, Payload: []byte("bad")}})
		return &list[len(list)-1].Message
	}
	add("empty subject", "")
	add("space", "a b")
	add("line end", "a\r\nPUB x 0\r\n\r\n")
	add("star", "a.*")
	add("gt", "a.>")
	add("empty token", "a..b")
	add("leading dot", ".a")
	add("trailing dot", "a.")
	add("nul", "a\x00b")
	m := add("header line end", subject)
	m.Header.Name, m.Header.Value = "A", "x\r\nB: y"
	m = add("header name", subject)
	m.Header.Name, m.Header.Value = "A B", "x"
	add("msg id line end", subject).MsgID = "x\r\nNats-Rollup: all"
	// Last, because a server closes the connection for it.
	add("long subject", strings.Repeat("a", 5000))
	return list
}
