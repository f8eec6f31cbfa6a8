package ackbus

import (
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"
)

const header = "ackbus.h"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

// bare makes names of C and of Go comparable: LATENCY_P50 and LatencyP50 are one.
func bare(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// numbers are the defines of the header with this prefix.
func numbers(t *testing.T, prefix string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, define := range regexp.MustCompile(`(?m)^#define `+prefix+`(\w+) (\d+)$`).FindAllStringSubmatch(read(t, header), -1) {
		found[bare(define[1])] = define[2]
	}
	return found
}

// constants are the constants of a type in a source file.
func constants(t *testing.T, path, pattern string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, constant := range regexp.MustCompile(`(?m)^\s+`+pattern+` = (\d+)$`).FindAllStringSubmatch(read(t, path), -1) {
		found[bare(constant[1])] = constant[2]
	}
	return found
}

func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if len(want) == 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: the package has %v, the header has %v", what, got, want)
	}
}

// T25: go mod vendor takes files from the folders of packages alone, so the header is copied into this one.
func TestHeaderIsTheProjects(t *testing.T) {
	if read(t, header) != read(t, "../../include/ackbus.h") {
		t.Error("ackbus.h differs from include/ackbus.h: run make header")
	}
}

func TestConstantsAreTheHeaders(t *testing.T) {
	same(t, "statuses", constants(t, "errors.go", `Err(\w+) +Status`), numbers(t, "ACKBUS_ERR_"))
	same(t, "event kinds", constants(t, "report.go", `Event(\w+) +EventKind`), numbers(t, "ACKBUS_EVENT_"))
	same(t, "states", constants(t, "report.go", `(\w+) +State`), numbers(t, "ACKBUS_STATE_"))
	persistence := map[string]string{"notpersisted": "0", "possiblypersisted": "1", "persisted": "2"}
	same(t, "persistence", constants(t, "errors.go", `(\w+) +Persistence`), persistence)
	for name, number := range persistence {
		found := regexp.MustCompile(`(?m)^#define ACKBUS_(\w+) `+number+`$`).FindAllStringSubmatch(read(t, header), -1)
		if !slices.ContainsFunc(found, func(define []string) bool { return bare(define[1]) == name }) {
			t.Errorf("the header does not say that %s is %s", name, number)
		}
	}
}

func TestNamesAreTheLibrarys(t *testing.T) {
	equal(t, "status", ErrQueueFull.String(), "QUEUE_FULL")
	equal(t, "event", EventReconnected.String(), "RECONNECTED")
	equal(t, "state", fmt.Sprint(Reconnecting, Failed, State(77)), "reconnecting failed state 77")
	equal(t, "persistence", fmt.Sprint(NotPersisted, PossiblyPersisted, Persisted, Persistence(9)), "not persisted possibly persisted persisted persistence 9")
	equal(t, "version", LibraryVersion(), headerVersion())
}

// Every figure is there, and comes from the field of its own name.
func TestStatsHaveEveryFigure(t *testing.T) {
	text := read(t, header)
	text = text[:strings.Index(text, "} ackbus_stats;")]
	text = text[strings.LastIndex(text, "typedef struct {"):]
	want := map[string]string{}
	for _, field := range regexp.MustCompile(`(?m)^    uint64_t (\w+);$`).FindAllStringSubmatch(text, -1) {
		want[bare(strings.TrimSuffix(field[1], "_ns"))] = field[1]
	}
	got := map[string]string{}
	for _, line := range regexp.MustCompile(`(?m)^\t\t(\w+): +(?:uint64|time\.Duration)\(s\.(\w+)\),$`).FindAllStringSubmatch(read(t, "native.go"), -1) {
		got[bare(line[1])] = line[2]
	}
	same(t, "figures", got, want)
	equal(t, "fields", reflect.TypeFor[Stats]().NumField(), len(want))
}

// testSeed is a valid seed of nobody's.
var testSeed = func() string {
	raw := append([]byte{18<<3 | 20<<3>>5, 20 << 3 & 31 << 3}, make([]byte, 32)...)
	crc := uint16(0) // CRC-16 XMODEM
	for _, b := range raw {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= 0x1021
			}
		}
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(binary.LittleEndian.AppendUint16(raw, crc))
}()

