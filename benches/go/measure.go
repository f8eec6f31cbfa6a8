package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// tick is how often anybody wakes at a rate, at most.
const tick = 50 * time.Microsecond

// watch measures from its start to its stop; the process counts whole, threads of the client library included.
type watch struct {
	wall    time.Time
	usage   syscall.Rusage
	rss     string
	mallocs uint64
}

func startWatch() (*watch, error) {
	rss, err := status("VmRSS:")
	if err != nil {
		return nil, err
	}
	w := &watch{rss: rss, mallocs: mallocs()}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &w.usage); err != nil {
		return nil, err
	}
	w.wall = time.Now()
	return w, nil
}

// stop prints the line.
func (w *watch) stop(l load, acked int) error {
	wall := time.Since(w.wall).Seconds()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	rss, err := status("VmHWM:")
	if err != nil {
		return err
	}
	cpu := float64(usage.Utime.Nano()+usage.Stime.Nano()-w.usage.Utime.Nano()-w.usage.Stime.Nano()) / 1e3
	failed := l.count - acked
	if l.hold {
		failed = 0
	}
	fmt.Printf("n=%d acked=%d failed=%d msgs_per_s=%.1f cpu_us_per_msg=%.4f rss_start_kb=%s rss_kb=%s voluntary=%d involuntary=%d allocations_per_msg=%.4f\n", l.count, acked,
		failed, float64(acked)/wall, cpu/float64(l.count), w.rss, rss, usage.Nvcsw-w.usage.Nvcsw, usage.Nivcsw-w.usage.Nivcsw,
		float64(mallocs()-w.mallocs)/float64(l.count))
	return nil
}

// mallocs is how many objects Go's heap was asked for so far. C's allocations are not in it.
func mallocs() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}

// status is a line of /proc/self/status, in KiB. Not ru_maxrss: a process inherits that from the one that started it.
func status(name string) (string, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	_, rest, found := strings.Cut(string(text), name)
	words := strings.Fields(rest)
	if !found || len(words) == 0 {
		return "", fmt.Errorf("no %s in /proc/self/status", name)
	}
	return words[0], nil
}

// pace is an open loop: message i is due at start + i/rate, and its latency counts from then. Without a rate all is due at once.
type pace struct {
	rate             uint64
	start, now, wake uint64
	latencies        []uint64
}

func newPace(l load) *pace {
	p := &pace{rate: uint64(l.rate)}
	if l.rate > 0 {
		p.latencies = make([]uint64, l.count)
		for i := range p.latencies {
			p.latencies[i] = ^uint64(0) // its pages are there before the first message
		}
	}
	return p
}

// begin is to be called on the goroutine that publishes, right before the first message. The goroutine keeps its thread: the timer's precision is a thread's.
func (p *pace) begin() {
	if p.rate == 0 {
		return
	}
	runtime.LockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, 1000, 0)
	p.start = monotonic()
	p.now, p.wake = p.start, p.start
}

func (p *pace) due(i int) uint64 {
	n := uint64(i)
	return p.start + n/p.rate*1e9 + n%p.rate*1e9/p.rate
}

// wait sleeps until message i is due, and no shorter than a tick; it returns at once when the message is late. Not time.Sleep: Go's own timers are no more
// precise than a millisecond, and it is not Go that is measured.
func (p *pace) wait(i int) {
	if p.rate == 0 {
		return
	}
	due := p.due(i)
	if due <= p.now {
		return
	}
	if p.now = monotonic(); due <= p.now {
		return
	}
	due = max(due, p.wake+uint64(tick))
	until := syscall.NsecToTimespec(int64(due))
	for {
		const clockMonotonic, absolute = 1, 1
		_, _, errno := syscall.Syscall6(syscall.SYS_CLOCK_NANOSLEEP, clockMonotonic, absolute, uintptr(unsafe.Pointer(&until)), 0, 0, 0)
		if errno == 0 {
			break
		}
	}
	p.wake, p.now = due, monotonic()
}

// acked is told of message i's ack; from one goroutine.
func (p *pace) acked(i int) {
	if p.rate > 0 {
		p.latencies[i] = monotonic() - p.due(i)
	}
}

// write writes nanoseconds, 8 bytes each, in the machine's order.
func (p *pace) write(path string) error {
	if p.rate == 0 {
		return nil
	}
	bytes := make([]byte, 0, 8*len(p.latencies))
	for _, latency := range p.latencies {
		bytes = binary.NativeEndian.AppendUint64(bytes, latency)
	}
	return os.WriteFile(path, bytes, 0o644)
}

// monotonic is the clock that the sleep goes by; time.Since has another zero.
func monotonic() uint64 {
	return uint64(time.Since(zero)) + zeroMonotonic
}

var zero, zeroMonotonic = time.Now(), readMonotonic()

func readMonotonic() uint64 {
	var now syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&now)), 0)
	return uint64(now.Nano())
}

func number(name, text string, least int) (int, error) {
	value, err := strconv.Atoi(text)
	if err != nil || value < least {
		return 0, fmt.Errorf("%s is %q; allowed: a decimal number of at least %d", name, text, least)
	}
	return value, nil
}
