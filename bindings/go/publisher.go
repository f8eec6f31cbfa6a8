package ackbus

import (
	"context"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Publisher is a connection to the bus: it accepts messages, sends them, and tells the outcome of each. Its methods may be called from any goroutine at the same
// time. Close it when it is no longer needed; one that is forgotten is closed by the garbage collector some time after, with a warning in the log.
type Publisher struct {
	core *core
}

// core is what a publisher's goroutines hold. It must not lead back to the Publisher: that it becomes unreachable is how a forgotten one is found.
type core struct {
	bus       native
	logger    *slog.Logger
	onFull    FullPolicy
	stallWait time.Duration
	line      line
	news      broadcast
	tickets   tickets
	packers   sync.Pool
	desk      desk
	flushes   flushes
	handlers  handlers
	abandoned atomic.Uint64

	closeOnce sync.Once
	closing   chan struct{}
	ended     chan struct{}
}

// Connect makes a publisher and connects it. It returns when a server has accepted the credentials, or at once with [WithRetryOnConnect].
//
// Its errors are those of the options ([ErrInvalidOption]) and of the connection: [ErrConnectFailed], [ErrAuthFailed], [ErrTLSFailed] and [ErrDenied], whose texts name
// the server and the cause. When the context ends it returns at once, and a connection that is made all the same is closed.
func Connect(ctx context.Context, options ...Option) (*Publisher, error) {
	if err := wrongThread("Connect"); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ended(ctx, NotPersisted, "not connected")
	}
	config := config{onFull: Block, stallWait: -1}
	for _, option := range options {
		option(&config)
	}
	settings := config.native()

	type connection struct {
		bus native
		err error
	}
	made := make(chan connection, 1)
	go func() {
		bus, err := connectNative(settings)
		made <- connection{bus, err}
	}()
	select {
	case c := <-made:
		if c.err != nil {
			return nil, c.err
		}
		return start(c.bus, &config)
	case <-ctx.Done():
		go func() {
			if c := <-made; c.err == nil {
				_ = c.bus.close(0)
				c.bus.free()
			}
		}()
		return nil, ended(ctx, NotPersisted, "not connected")
	}
}

// native is what the library is told: everything but what this package does itself. Its values are checked there all the same.
func (c *config) native() []setting {
	if c.report == "" {
		c.report = ReportFailures
		if c.onReport != nil {
			c.report = ReportAll
		}
	}
	duration("stall_wait_ms", c.stallWait)(c)
	c.set("report", string(c.report))
	c.set("on_full", string(c.onFull))
	// None of this package's calls waits for room inside C: a context could not end that, and it would hold an OS thread (T31).
	c.set("on_full", string(FailWhenFull))
	return c.settings
}

// eventQueue is the limit that the library has for events, for those that wait on this side.
func (c *config) eventQueue() int {
	limit := 1024
	for _, s := range c.settings {
		if s.key == "event_queue" {
			limit, _ = strconv.Atoi(s.value)
		}
	}
	return max(limit, 1)
}

func start(bus native, config *config) (*Publisher, error) {
	c := &core{
		bus:       bus,
		logger:    config.logger,
		onFull:    config.onFull,
		stallWait: config.stallWait,
		closing:   make(chan struct{}),
		ended:     make(chan struct{}),
	}
	if c.logger == nil {
		c.logger = slog.Default()
	}
	c.packers.New = func() any { return new(packer) }
	c.handlers = handlers{onReport: config.onReport, onError: config.onError, onEvent: config.onEvent, maxEvents: config.eventQueue(), logger: c.logger}
	if err := c.startPolling(); err != nil {
		_ = bus.close(0)
		bus.free()
		return nil, &Error{Status: ErrInternal, Text: "no event descriptor: " + err.Error(), cause: err}
	}
	p := &Publisher{c}
	runtime.AddCleanup(p, (*core).forsaken, c)
	return p, nil
}

// native is the one way to the handle. With the build tag ackbus_debug every look at it collects garbage, so that a handle that is freed too early is found (T29).
func (p *Publisher) native() native {
	collectGarbage()
	return p.core.bus
}

// Pending is how many messages are accepted and not yet settled.
func (p *Publisher) Pending() uint64 {
	defer runtime.KeepAlive(p)
	return p.native().pending()
}

// PendingBytes is what pending messages and undelivered reports hold, as [WithMaxPendingBytes] counts it.
func (p *Publisher) PendingBytes() uint64 {
	defer runtime.KeepAlive(p)
	return p.native().pendingBytes()
}

// Stats reads the figures. They stay readable after Close.
func (p *Publisher) Stats() Stats {
	defer runtime.KeepAlive(p)
	stats := p.native().stats()
	stats.EventsDropped += p.core.handlers.dropped()
	return stats
}

// Info tells how the publisher stands. It stays readable after Close.
func (p *Publisher) Info() Info {
	defer runtime.KeepAlive(p)
	return p.native().info()
}

// SetTopic changes a topic rule while the publisher runs. It holds for messages that are published after the call; a rule keeps its stream once it has one.
func (p *Publisher) SetTopic(pattern string, topic Topic) error {
	defer runtime.KeepAlive(p)
	for _, s := range topic.settings(pattern) {
		if err := p.native().setTopic(s); err != nil {
			return err
		}
	}
	return nil
}

// SetTopicOption is SetTopic for one key, as all languages share it. It is for keys that are newer than this package.
func (p *Publisher) SetTopicOption(pattern, key, value string) error {
	defer runtime.KeepAlive(p)
	return p.native().setTopic(setting{true, pattern, key, value})
}

// PurgeWhat says which pending messages [Publisher.Purge] gives up.
type PurgeWhat uint32

const (
	// Unsent are those that wait to be sent.
	Unsent = PurgeWhat(purgeUnsent)
	// InFlight are those that were sent and are not acknowledged. They may be persisted all the same.
	InFlight = PurgeWhat(purgeInFlight)
)

// Purge gives up pending messages: they are settled now, with [ErrPurged], and reported like any other. It returns how many.
func (p *Publisher) Purge(what PurgeWhat) (uint64, error) {
	defer runtime.KeepAlive(p)
	// This waits inside C, but for the library's own thread alone, which never waits for anybody.
	return p.native().purge(uint32(what))
}

// WaitConnected waits until there is a connection: for use with [WithRetryOnConnect], or after a connection was lost.
func (p *Publisher) WaitConnected(ctx context.Context) error {
	if err := wrongThread("WaitConnected"); err != nil {
		return err
	}
	for {
		news := p.core.news.wait()
		switch info := p.Info(); info.State {
		case Connected:
			return nil
		case Failed:
			return &Error{Status: ErrFailed, Fatal: true, Text: "the publisher has failed", cause: info.LastError}
		case Closing, Closed:
			return errClosed()
		}
		select {
		case <-news:
		case <-p.core.closing:
			return errClosed()
		case <-ctx.Done():
			return ended(ctx, NotPersisted, "no connection yet")
		}
	}
}

func errClosed() error { return &Error{Status: ErrClosed, Text: "the publisher is closed"} }
