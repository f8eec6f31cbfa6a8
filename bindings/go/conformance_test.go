package ackbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The scenarios that a bus plays in every language: tests/conformance/README.md says what each word means. ACKBUS_SCENARIOS names another file.
const scenariosFile = "../../tests/conformance/scenarios.json"

type scenario struct {
	Name      string
	Why       string
	Since     [2]int // not looked at: the server is the pinned one
	Setup     []fields
	Publisher struct {
		Options map[string]string
		Topics  map[string]map[string]string
		Fails   *failure
	}
	Steps  []step
	Expect expectation
}

type failure struct {
	Status  string
	Text    string
	NotText string `json:"not_text"`
}

type message struct {
	Topic, Payload         string
	PayloadSize            int `json:"payload_size"`
	Tag                    uint64
	Headers                [][2]string
	MsgID                  string  `json:"msg_id"`
	ExpectedStream         string  `json:"expected_stream"`
	ExpectedLastMsgID      string  `json:"expected_last_msg_id"`
	ExpectedLastSeq        *uint64 `json:"expected_last_seq"`
	ExpectedLastSubjectSeq *uint64 `json:"expected_last_subject_seq"`
	TraceParent            string  `json:"traceparent"`
	TraceState             string  `json:"tracestate"`
	TTLMs                  int64   `json:"ttl_ms"`
	StallWaitMs            *int64  `json:"stall_wait_ms"`
	DeliveryTimeoutMs      int64   `json:"delivery_timeout_ms"`
	ReportAlways           bool    `json:"report_always"`
}

type step struct {
	Do string
	message
	Repeat              int
	Fails               *failure
	Messages            []message
	Accepted            int
	Outcome             fields
	TimeoutMs           int64 `json:"timeout_ms"`
	Unsent              bool
	InFlight            bool `json:"in_flight"`
	Count               uint64
	Pattern, Key, Value string
	Kind                string
	AtLeast             map[string]uint64 `json:"at_least"`
	Request             fields
}

type expectation struct {
	Reports      []fields
	Stats        map[string]uint64
	StatsAtLeast map[string]uint64 `json:"stats_at_least"`
	StatsAtMost  map[string]uint64 `json:"stats_at_most"`
	Events       []string
	NoEvents     []string `json:"no_events"`
	Streams      map[string][]stored
	Received     map[string][]stored
}

// stored is a message of a stream or of a subscription: what is expected, and what there is.
type stored struct {
	Subject, Payload string
	Repeat           int
	Headers          map[string][]string
	// MsgID is an id, or whether there is one.
	MsgID any `json:"msg_id"`
}

func TestConformance(t *testing.T) {
	path := os.Getenv("ACKBUS_SCENARIOS")
	if path == "" {
		path = scenariosFile
	}
	text, err := os.Open(path)
	must(t, err)
	defer text.Close()
	var file struct {
		Format    int
		Scenarios []scenario
	}
	decoder := json.NewDecoder(text)
	decoder.DisallowUnknownFields()
	must(t, decoder.Decode(&file))
	equal(t, "format", file.Format, 1)
	equal(t, "there are scenarios", len(file.Scenarios) > 0, true)
	for i := range file.Scenarios {
		t.Run(file.Scenarios[i].Name, func(t *testing.T) { newRunner(t, &file.Scenarios[i]).play() })
	}
}

// runner plays a scenario.
type runner struct {
	*testing.T
	scenario *scenario
	answers  map[string]string
	bus      *Publisher
	told     collector
}

func newRunner(t *testing.T, s *scenario) *runner {
	return &runner{T: t, scenario: s, answers: map[string]string{}}
}

func (r *runner) play() {
	ask(r, fields{"do": "reset"})
	for _, request := range r.scenario.Setup {
		answer := ask(r, request)
		for _, kind := range []string{"server", "proxy"} {
			number, ok := answer[kind].(float64)
			if !ok {
				continue
			}
			for name, value := range answer {
				if text, ok := value.(string); ok {
					r.answers[fmt.Sprintf("%s%v.%s", kind, number, name)] = text
				}
			}
		}
	}
	bus, err := Connect(testContext(r), r.options()...)
	if r.scenario.Publisher.Fails != nil {
		r.fails(err, r.scenario.Publisher.Fails)
		return
	}
	must(r, err)
	r.bus = bus
	r.Cleanup(func() { closeNow(r, bus) })
	for i := range r.scenario.Steps {
		if r.step(&r.scenario.Steps[i]); r.Failed() {
			r.Fatalf("step %d (%s)", i+1, r.scenario.Steps[i].Do)
		}
	}
	r.end()
}

