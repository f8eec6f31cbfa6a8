package ackbusprom

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"ackbus"
	"ackbus/internal/openmetrics"
)

// connect makes a publisher that has published three messages.
func connect(t *testing.T, name string) *ackbus.Publisher {
	t.Helper()
	bus, err := ackbus.Connect(context.Background(), ackbus.WithServers("memory:"), ackbus.WithName(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bus.Close(context.Background()) })
	for range 3 {
		if err := bus.Publish("a.b", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	return bus
}

func TestCollector(t *testing.T) {
	bus := connect(t, "orders")
	c := New(bus, prometheus.Labels{"region": "eu"})
	want := `
# HELP ackbus_connected 1 while every connection of the publisher stands, else 0.
# TYPE ackbus_connected gauge
ackbus_connected{publisher="orders",region="eu"} 1
# HELP ackbus_pending_messages Persistent messages accepted and not yet settled, now.
# TYPE ackbus_pending_messages gauge
ackbus_pending_messages{publisher="orders",region="eu"} 0
# HELP ackbus_published_messages_total Persistent messages that the server acknowledged, duplicates included.
# TYPE ackbus_published_messages_total counter
ackbus_published_messages_total{publisher="orders",region="eu"} 3
`
	names := []string{"ackbus_connected", "ackbus_pending_messages", "ackbus_published_messages_total"}
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if err := bus.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	closed := strings.ReplaceAll(want, `ackbus_connected{publisher="orders",region="eu"} 1`, `ackbus_connected{publisher="orders",region="eu"} 0`)
	if err := testutil.CollectAndCompare(c, strings.NewReader(closed), names...); err != nil {
		t.Error("after close:", err)
	}
}

// What promtool check metrics looks at: names, units, help.
func TestLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(New(connect(t, "orders"), nil))
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

// Every metric of the text comes through, by its name, with its samples and labels.
func TestNothingIsLost(t *testing.T) {
	bus := connect(t, "a \"quoted\\ name")
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(New(bus, nil))
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, family := range gathered {
		for _, metric := range family.Metric {
			got[family.GetName()]++
			if label := metric.Label[0]; family.GetName() != "ackbus_state" && (label.GetName() != "publisher" || label.GetValue() != "a \"quoted\\ name") {
				t.Errorf("%s has the labels %v", family.GetName(), metric.Label)
			}
			if h := metric.Histogram; h != nil && (h.GetSampleCount() != 3 || h.GetSampleSum() <= 0 || len(h.Bucket) != 20 || h.Bucket[19].GetCumulativeCount() != 3) {
				t.Errorf("%v", h)
			}
		}
	}
	families, err := openmetrics.Parse(bus.Metrics())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for _, family := range families {
		for _, sample := range family.Samples {
			if family.Type != "histogram" {
				want[sample.Name]++
			}
		}
		if family.Type == "histogram" {
			want[family.Name] = 1
		}
	}
	if !maps.Equal(got, want) || len(want) < 30 {
		t.Errorf("%v\n%v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// Two publishers are told apart by their names, or by labels.
func TestSeveralPublishers(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(New(connect(t, "one"), nil), New(connect(t, "two"), nil), New(connect(t, "one"), prometheus.Labels{"publisher": "three"}))
	if err := registry.Register(New(connect(t, "two"), nil)); err == nil {
		t.Error("two of the same name are accepted")
	}
	if count, err := testutil.GatherAndCount(registry, "ackbus_accepted_messages_total"); err != nil || count != 3 {
		t.Error(count, err)
	}
}