// testCredentials is shaped like the real ones; nobody checks it here.
var testCredentials = "-----BEGIN NATS USER JWT-----\njwt\n------END NATS USER JWT------\n-----BEGIN USER NKEY SEED-----\n" + testSeed + "\n------END USER NKEY SEED------\n"

// every is each option of the package, once, with a value that is allowed.
var every = map[string]Option{
	"WithServers":               WithServers("memory:"),
	"WithName":                  WithName("name"),
	"WithInboxPrefix":           WithInboxPrefix("_MINE"),
	"WithJetStreamDomain":       WithJetStreamDomain("domain"),
	"WithToken":                 WithToken("token"),
	"WithUser":                  WithUser("user", "password"),
	"WithCredentials":           WithCredentials(testCredentials),
	"WithCredentialsFile":       WithCredentialsFile("/no/such/file"),
	"WithNkeySeed":              WithNkeySeed(testSeed),
	"WithNkeySeedFile":          WithNkeySeedFile("/no/such/file"),
	"WithTLS":                   WithTLS(true),
	"WithTLSCAFile":             WithTLSCAFile("/no/such/file"),
	"WithTLSClientFiles":        WithTLSClientFiles("/no/such/file", "/no/such/file"),
	"WithTLSServerName":         WithTLSServerName("localhost"),
	"WithTLSFirst":              WithTLSFirst(true),
	"WithMaxPending":            WithMaxPending(7),
	"WithMaxPendingBytes":       WithMaxPendingBytes(70000),
	"WithOnFull":                WithOnFull(FailWhenFull),
	"WithStallWait":             WithStallWait(time.Second),
	"WithGateShare":             WithGateShare(50),
	"WithAckWait":               WithAckWait(time.Second),
	"WithDeliveryTimeout":       WithDeliveryTimeout(time.Minute),
	"WithMaxAttempts":           WithMaxAttempts(3),
	"WithRetryBackoff":          WithRetryBackoff(time.Second, 2*time.Second),
	"WithMsgID":                 WithMsgID(CallerMsgID),
	"WithResendWithoutMsgID":    WithResendWithoutMsgID(true),
	"WithRetryStreamFull":       WithRetryStreamFull(true),
	"WithOnNoStream":            WithOnNoStream(Wait),
	"WithAssumeDuplicateWindow": WithAssumeDuplicateWindow(time.Minute),
	"WithConnectTimeout":        WithConnectTimeout(time.Second),
	"WithRetryOnConnect":        WithRetryOnConnect(true),
	"WithReconnectWait":         WithReconnectWait(time.Second),
	"WithMaxReconnects":         WithMaxReconnects(-1),
	"WithPingInterval":          WithPingInterval(time.Second),
	"WithDiscoverServers":       WithDiscoverServers(false),
	"WithOnDisconnect":          WithOnDisconnect(Fail),
	"WithConnections":           WithConnections(5),
	"WithReport":                WithReport(ReportNone),
	"WithEventQueue":            WithEventQueue(5),
	"WithPendingWarn":           WithPendingWarn(5),
	"WithMonitorInterval":       WithMonitorInterval(time.Minute),
	"WithCloseTimeout":          WithCloseTimeout(time.Second),
	"WithLogLevel":              WithLogLevel(LogDebug),
}

// These set no key of the library's table, or any.
var others = []string{"WithOption", "WithErrorHandler", "WithReportHandler", "WithEventHandler", "WithLogger"}