var placeholder = regexp.MustCompile(`\$\{([^}]+)\}`)

func (r *runner) options() []Option {
	options := []Option{WithReportHandler(r.told.report), WithEventHandler(r.told.event), WithLogger(slog.New(slog.DiscardHandler)), WithReport(ReportFailures)}
	for key, value := range r.scenario.Publisher.Options {
		options = append(options, WithOption(key, r.filled(value)))
	}
	for pattern, keys := range r.scenario.Publisher.Topics {
		for key, value := range keys {
			options = append(options, WithTopicOption(pattern, key, r.filled(value)))
		}
	}
	return options
}

// filled replaces what the control program has answered.
func (r *runner) filled(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string { return r.answers[found[2:len(found)-1]] })
}

// fails checks an error.
func (r *runner) fails(err error, want *failure) {
	r.Helper()
	var e *Error
	switch {
	case want == nil:
		if err != nil {
			r.Error(err)
		}
	case !errors.As(err, &e):
		r.Errorf("it does not fail, should be %+v", *want)
	case want.Status != "" && e.Status.String() != want.Status, !strings.Contains(e.Text, r.filled(want.Text)),
		want.NotText != "" && strings.Contains(e.Text, want.NotText):
		r.Errorf("the error is %v, should be %+v", err, *want)
	}
}

func (m *message) message(i int) *Message {
	payload := []byte(strings.ReplaceAll(m.Payload, "#", fmt.Sprint(i)))
	if i < 0 {
		payload = []byte(m.Payload)
	}
	if m.PayloadSize > 0 {
		payload = []byte(strings.Repeat("x", m.PayloadSize))
	}
	result := &Message{Topic: m.Topic, Payload: payload, Tag: m.Tag + uint64(max(i, 0)), MsgID: m.MsgID, ExpectedStream: m.ExpectedStream,
		ExpectedLastMsgID: m.ExpectedLastMsgID, ExpectedLastSeq: m.ExpectedLastSeq, ExpectedLastSubjectSeq: m.ExpectedLastSubjectSeq, TraceParent: m.TraceParent, TraceState: m.TraceState,
		TTL: time.Duration(m.TTLMs) * time.Millisecond, DeliveryTimeout: time.Duration(m.DeliveryTimeoutMs) * time.Millisecond, ReportAlways: m.ReportAlways}
	for _, header := range m.Headers {
		result.Headers = append(result.Headers, Header{header[0], header[1]})
	}
	if m.StallWaitMs != nil {
		result.StallWait = time.Duration(*m.StallWaitMs) * time.Millisecond
		if *m.StallWaitMs == 0 {
			result.StallWait = -1
		}
	}
	return result
}

