package ackbusexpvar

import (
	"context"
	"encoding/json"
	"expvar"
	"reflect"
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
	for name, want := range map[string]any{"State": "closed", "Server": "memory:", "LastError": "", "Accepted": 3.0, "Published": 3.0, "Pending": 0.0} {
		if shown[name] != want {
			t.Errorf("%s is %v, should be %v", name, shown[name], want)
		}
	}
	if want := reflect.TypeFor[ackbus.Stats]().NumField() + 3; len(shown) != want {
		t.Errorf("%d figures, should be %d: %v", len(shown), want, shown)
	}
}
