package ackbus

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Scenes are played by this test program in a process of its own: what happens to a process cannot be tested in the one that tests.
const sceneVariable = "ACKBUS_TEST_SCENE"

var scenes = map[string]func(arguments []string) error{
	"publish until killed":   publishUntilKilled,
	"handle a signal":        handleASignal,
	"write to a broken pipe": writeToABrokenPipe,
	"outlive the server":     outliveTheServer,
	"end without closing":    endWithoutClosing,
	"start a child":          startAChild,
	"show descriptors":       showDescriptors,
}

func play(scene string) int {
	if err := scenes[scene](os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// child is a process that plays a scene. Its standard output can be read line by line.
type child struct {
	*exec.Cmd
	lines  *bufio.Reader
	errors bytes.Buffer
}

func begin(t *testing.T, scene string, arguments ...string) *child {
	t.Helper()
	program, err := os.Executable()
	must(t, err)
	c := &child{Cmd: exec.Command(program, arguments...)}
	c.Env = append(os.Environ(), sceneVariable+"="+scene)
	c.Stderr = &c.errors
	out, err := c.StdoutPipe()
	must(t, err)
	c.lines = bufio.NewReader(out)
	must(t, c.Start())
	timer := time.AfterFunc(long, func() { c.Process.Kill() })
	t.Cleanup(func() {
		timer.Stop()
		c.Process.Kill()
		c.Wait()
	})
	return c
}

// says reads a line that must be this one.
func (c *child) says(t *testing.T, want string) {
	t.Helper()
	line, err := c.lines.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != want {
		t.Fatalf("it says %q (%v), should say %q; and on stderr: %s", line, err, want, c.errors.String())
	}
}

func (c *child) ends(t *testing.T) syscall.WaitStatus {
	t.Helper()
	io.Copy(io.Discard, c.lines)
	err := c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.Sys().(syscall.WaitStatus)
}

func (c *child) succeeds(t *testing.T) {
	t.Helper()
	if status := c.ends(t); status.ExitStatus() != 0 {
		t.Fatalf("it ends with %v: %s", c.ProcessState, c.errors.String())
	}
}

func busy(url string) (*Publisher, error) {
	bus, err := Connect(context.Background(), WithServers(url), WithRetryOnConnect(true), WithOnDisconnect(Wait), WithErrorHandler(func(Report) {}))
	if err != nil {
		return nil, err
	}
	if err := bus.Publish("a.b", nil); err != nil {
		return nil, err
	}
	go func() {
		for bus.Publish("a.b", make([]byte, 1000)) == nil {
		}
	}()
	return bus, nil
}

func publishUntilKilled([]string) error {
	if _, err := busy("memory:"); err != nil {
		return err
	}
	fmt.Println("ready")
	time.Sleep(long)
	return nil
}

// P7: Ctrl-C ends a Go program that does not ask for it, as ever.
func TestSignalsEndAProgramAsEver(t *testing.T) {
	for _, sent := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		c := begin(t, "publish until killed")
		c.says(t, "ready")
		must(t, c.Process.Signal(sent))
		status := c.ends(t)
		if !status.Signaled() || status.Signal() != sent {
			t.Errorf("%v: it ends with %v", sent, c.ProcessState)
		}
	}
}

func handleASignal([]string) error {
	bus, err := busy("memory:")
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	fmt.Println("ready")
	fmt.Println(<-signals)
	if err := bus.Close(context.Background()); err != nil {
		return err
	}
	stats := bus.Stats()
	fmt.Println(stats.Accepted == stats.Published && stats.Accepted > 0)
	return nil
}

// One that asks for it gets it, and closes in order.
func TestSignalsReachWhoAsksForThem(t *testing.T) {
	for range 5 {
		c := begin(t, "handle a signal")
		c.says(t, "ready")
		must(t, c.Process.Signal(syscall.SIGINT))
		c.says(t, "interrupt")
		c.says(t, "true")
		c.succeeds(t)
	}
}

func writeToABrokenPipe([]string) error {
	if _, err := busy("memory:"); err != nil {
		return err
	}
	// A broken connection is an error, a broken standard output the end: so it is in every Go program.
	a, b, err := os.Pipe()
	if err != nil {
		return err
	}
	a.Close()
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("a broken pipe is %v", err)
	}
	fmt.Fprintln(os.Stderr, "still there")
	for {
		fmt.Println("x")
	}
}