func (r *runner) step(s *step) {
	limit := 30 * time.Second
	if s.TimeoutMs > 0 {
		limit = time.Duration(s.TimeoutMs) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	switch s.Do {
	case "publish":
		if s.Repeat == 0 {
			r.fails(second(r.bus.PublishMsg(ctx, s.message.message(-1))), s.Fails)
		}
		for i := range s.Repeat {
			r.fails(second(r.bus.PublishMsg(ctx, s.message.message(i))), s.Fails)
		}
	case "publish_batch":
		messages := make([]Message, len(s.Messages))
		for i := range messages {
			messages[i] = *s.Messages[i].message(-1)
		}
		accepted, err := r.bus.PublishBatch(ctx, messages)
		equal(r, "accepted", accepted, s.Accepted)
		r.fails(err, s.Fails)
	case "publish_wait":
		m := s.message.message(-1)
		ack, err := r.bus.PublishMsgWait(ctx, m)
		if s.Outcome == nil {
			r.fails(err, s.Fails)
			return
		}
		report := Report{Tag: m.Tag, Topic: m.Topic, Payload: m.Payload, MsgID: m.MsgID, Ack: ack}
		if err != nil {
			report.Err = err
		}
		r.compare(s.Outcome, report)
	case "flush":
		r.fails(r.bus.Flush(ctx), s.Fails)
	case "purge":
		var what PurgeWhat
		if s.Unsent {
			what |= Unsent
		}
		if s.InFlight {
			what |= InFlight
		}
		count, err := r.bus.Purge(what)
		r.fails(err, s.Fails)
		equal(r, "purged", count, s.Count)
	case "close":
		if err := r.bus.Close(ctx); err != nil && !isStatus(err, ErrTimedOut) {
			r.Error(err)
		}
	case "wait_connected":
		r.fails(r.bus.WaitConnected(ctx), s.Fails)
	case "set_topic":
		r.fails(r.bus.SetTopicOption(s.Pattern, s.Key, s.Value), s.Fails)
	case "wait_reports":
		until(r, "reports", func() bool { return uint64(len(r.told.all())) >= s.Count })
	case "wait_event":
		until(r, s.Kind, func() bool { return r.heard(s.Kind) })
	case "wait_stats":
		until(r, fmt.Sprint(s.AtLeast), func() bool {
			for name, value := range s.AtLeast {
				if figure(r, r.bus.Stats(), name) < value {
					return false
				}
			}
			return true
		})
	case "control":
		ask(r, s.Request)
	default:
		r.Fatalf("an unknown step: %s", s.Do)
	}
}

func (r *runner) heard(kind string) bool {
	r.told.mu.Lock()
	defer r.told.mu.Unlock()
	return slices.ContainsFunc(r.told.events, func(e Event) bool { return e.Kind.String() == kind })
}

// figure is a statistic by the name that all languages share.
func figure(t testing.TB, stats Stats, name string) uint64 {
	t.Helper()
	value := reflect.ValueOf(stats).FieldByNameFunc(func(field string) bool { return bare(field) == bare(strings.TrimSuffix(name, "_ns")) })
	if !value.IsValid() {
		t.Fatalf("there is no figure %s", name)
	}
	if value.CanInt() {
		return uint64(value.Int())
	}
	return value.Uint()
}

// end closes the publisher and looks whether everything is as it should be.
func (r *runner) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.bus.Close(ctx); err != nil && !isStatus(err, ErrTimedOut) {
		r.Error(err)
	}
	want := &r.scenario.Expect
	r.reports(want.Reports)
	stats := r.bus.Stats()
	equal(r, "accepted", stats.Accepted, stats.Published+stats.PublishErrors+stats.Pending)
	for name, value := range want.Stats {
		equal(r, name, figure(r, stats, name), value)
	}
	for name, value := range want.StatsAtLeast {
		equal(r, fmt.Sprint(name, " is at least ", value), figure(r, stats, name) >= value, true)
	}
	for name, value := range want.StatsAtMost {
		equal(r, fmt.Sprint(name, " is at most ", value), figure(r, stats, name) <= value, true)
	}
	for _, kind := range want.Events {
		equal(r, kind, r.heard(kind), true)
	}
	for _, kind := range want.NoEvents {
		equal(r, kind, r.heard(kind), false)
	}
	for stream, messages := range want.Streams {
		if messages == nil {
			equal(r, stream, ask(r, fields{"do": "stream_info", "server": 1, "stream": stream})["info"], nil)
			continue
		}
		r.messages(stream, messages, ask(r, fields{"do": "read", "server": 1, "stream": stream}), true)
	}
	for subscription, messages := range want.Received {
		var number int
		fmt.Sscan(subscription, &number)
		count := 0
		for _, m := range messages {
			count += max(m.Repeat, 1)
		}
		r.messages("subscription "+subscription, messages, ask(r, fields{"do": "received", "subscription": number, "count": count}), false)
	}
}

