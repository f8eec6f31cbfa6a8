package ackbus

import (
	"strconv"
	"strings"
	"time"
)

// Topic is a topic rule: how the topics that match its pattern are handled. What is left at its zero value stays as it is.
//
// In a pattern * stands for one token and a final > for one or more. When several patterns match, the most specific one counts, alone.
type Topic struct {
	// Mode is Persistent or Ephemeral. Not given: Persistent.
	Mode Mode
	// Stream is the stream that takes these topics. It is checked once, before the first message is sent.
	Stream string
	// InFlight is how many messages of this rule may be sent and not acknowledged; 1 keeps their order even when the stream refuses some. NoLimit: the window alone.
	InFlight int
	// Create says whether to create the stream when it is missing.
	Create CreateMode

	// For creation alone. NoLimit is what the server or the stream has by default.

	// Subjects is what the stream takes. Not given: the rule's pattern.
	Subjects []string
	// Storage is File or Memory.
	Storage Storage
	// Replicas is how many servers of a cluster hold the stream.
	Replicas int
	// Retention is when the stream forgets a message.
	Retention Retention
	// Discard is what the stream does at its limits.
	Discard Discard
	// MaxMsgs is how many messages the stream keeps.
	MaxMsgs int64
	// MaxBytes is how many bytes it keeps.
	MaxBytes int64
	// MaxAge is how long it keeps a message.
	MaxAge time.Duration
	// DuplicateWindow is how long it remembers message ids.
	DuplicateWindow time.Duration
}

// NoLimit takes back a limit of a [Topic].
const NoLimit = -1

// Mode is how messages travel.
type Mode string

const (
	// Persistent: stored by a stream, acknowledged, reported.
	Persistent Mode = "persistent"
	// Ephemeral: sent once and counted, never acknowledged.
	Ephemeral Mode = "ephemeral"
)

// CreateMode is whether to create a stream.
type CreateMode string

const (
	// Never creates nothing.
	Never CreateMode = "never"
	// IfMissing creates the stream when it is missing. An existing stream is never changed.
	IfMissing CreateMode = "if_missing"
)

// Storage is where a stream keeps its messages.
type Storage string

const (
	// File keeps them on disk.
	File Storage = "file"
	// Memory keeps them in memory.
	Memory Storage = "memory"
)

// Retention is when a stream forgets a message.
type Retention string

const (
	// Limits: at the stream's limits.
	Limits Retention = "limits"
	// Interest: when every consumer acknowledged it. Without consumers the stream keeps nothing.
	Interest Retention = "interest"
	// WorkQueue: when one consumer acknowledged it.
	WorkQueue Retention = "workqueue"
)

// Discard is what a stream does at its limits.
type Discard string

const (
	// DiscardOld drops old messages.
	DiscardOld Discard = "old"
	// DiscardNew refuses new ones, which settle with [ErrStreamFull].
	DiscardNew Discard = "new"
)

// settings turns the rule into keys, in an order in which a running publisher takes them: the stream before what needs it.
func (t Topic) settings(pattern string) (list []setting) {
	add := func(key, value string, given bool) {
		if given {
			list = append(list, setting{true, pattern, key, value})
		}
	}
	number := func(key string, value int64) { add(key, strconv.FormatInt(value, 10), value != 0) }
	duration := func(key string, value time.Duration) {
		if value < 0 {
			value = -time.Millisecond
		}
		number(key, milliseconds(value))
	}
	add("mode", string(t.Mode), t.Mode != "")
	add("stream", t.Stream, t.Stream != "")
	number("in_flight", int64(t.InFlight))
	add("subjects", strings.Join(t.Subjects, ","), len(t.Subjects) > 0)
	add("storage", string(t.Storage), t.Storage != "")
	number("replicas", int64(t.Replicas))
	add("retention", string(t.Retention), t.Retention != "")
	add("discard", string(t.Discard), t.Discard != "")
	number("max_msgs", t.MaxMsgs)
	number("max_bytes", t.MaxBytes)
	duration("max_age_ms", t.MaxAge)
	duration("duplicate_window_ms", t.DuplicateWindow)
	add("create", string(t.Create), t.Create != "")
	if len(list) == 0 {
		// A rule that says nothing is a rule all the same: it takes its topics out of less specific ones.
		add("mode", string(Persistent), true)
	}
	return list
}

// WithTopicOption sets one key of a topic rule, as all languages share it. It is for keys that are newer than this package.
func WithTopicOption(pattern, key, value string) Option {
	return func(c *config) { c.settings = append(c.settings, setting{true, pattern, key, value}) }
}

// WithTopic sets a topic rule. Its keys are those of docs/CONFIGURATION.md, Topic rules.
func WithTopic(pattern string, topic Topic) Option {
	return func(c *config) { c.settings = append(c.settings, topic.settings(pattern)...) }
}
