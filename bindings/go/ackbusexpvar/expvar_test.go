package ackbusexpvar

import (
	"context"
	"encoding/json"
	"expvar"
	"reflect"
	"strings"
	"testing"

	"ackbus"
)

func TestFigures(t *testing.T) {
	bus, err := ackbus.Connect(context.Background(), ackbus.WithServers("memory:"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := bus.Publish("a.b", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	Publish("bus", bus)
	if err := bus.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	var shown map[string]any
	if err := json.Unmarshal([]byte(expvar.Get("bus").String()), &shown); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"state": "closed", "server": "memory:", "last_error": "", "ackbus_accepted_messages_total": 3.0, "ackbus_published_messages_total": 3.0,
		"ackbus_pending_messages": 0.0, "ackbus_connected": 0.0, "ackbus_ack_latency_seconds_count": 3.0,
	} {
		if shown[name] != want {
			t.Errorf("%s is %v, should be %v", name, shown[name], want)
		}
	}
	if failed, _ := shown["ackbus_failed_messages_total"].(map[string]any); failed["ACK_TIMEOUT"] != 0.0 {
		t.Errorf("%v", shown["ackbus_failed_messages_total"])
	}
	// Every sample of the text is there by its name, but for what is told as text, and buckets.
	for line := range strings.Lines(bus.Metrics()) {
		name, _, ok := strings.Cut(line, "{")
		if !ok || strings.HasPrefix(line, "#") || strings.HasSuffix(name, "_bucket") || name == "ackbus_state" || name == "ackbus_publisher_info" {
			continue
		}
		if shown[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if want := reflect.TypeFor[ackbus.Stats]().NumField(); len(shown) < want {
		t.Errorf("%d figures, there are %d: %v", len(shown), want, shown)
	}
}
