package ackbus

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// long is far longer than anything here takes: what is not done by then hangs.
const long = time.Minute

// few is how often a test tries in the ways of running that take long.
func few(count int) int {
	switch {
	case garbageIsCollectedAlways:
		return max(count/50, 1)
	case raceEnabled:
		return max(count/5, 1)
	}
	return count
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), long)
	t.Cleanup(cancel)
	return ctx
}

// connect makes a publisher for a test, and closes it at the end.
func connect(t testing.TB, options ...Option) *Publisher {
	t.Helper()
	// What no handler takes is logged, which is not what most tests are about.
	quiet := WithLogger(slog.New(slog.DiscardHandler))
	bus, err := Connect(testContext(t), append([]Option{quiet}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, bus) })
	return bus
}

// inMemory is a publisher on the backend that needs no server and acknowledges at once.
func inMemory(t testing.TB, options ...Option) *Publisher {
	t.Helper()
	return connect(t, append([]Option{WithServers("memory:")}, options...)...)
}

// silent is a publisher whose server never says a word: its messages stay pending until they are purged or the publisher is closed.
func silent(t testing.TB, options ...Option) *Publisher {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return connect(t, append([]Option{WithServers("nats://" + listener.Addr().String()), WithRetryOnConnect(true)}, options...)...)
}

// closeNow closes a publisher without waiting for acknowledgements.
func closeNow(t testing.TB, bus *Publisher) {
	t.Helper()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := bus.Close(over); err != nil && !isStatus(err, ErrTimedOut) {
		t.Errorf("close: %v", err)
	}
}

func isStatus(err error, status Status) bool {
	e, ok := err.(*Error)
	return ok && e.Status == status
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants checks an error's status.
func wants(t testing.TB, err error, status Status) {
	t.Helper()
	if !isStatus(err, status) {
		t.Fatalf("the error is %v, should be %v", err, status)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: is %v, should be %v", what, got, want)
	}
}

// wait waits for a channel.
func wait[T any](t testing.TB, what string, channel <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-channel:
	case <-time.After(long):
		t.Fatalf("%s: not there after %v", what, long)
	}
	return value
}

// until waits for a condition.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(long); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not so after %v", what, long)
		}
	}
}

// refused is a message that every stream refuses.
func refused(topic string, tag uint64) *Message {
	return &Message{Topic: topic, Payload: []byte("payload"), ExpectedLastSeq: Seq(1<<63 - 1), Tag: tag}
}

// collector keeps reports and events.
type collector struct {
	mu      sync.Mutex
	reports []Report
	events  []Event
}

func (c *collector) report(r Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reports = append(c.reports, r)
}

func (c *collector) event(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
}

func (c *collector) all() []Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Report{}, c.reports...)
}

func (c *collector) told(kind EventKind) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if e.Kind == kind {
			return true
		}
	}
	return false
}

// The control program of the tests of all languages: servers, proxies and a look into streams by lines of JSON. See tests/support/README.md.
var control struct {
	mu    sync.Mutex
	began bool
	err   error
	in    io.WriteCloser
	out   *bufio.Reader
	end   func()
}

type fields = map[string]any

// ask sends a request to the control program, which must be able to answer it.
func ask(t testing.TB, request fields) fields {
	t.Helper()
	answer, err := tryAsk(t, request)
	if err != nil {
		t.Fatalf("%v: %v", request, err)
	}
	return answer
}

func tryAsk(t testing.TB, request fields) (fields, error) {
	t.Helper()
	control.mu.Lock()
	defer control.mu.Unlock()
	if !control.began {
		control.began = true
		control.err = startControl()
	}
	if os.IsNotExist(control.err) {
		t.Skipf("skipped: there is no server to test with: %v (make test-go builds it)", control.err)
	}
	if control.err != nil {
		return nil, control.err
	}
	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if _, err := control.in.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	reply, err := control.out.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var answer fields
	if err := json.Unmarshal(reply, &answer); err != nil {
		return nil, err
	}
	if answer["ok"] != true {
		return answer, fmt.Errorf("the control program says: %v", answer["error"])
	}
	return answer, nil
}

func startControl() error {
	program := os.Getenv("ACKBUS_TEST_SERVER")
	if program == "" {
		program = filepath.Join("..", "..", "target", "debug", "ackbus-test-server")
	}
	if _, err := os.Stat(program); err != nil {
		return err
	}
	command := exec.Command(program, "control")
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		return err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	control.in, control.out = in, bufio.NewReaderSize(out, 1<<20)
	control.end = func() {
		in.Close()
		command.Wait()
	}
	return nil
}

func TestMain(m *testing.M) {
	if scene := os.Getenv(sceneVariable); scene != "" {
		os.Exit(play(scene))
	}
	code := m.Run()
	if control.end != nil {
		control.end()
	}
	os.Exit(code)
}

// server starts a nats-server, which ends with the test.
func server(t testing.TB, options fields) (url string, number float64) {
	t.Helper()
	request := fields{"do": "start"}
	for key, value := range options {
		request[key] = value
	}
	answer := ask(t, request)
	number = answer["server"].(float64)
	t.Cleanup(func() { tryAsk(t, fields{"do": "kill", "server": number}) })
	return answer["url"].(string), number
}
