package ackbus

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// sample is the value of the one line that begins so.
func sample(t *testing.T, text, series string) string {
	t.Helper()
	_, rest, ok := strings.Cut("\n"+text, "\n"+series+" ")
	if !ok || strings.Contains(rest, "\n"+series+" ") {
		t.Fatalf("%s is not there once in %s", series, text)
	}
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

func TestMetricsAreTheStats(t *testing.T) {
	bus := inMemory(t, WithName("orders"), WithMaxPending(77))
	for range 7 {
		must(t, bus.Publish("a", nil))
	}
	must(t, bus.Flush(testContext(t)))
	must(t, bus.Close(testContext(t)))
	text, stats := bus.Metrics(), bus.Stats()
	for name, want := range map[string]any{
		"accepted_messages_total": stats.Accepted, "published_messages_total": stats.Published, "attempts_total": stats.Attempts, "out_bytes_total": stats.BytesOut,
		"delivered_reports_total": stats.ReportsDelivered, "dropped_events_total": stats.EventsDropped, "pending_limit_messages": 77, "connected": 0,
	} {
		equal(t, name, sample(t, text, `ackbus_`+name+`{publisher="orders"}`), fmt.Sprint(want))
	}
	equal(t, "count", sample(t, text, `ackbus_ack_latency_seconds_bucket{publisher="orders",le="+Inf"}`), "7")
	var written strings.Builder
	must(t, bus.WriteMetrics(&written))
	equal(t, "written", written.String(), text)
}

// Events that this package drops count as dropped in the text too.
func TestMetricsCountDroppedEvents(t *testing.T) {
	one, two := inMemory(t, WithName("one} 9")), inMemory(t, WithName("two"))
	two.core.handlers.mu.Lock()
	two.core.handlers.droppedEvents = 5
	two.core.handlers.mu.Unlock()
	text := MetricsOf(one, two)
	equal(t, "one", sample(t, text, `ackbus_dropped_events_total{publisher="one} 9"}`), fmt.Sprint(one.Stats().EventsDropped))
	equal(t, "two", sample(t, text, `ackbus_dropped_events_total{publisher="two"}`), fmt.Sprint(two.Stats().EventsDropped))
	equal(t, "five", two.Stats().EventsDropped >= 5, true)
}

func TestMetricsOfSeveral(t *testing.T) {
	one, two := inMemory(t), inMemory(t)
	must(t, two.Publish("a", nil))
	must(t, two.Flush(testContext(t)))
	text := MetricsOf(one, two, one)
	equal(t, "one", sample(t, text, `ackbus_accepted_messages_total{publisher="ackbus"}`), "0")
	equal(t, "two", sample(t, text, `ackbus_accepted_messages_total{publisher="ackbus#2"}`), "1")
	equal(t, "descriptions", strings.Count(text, "# TYPE ackbus_accepted_messages counter\n"), 1)
	equal(t, "none", MetricsOf(), "# EOF\n")
}

func TestMetricsHandler(t *testing.T) {
	bus := inMemory(t)
	server := httptest.NewServer(MetricsHandler(bus))
	defer server.Close()
	response, err := http.Get(server.URL)
	must(t, err)
	body, err := io.ReadAll(response.Body)
	must(t, err)
	must(t, response.Body.Close())
	equal(t, "type", response.Header.Get("Content-Type"), "application/openmetrics-text; version=1.0.0; charset=utf-8")
	equal(t, "limit", sample(t, string(body), `ackbus_pending_limit_messages{publisher="ackbus"}`), "10000")
	equal(t, "end", strings.HasSuffix(string(body), "\n# EOF\n"), true)
	response, err = http.Post(server.URL, "text/plain", strings.NewReader("x"))
	must(t, err)
	must(t, response.Body.Close())
	equal(t, "POST", response.StatusCode, http.StatusMethodNotAllowed)
}
