package ackbusprom

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"ackbus"
)

func TestCollector(t *testing.T) {
	bus, err := ackbus.Connect(context.Background(), ackbus.WithServers("memory:"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := bus.Publish("a.b", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	c := New(bus, prometheus.Labels{"bus": "test"})
	want := `
# HELP ackbus_connected 1 while there is a connection to a server.
# TYPE ackbus_connected gauge
ackbus_connected{bus="test"} 1
# HELP ackbus_pending Messages accepted and not yet settled.
# TYPE ackbus_pending gauge
ackbus_pending{bus="test"} 0
# HELP ackbus_published_total Persistent messages that the server acknowledged.
# TYPE ackbus_published_total counter
ackbus_published_total{bus="test"} 3
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "ackbus_connected", "ackbus_pending", "ackbus_published_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(c); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	// One for each figure, three latencies among them, and whether it is connected.
	if got, want := testutil.CollectAndCount(c), reflect.TypeFor[ackbus.Stats]().NumField()+1; got != want {
		t.Errorf("%d metrics, should be %d", got, want)
	}
	if err := bus.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	closed := strings.ReplaceAll(want, `ackbus_connected{bus="test"} 1`, `ackbus_connected{bus="test"} 0`)
	if err := testutil.CollectAndCompare(c, strings.NewReader(closed), "ackbus_connected", "ackbus_pending", "ackbus_published_total"); err != nil {
		t.Error("after close:", err)
	}
}

// Each figure comes from the field of its own name.
func TestEachFigureIsItsOwn(t *testing.T) {
	seen := map[uint64]string{}
	stats := ackbus.Stats{}
	value := reflect.ValueOf(&stats).Elem()
	for i := range value.NumField() {
		if field := value.Field(i); field.CanUint() {
			field.SetUint(uint64(i + 1))
		}
	}
	for _, f := range figures {
		number := f.value(&stats)
		field := value.Type().Field(int(number) - 1).Name
		if bare := strings.ReplaceAll(strings.TrimSuffix(f.name, "_total"), "_", ""); bare != strings.ToLower(field) {
			t.Errorf("%s comes from %s", f.name, field)
		}
		if seen[number] != "" {
			t.Errorf("%s and %s are the same", f.name, seen[number])
		}
		seen[number] = f.name
	}
}