func TestOptionsCoverEveryKey(t *testing.T) {
	var declared []string
	for _, function := range regexp.MustCompile(`(?m)^func (With\w+)`).FindAllStringSubmatch(read(t, "options.go"), -1) {
		declared = append(declared, function[1])
	}
	names := slices.Clone(others)
	// What is set in any case.
	always := map[string]bool{}
	for _, s := range (&config{onFull: Block, stallWait: -1}).native() {
		always[s.key] = true
	}
	covered := map[string]bool{}
	for name, option := range every {
		names = append(names, name)
		c := config{onFull: Block, stallWait: -1}
		option(&c)
		before := len(c.settings)
		for i, s := range c.native() {
			covered[s.key] = covered[s.key] || i < before || always[s.key]
		}
		// The library takes what the option makes of its value.
		c = config{onFull: Block, stallWait: -1}
		WithServers("memory:")(&c)
		option(&c)
		bus, err := connectNative(c.native())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		must(t, bus.close(0))
		bus.free()
	}
	sort.Strings(names)
	sort.Strings(declared)
	if !slices.Equal(names, declared) {
		t.Errorf("this test knows the options %v, the package has %v", names, declared)
	}
	for _, key := range optionKeys() {
		if !covered[key] {
			t.Errorf("no option sets %s", key)
		}
	}
	if len(covered) != len(optionKeys()) {
		t.Errorf("%d keys are set, the library has %d", len(covered), len(optionKeys()))
	}
}

// A comment names the key that its option sets.
func TestOptionCommentsNameTheirKeys(t *testing.T) {
	text := read(t, "options.go")
	for name, option := range every {
		c := config{}
		option(&c)
		comment := regexp.MustCompile(`(?m)((?:^//.*\n)+)func ` + name + `\(`).FindStringSubmatch(text)
		if comment == nil {
			t.Errorf("%s has no comment", name)
			continue
		}
		for _, s := range c.settings {
			if !strings.Contains(comment[1], s.key) {
				t.Errorf("the comment of %s does not name %s", name, s.key)
			}
		}
	}
}

func TestTopicsCoverEveryKey(t *testing.T) {
	full := Topic{Mode: Persistent, Stream: "S", InFlight: 1, Create: IfMissing, Subjects: []string{"a.>", "b"}, Storage: Memory, Replicas: 1, Retention: WorkQueue,
		Discard: DiscardNew, MaxMsgs: 5, MaxBytes: 5000, MaxAge: time.Hour, DuplicateWindow: time.Minute}
	value := reflect.ValueOf(full)
	for i := range value.NumField() {
		if value.Field(i).IsZero() {
			t.Errorf("this test does not set %s", value.Type().Field(i).Name)
		}
	}
	var got []string
	for _, s := range full.settings("a.>") {
		equal(t, "pattern", s.pattern, "a.>")
		got = append(got, s.key)
	}
	want := topicKeys()
	sort.Strings(got)
	sort.Strings(want)
	if !slices.Equal(got, want) {
		t.Errorf("a topic rule sets %v, the library knows %v", got, want)
	}
	bus := inMemory(t, WithTopic("a.>", full))
	must(t, bus.SetTopic("a.>", Topic{InFlight: NoLimit, MaxAge: NoLimit, MaxMsgs: NoLimit}))
	wants(t, bus.SetTopic("a.>", Topic{Mode: "sometimes"}), ErrInvalidOption)
	wants(t, bus.SetTopicOption("", "mode", "ephemeral"), ErrInvalidTopic)
	wants(t, bus.SetTopicOption("a.>", "mode\x00", "ephemeral"), ErrInvalidOption)
	must(t, bus.SetTopicOption("b.>", "mode", "ephemeral"))
}

func TestWhatIsWrongWithAnOptionIsTold(t *testing.T) {
	for _, test := range []struct {
		option Option
		words  string
	}{
		{WithMaxPending(0), "max_pending"},
		{WithOnFull("perhaps"), "perhaps"},
		{WithReport("some"), "some"},
		{WithStallWait(48 * time.Hour), "stall_wait_ms"},
		{WithOption("stall_wait_ms", "soon"), "soon"},
		{WithOption("no_such_option", "1"), "no_such_option"},
		{WithName("a\x00b"), "NUL"},
		{WithTopic("a..b", Topic{}), "a..b"},
		{WithTopicOption("a.>", "color", "red"), "color"},
		{WithTopic("a.>", Topic{Create: IfMissing}), "stream"},
	} {
		_, err := Connect(testContext(t), WithServers("memory:"), test.option)
		if err == nil || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%q is not in the error: %v", test.words, err)
		}
	}
}