// reports checks that these tags were told, each once, and no others.
func (r *runner) reports(want []fields) {
	byTag := map[uint64]Report{}
	for _, report := range r.told.all() {
		if _, twice := byTag[report.Tag]; twice {
			r.Errorf("tag %d was told twice", report.Tag)
		}
		byTag[report.Tag] = report
	}
	for _, element := range want {
		var first, last uint64
		if tags, ok := element["tags"].([]any); ok {
			first, last = uint64(tags[0].(float64)), uint64(tags[1].(float64))
		} else {
			first = uint64(element["tag"].(float64))
			last = first
		}
		for tag := first; tag <= last; tag++ {
			report, told := byTag[tag]
			if !told {
				r.Errorf("tag %d was not told", tag)
				continue
			}
			delete(byTag, tag)
			r.compare(element, report)
		}
	}
	for tag, report := range byTag {
		r.Errorf("tag %d was told though it should not be: %+v", tag, report)
	}
}

// compare looks at the fields of a report that are given.
func (r *runner) compare(want fields, report Report) {
	r.Helper()
	got := fields{"tag": float64(report.Tag), "status": "OK", "persistence": "PERSISTED", "server_code": float64(0), "attempts": float64(report.Attempts),
		"stream": report.Stream, "domain": report.Domain, "stream_seq": float64(report.Sequence), "msg_id": report.MsgID, "topic": report.Topic, "payload": string(report.Payload)}
	text := ""
	if report.Err != nil {
		e := report.Err.(*Error)
		got["status"], got["server_code"], got["attempts"], text = e.Status.String(), float64(e.ServerCode), float64(e.Attempts), e.Text
	}
	got["persistence"] = strings.ToUpper(strings.ReplaceAll(report.Persistence().String(), " ", "_"))
	flags := []any{}
	if report.Duplicate {
		flags = append(flags, "DUPLICATE")
	}
	if report.Ephemeral {
		flags = append(flags, "EPHEMERAL")
	}
	if (got["status"] == "OK") != (got["persistence"] == "PERSISTED") && !report.Ephemeral {
		r.Errorf("tag %d is %v and %v", report.Tag, got["status"], got["persistence"])
	}
	if want["flags"] == nil {
		equal(r, "flags", fmt.Sprint(flags), "[]")
	}
	for name, value := range want {
		switch name {
		case "tags":
		case "attempts_at_least":
			equal(r, "attempts", got["attempts"].(float64) >= value.(float64), true)
		case "text":
			if !strings.Contains(text, value.(string)) {
				r.Errorf("tag %d: the text is %q, should have %q", report.Tag, text, value)
			}
		case "flags":
			equal(r, "flags", fmt.Sprint(flags), fmt.Sprint(value))
		default:
			known, ok := got[name]
			if !ok {
				r.Fatalf("an unknown field of a report: %s", name)
			}
			if known != value {
				r.Errorf("tag %d: %s is %v, should be %v: %s", report.Tag, name, known, value, text)
			}
		}
	}
}

// messages compares what a stream or a subscription has.
func (r *runner) messages(where string, want []stored, answer fields, ids bool) {
	var all []stored
	for _, m := range want {
		if m.Repeat == 0 {
			all = append(all, m)
		}
		for i := range m.Repeat {
			one := m
			one.Payload = strings.ReplaceAll(m.Payload, "#", fmt.Sprint(i))
			all = append(all, one)
		}
	}
	list := answer["messages"].([]any)
	equal(r, "messages in "+where, len(list), len(all))
	seen := map[string]bool{}
	for i, m := range all {
		var got stored
		text, _ := json.Marshal(list[i])
		must(r, json.Unmarshal(text, &got))
		equal(r, fmt.Sprintf("subject %d in %s", i, where), got.Subject, m.Subject)
		equal(r, fmt.Sprintf("payload %d in %s", i, where), got.Payload, m.Payload)
		for name, values := range m.Headers {
			equal(r, name, fmt.Sprint(got.Headers[name]), fmt.Sprint(values))
		}
		if !ids {
			continue
		}
		id := strings.Join(got.Headers["Nats-Msg-Id"], ",")
		switch expected := m.MsgID.(type) {
		case string:
			equal(r, "msg id", id, expected)
		case bool:
			equal(r, "a msg id", id != "", expected)
		default:
			equal(r, "a msg id", id != "", true)
		}
		if id != "" && seen[id] {
			r.Errorf("the id %s is in %s twice", id, where)
		}
		seen[id] = true
	}
}
