package ackbus

import (
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Option is a setting for [Connect]. A value that is not allowed is refused by Connect, with [ErrInvalidOption] and what is allowed. What each one means, and its
// default, is in docs/CONFIGURATION.md under the key that its comment names.
type Option func(*config)

// config is what Connect works with.
type config struct {
	settings []setting

	onFull    FullPolicy
	stallWait time.Duration
	report    ReportMode

	onReport func(Report)
	onError  func(Report)
	onEvent  func(Event)
	logger   *slog.Logger
}

func (c *config) set(key, value string) {
	c.settings = append(c.settings, setting{key: key, value: value})
}

func text[T ~string](key string, value T) Option {
	return func(c *config) { c.set(key, string(value)) }
}

func number[T ~int | ~int64](key string, value T) Option {
	return text(key, strconv.FormatInt(int64(value), 10))
}

func duration(key string, value time.Duration) Option {
	if value < 0 {
		return number(key, -1)
	}
	return number(key, milliseconds(value))
}

func choice(key string, value bool) Option {
	return text(key, strconv.FormatBool(value))
}

// Servers.

// WithServers says where to connect: nats://host:port, tls://host:port or a bare host; "memory:" alone is the bus without a server, for tests. Key servers.
func WithServers(urls ...string) Option { return text("servers", strings.Join(urls, ",")) }

// WithName is this client's name in the server's monitoring. Key name.
func WithName(name string) Option { return text("name", name) }

// WithInboxPrefix is the subject under which acknowledgements arrive. Key inbox_prefix.
func WithInboxPrefix(prefix string) Option { return text("inbox_prefix", prefix) }

// WithJetStreamDomain is the domain that stream checks and creations are sent to. Key jetstream_domain.
func WithJetStreamDomain(domain string) Option { return text("jetstream_domain", domain) }

// Authentication.

// WithToken authenticates with a token. Key token.
func WithToken(token string) Option { return text("token", token) }

// WithUser authenticates with a name and a password. Keys user and password.
func WithUser(user, password string) Option {
	return func(c *config) {
		c.set("user", user)
		c.set("password", password)
	}
}

// WithCredentials authenticates with the text of a credentials file. Key credentials.
func WithCredentials(credentials string) Option { return text("credentials", credentials) }

// WithCredentialsFile authenticates with a credentials file, which is read again at each connect. Key credentials_file.
func WithCredentialsFile(path string) Option { return text("credentials_file", path) }

// WithNkeySeed authenticates with the seed of a user's nkey. Key nkey_seed.
func WithNkeySeed(seed string) Option { return text("nkey_seed", seed) }

// WithNkeySeedFile authenticates with a seed in a file, which is read again at each connect. Key nkey_seed_file.
func WithNkeySeedFile(path string) Option { return text("nkey_seed_file", path) }

// TLS.

// WithTLS connects with TLS or not at all. Key tls_required.
func WithTLS(required bool) Option { return choice("tls_required", required) }

// WithTLSCAFile is a PEM file with the authorities to trust, in place of the system's. Key tls_ca_file.
func WithTLSCAFile(path string) Option { return text("tls_ca_file", path) }

// WithTLSClientFiles is the client's certificate and its key, in PEM files. Keys tls_cert_file and tls_key_file.
func WithTLSClientFiles(certificate, key string) Option {
	return func(c *config) {
		c.set("tls_cert_file", certificate)
		c.set("tls_key_file", key)
	}
}

// WithTLSServerName is the name that the server's certificate must have. Key tls_server_name.
func WithTLSServerName(name string) Option { return text("tls_server_name", name) }

// WithTLSFirst begins with the TLS handshake, before the server's first line. Key tls_first.
func WithTLSFirst(first bool) Option { return choice("tls_first", first) }

// The window of pending messages.

// WithMaxPending is how many accepted messages may wait for their outcome. Key max_pending.
func WithMaxPending(messages int) Option { return number("max_pending", messages) }

// WithMaxPendingBytes is how many bytes they may hold together. Key max_pending_bytes.
func WithMaxPendingBytes(bytes int64) Option { return number("max_pending_bytes", bytes) }

// FullPolicy is what a publish does when the window is full.
type FullPolicy string

const (
	// Block waits for room.
	Block FullPolicy = "block"
	// FailWhenFull returns [ErrQueueFull].
	FailWhenFull FullPolicy = "fail"
)

// WithOnFull says what a publish does when the window is full. A publish from a handler never waits. Key on_full, which this package acts on itself: it waits in
// Go, so that a context can end it.
func WithOnFull(policy FullPolicy) Option { return func(c *config) { c.onFull = policy } }

// WithStallWait is how long a publish waits for room before it returns [ErrQueueFull]; negative: no limit. Key stall_wait_ms, which this package acts on itself.
func WithStallWait(limit time.Duration) Option { return func(c *config) { c.stallWait = limit } }

// WithGateShare is the part of the window, in percent, that messages behind one stream that refuses them may use. Key gate_share.
func WithGateShare(percent int) Option { return number("gate_share", percent) }

// Delivery.

// WithAckWait is how long one sending waits for its acknowledgement before the message is sent again. Key ack_wait_ms.
func WithAckWait(wait time.Duration) Option { return duration("ack_wait_ms", wait) }

// WithDeliveryTimeout is how long a message may stay pending, all retries included. Key delivery_timeout_ms.
func WithDeliveryTimeout(timeout time.Duration) Option {
	return duration("delivery_timeout_ms", timeout)
}

// WithMaxAttempts is how often a message is sent at most; 0: as often as the delivery timeout allows. Key max_attempts.
func WithMaxAttempts(attempts int) Option { return number("max_attempts", attempts) }

// WithRetryBackoff is the first and the longest pause between retries. Keys retry_backoff_ms and retry_backoff_max_ms.
func WithRetryBackoff(first, longest time.Duration) Option {
	return func(c *config) {
		duration("retry_backoff_ms", first)(c)
		duration("retry_backoff_max_ms", longest)(c)
	}
}

// MsgIDMode is where a message's id comes from, by which the stream knows a second copy.
type MsgIDMode string

const (
	// AutoMsgID makes an id where the caller gives none.
	AutoMsgID MsgIDMode = "auto"
	// CallerMsgID sends the caller's alone.
	CallerMsgID MsgIDMode = "caller"
	// NoMsgID sends none at all.
	NoMsgID MsgIDMode = "none"
)

// WithMsgID says where ids come from. Key msg_id.
func WithMsgID(mode MsgIDMode) Option { return text("msg_id", mode) }

// WithResendWithoutMsgID sends messages without an id again although they may have been stored. Key resend_without_msg_id.
func WithResendWithoutMsgID(resend bool) Option { return choice("resend_without_msg_id", resend) }

// WithRetryStreamFull retries until the deadline when a stream refuses because it is full. Key retry_stream_full.
func WithRetryStreamFull(retry bool) Option { return choice("retry_stream_full", retry) }

// WaitPolicy is whether to wait for something that is missing, or to fail.
type WaitPolicy string

const (
	// Wait waits.
	Wait WaitPolicy = "wait"
	// Fail fails at once.
	Fail WaitPolicy = "fail"
)

// WithOnNoStream says what becomes of messages that no stream takes. Key on_no_stream.
func WithOnNoStream(policy WaitPolicy) Option { return text("on_no_stream", policy) }

// WithAssumeDuplicateWindow is the duplicate window to assume where the stream's cannot be read. Key assume_duplicate_window_ms.
func WithAssumeDuplicateWindow(window time.Duration) Option {
	return duration("assume_duplicate_window_ms", window)
}

// Connection.

// WithConnectTimeout is how long one try to connect to one server may take. Key connect_timeout_ms.
func WithConnectTimeout(timeout time.Duration) Option { return duration("connect_timeout_ms", timeout) }

// WithRetryOnConnect lets Connect succeed while no server can be reached, and goes on trying in the background. Key retry_on_connect.
func WithRetryOnConnect(retry bool) Option { return choice("retry_on_connect", retry) }

// WithReconnectWait is the first pause between tries to reconnect. Key reconnect_wait_ms.
func WithReconnectWait(wait time.Duration) Option { return duration("reconnect_wait_ms", wait) }

// WithMaxReconnects is how many tries in a row to reconnect may fail before the publisher fails for good; -1: no limit. Key max_reconnects.
func WithMaxReconnects(tries int) Option { return number("max_reconnects", tries) }

// WithPingInterval is how long the connection may be silent before the server is asked for a sign of life. Key ping_interval_ms.
func WithPingInterval(interval time.Duration) Option { return duration("ping_interval_ms", interval) }

// WithDiscoverServers also reconnects to servers that the cluster has told about. Key discover_servers.
func WithDiscoverServers(discover bool) Option { return choice("discover_servers", discover) }

// WithOnDisconnect says what a publish does while there is no connection. Key on_disconnect.
func WithOnDisconnect(policy WaitPolicy) Option { return text("on_disconnect", policy) }

// WithConnections is how many connections carry the messages; each topic always goes by the same one. Key connections.
func WithConnections(count int) Option { return number("connections", count) }

// Reports and observation.

// ReportMode is which outcomes are reported to the handlers. Counters count all, and tickets get theirs in any case.
type ReportMode string

const (
	// ReportFailures reports what failed.
	ReportFailures ReportMode = "failures"
	// ReportAll reports every outcome.
	ReportAll ReportMode = "all"
	// ReportNone reports nothing.
	ReportNone ReportMode = "none"
)

// WithReport says which outcomes are reported. Not given: all with [WithReportHandler], else failures. Key report.
func WithReport(mode ReportMode) Option { return func(c *config) { c.report = mode } }

// WithEventQueue is how many events may wait for the event handler; when it is full the oldest is dropped and counted. Key event_queue.
func WithEventQueue(events int) Option {
	return number("event_queue", events)
}

// WithPendingWarn is from how many pending messages on the bus warns; 0: half of the window. Key pending_warn.
func WithPendingWarn(messages int) Option { return number("pending_warn", messages) }

// WithMonitorInterval is how often the number of pending messages is logged; 0: never. Key monitor_interval_ms.
func WithMonitorInterval(interval time.Duration) Option {
	return duration("monitor_interval_ms", interval)
}

// WithCloseTimeout is how long Close waits for acknowledgements when its context has no deadline. Key close_timeout_ms.
func WithCloseTimeout(timeout time.Duration) Option { return duration("close_timeout_ms", timeout) }

// LogLevel is how detailed the library's log is.
type LogLevel string

// The levels of the library's log. [SetLogger] says where it goes.
const (
	LogOff   LogLevel = "off"
	LogError LogLevel = "error"
	LogWarn  LogLevel = "warn"
	LogInfo  LogLevel = "info"
	LogDebug LogLevel = "debug"
	LogTrace LogLevel = "trace"
)

// WithLogLevel is the most detailed level that this publisher logs. Key log_level.
func WithLogLevel(level LogLevel) Option { return text("log_level", level) }

// WithOption sets an option by the key that all languages share. It is for options that are newer than this package.
func WithOption(key, value string) Option {
	return func(c *config) {
		switch key {
		case "on_full":
			c.onFull = FullPolicy(value)
		case "report":
			c.report = ReportMode(value)
		case "stall_wait_ms":
			ms, err := strconv.ParseInt(value, 10, 64)
			if err != nil || ms > maxStallWait.Milliseconds() {
				c.set(key, value) // the library says what is wrong with it
				return
			}
			c.stallWait = time.Duration(ms) * time.Millisecond
		default:
			c.set(key, value)
		}
	}
}

const maxStallWait = 24 * time.Hour

// Handlers. They run on one goroutine per publisher, one call at a time, with no lock held. From inside, publishes work and never wait, and as many of them as the
// handler was given reports at a time are admitted whatever other goroutines wait for: a failed message can always be dead-lettered, even when the window is full.
// Calls that wait return [ErrWrongThread]. A handler that panics is recovered and logged; the next report goes on.

// WithErrorHandler receives the reports of messages that are not known to be persisted.
func WithErrorHandler(handler func(Report)) Option { return func(c *config) { c.onError = handler } }

// WithReportHandler receives the other reports; without [WithErrorHandler] it receives all.
func WithReportHandler(handler func(Report)) Option { return func(c *config) { c.onReport = handler } }

// WithEventHandler receives what happens to the connection and to streams.
func WithEventHandler(handler func(Event)) Option { return func(c *config) { c.onEvent = handler } }

// WithLogger is where this package itself logs: failures that no handler takes, handlers that panic, publishers that were never closed. Not given:
// [slog.Default]. For the log of the library underneath see [SetLogger].
func WithLogger(logger *slog.Logger) Option { return func(c *config) { c.logger = logger } }
