package ackbus

import (
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// MetricsContentType is what OpenMetrics text is served as.
const MetricsContentType = metricsType

// Metrics is the figures of this moment as OpenMetrics 1.0 text: those of [Publisher.Stats], failures by status, latencies as a histogram, limits, state and server.
// docs/STATISTICS.md lists them all. Every sample has the label publisher, which is the name given by [WithName]; the text ends with "# EOF". It never waits, and
// stays readable after Close.
func (p *Publisher) Metrics() string {
	return MetricsOf(p)
}

// WriteMetrics writes what [Publisher.Metrics] returns. Its errors are the writer's.
func (p *Publisher) WriteMetrics(to io.Writer) error {
	_, err := io.WriteString(to, p.Metrics())
	return err
}

// MetricsOf is the figures of several publishers as one text: a text may describe a metric only once. Where several have the same name, the second in the list is
// called "name#2", and so on; one that is listed twice is told once.
func MetricsOf(buses ...*Publisher) string {
	defer runtime.KeepAlive(buses)
	var once []*Publisher
	for _, bus := range buses {
		if !slices.Contains(once, bus) {
			once = append(once, bus)
		}
	}
	natives := make([]native, len(once))
	dropped := make([]uint64, len(once))
	for i, bus := range once {
		natives[i] = bus.native()
		dropped[i] = bus.core.handlers.dropped()
	}
	return withDropped(metricsOf(natives), dropped)
}

// withDropped adds the events that this package dropped to those that the library did, as Stats does. A text has the publishers in their order.
func withDropped(text string, dropped []uint64) string {
	const series = "\nackbus_dropped_events_total{"
	end := 0
	for _, more := range dropped {
		at := strings.Index(text[end:], series)
		if at < 0 {
			return text
		}
		end += at + len(series)
		if more == 0 {
			continue
		}
		// The value is the last word of its line, whatever the label says.
		line := end + strings.IndexByte(text[end:], '\n')
		value := strings.LastIndexByte(text[:line], ' ') + 1
		count, _ := strconv.ParseUint(text[value:line], 10, 64)
		text = text[:value] + strconv.FormatUint(count+more, 10) + text[line:]
	}
	return text
}

// MetricsHandler serves [MetricsOf] these publishers, for Prometheus to scrape: http.Handle("/metrics", ackbus.MetricsHandler(bus)). It keeps the publishers in memory;
// they stay readable after Close.
func MetricsHandler(buses ...*Publisher) http.Handler {
	buses = slices.Clone(buses)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are allowed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", MetricsContentType)
		_, _ = io.WriteString(w, MetricsOf(buses...))
	})
}