func TestSIGPIPEIsAsEver(t *testing.T) {
	program, err := os.Executable()
	must(t, err)
	reader, writer, err := os.Pipe()
	must(t, err)
	must(t, reader.Close())
	var errs bytes.Buffer
	command := exec.Command(program)
	command.Env = append(os.Environ(), sceneVariable+"=write to a broken pipe")
	command.Stdout, command.Stderr = writer, &errs
	must(t, command.Start())
	timer := time.AfterFunc(long, func() { command.Process.Kill() })
	defer timer.Stop()
	command.Wait()
	writer.Close()
	status := command.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGPIPE || errs.String() != "still there\n" {
		t.Errorf("it ends with %v: %s", command.ProcessState, errs.String())
	}
}

func outliveTheServer(arguments []string) error {
	lost := make(chan struct{}, 100)
	bus, err := Connect(context.Background(), WithServers(arguments[0]), WithRetryOnConnect(true), WithReconnectWait(time.Millisecond),
		WithErrorHandler(func(Report) {}), WithEventHandler(func(e Event) {
			if e.Kind == EventDisconnected {
				lost <- struct{}{}
			}
		}))
	if err != nil {
		return err
	}
	go func() {
		for bus.Publish("a.b", make([]byte, 10_000)) == nil {
		}
	}()
	for range 10 {
		<-lost
	}
	fmt.Println("alive")
	over, cancel := context.WithCancel(context.Background())
	cancel()
	bus.Close(over)
	return nil
}

// T26: a server that dies in the middle of a write kills nobody, though SIGPIPE on a thread that is not Go's ends a Go program.
func TestAServerThatHangsUpKillsNobody(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			hangUpInMidWrite(connection.(*net.TCPConn))
		}
	}()
	c := begin(t, "outlive the server", "nats://"+listener.Addr().String())
	c.says(t, "alive")
	c.succeeds(t)
}

// hangUpInMidWrite ends its own sending and closes with input unread: FIN, then RST. The client's next write finds a broken pipe.
func hangUpInMidWrite(connection *net.TCPConn) {
	defer connection.Close()
	fmt.Fprint(connection, `INFO {"server_id":"S","server_name":"S","version":"2.12.0","proto":1,"headers":true,"max_payload":1048576,"jetstream":true}`+"\r\n")
	buffer := make([]byte, 1<<16)
	for received := 0; received < 1<<20; {
		count, err := connection.Read(buffer)
		if err != nil {
			return
		}
		received += count
		// Payloads here are zeros, and a command is never cut in two by reads this large.
		connection.Write(bytes.Repeat([]byte("PONG\r\n"), bytes.Count(buffer[:count], []byte("PING\r\n"))))
	}
	connection.CloseWrite()
}

func endWithoutClosing([]string) error {
	if _, err := busy("memory:"); err != nil {
		return err
	}
	time.Sleep(10 * time.Millisecond)
	return nil
}

// T10: a program may end without closing, in the middle of everything.
func TestAProgramMayEndWithoutClosing(t *testing.T) {
	for range 10 {
		begin(t, "end without closing").succeeds(t)
	}
}

func startAChild([]string) error {
	bus, err := busy("memory:")
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	for range 5 {
		command := exec.Command(program)
		command.Env = append(os.Environ(), sceneVariable+"=show descriptors")
		if out, err := command.CombinedOutput(); err != nil || string(out) != "" {
			return fmt.Errorf("the child says %q: %w", out, err)
		}
	}
	return bus.Close(context.Background())
}

// showDescriptors prints what a child has inherited that it should not have.
func showDescriptors([]string) error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, fd := range open {
		what, err := os.Readlink("/proc/self/fd/" + fd.Name())
		// Event descriptors of the library's would be [eventfd]; Go's own poller has one too, and an epoll, but only when it is used.
		if err == nil && (strings.Contains(what, "eventfd") || strings.Contains(what, "socket")) {
			fmt.Println(fd.Name(), what)
		}
	}
	return nil
}

// P8: children of a Go program exec; they start while messages flow, and inherit nothing of the bus.
func TestAProgramMayStartChildren(t *testing.T) {
	begin(t, "start a child").succeeds(t)
}
