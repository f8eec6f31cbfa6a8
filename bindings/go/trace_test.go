package ackbus

import (
	"slices"
	"testing"
)

// What a propagator needs: go.opentelemetry.io/otel/propagation.TextMapCarrier, said here so that the package needs no dependency.
var _ interface {
	Get(string) string
	Set(string, string)
	Keys() []string
} = TraceCarrier{}

func TestATraceCarrierIsTheMessage(t *testing.T) {
	shared := []Header{{"Kind", "order"}, {"Traceparent", "old"}, {"Baggage", "a=1"}}
	m := Message{Topic: "orders.created", Headers: shared}
	carrier := m.TraceCarrier()
	carrier.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	carrier.Set("tracestate", "rojo=1")
	carrier.Set("baggage", "b=2")
	if m.TraceParent != "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" || m.TraceState != "rojo=1" {
		t.Fatalf("fields are %q and %q", m.TraceParent, m.TraceState)
	}
	if want := []Header{{"Kind", "order"}, {"baggage", "b=2"}}; !slices.Equal(m.Headers, want) {
		t.Fatalf("headers are %v, not %v", m.Headers, want)
	}
	if shared[1].Value != "old" || shared[2].Value != "a=1" {
		t.Fatalf("the caller's slice was changed: %v", shared)
	}
	for name, want := range map[string]string{"TraceParent": m.TraceParent, "TRACESTATE": "rojo=1", "Baggage": "b=2", "kind": "order", "other": ""} {
		if got := carrier.Get(name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	if want := []string{"traceparent", "tracestate", "Kind", "baggage"}; !slices.Equal(carrier.Keys(), want) {
		t.Errorf("keys are %v, not %v", carrier.Keys(), want)
	}
}
