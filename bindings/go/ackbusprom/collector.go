// Package ackbusprom tells Prometheus a bus's figures. It is a module of its own, so that the others need no Prometheus.
package ackbusprom

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ackbus"
)

// Collector reads a publisher's figures when it is asked for them. It keeps the publisher in memory; they stay readable after Close.
type Collector struct {
	bus     *ackbus.Publisher
	metrics []metric
	up      *prometheus.Desc
	latency [3]*prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// metric is one figure.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*ackbus.Stats) uint64
}

// New makes a collector. The labels come with every metric; they tell the publishers of a process apart.
func New(bus *ackbus.Publisher, labels prometheus.Labels) *Collector {
	c := &Collector{
		bus: bus,
		up:  prometheus.NewDesc("ackbus_connected", "1 while there is a connection to a server.", nil, labels),
	}
	// Not a summary, whose sum the library does not keep.
	for i, which := range []string{"p50", "p99", "max"} {
		c.latency[i] = prometheus.NewDesc("ackbus_ack_latency_"+which+"_seconds", "From publish to the acknowledgement, of all messages so far: "+which+".", nil, labels)
	}
	for _, f := range figures {
		c.metrics = append(c.metrics, metric{prometheus.NewDesc("ackbus_"+f.name, f.help, nil, labels), f.kind, f.value})
	}
	return c
}

// figures are all figures but the latencies.
var figures = []struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*ackbus.Stats) uint64
}{
	{"accepted_total", "Persistent messages that a publish took.", counter, func(s *ackbus.Stats) uint64 { return s.Accepted }},
	{"pending", "Messages accepted and not yet settled.", gauge, func(s *ackbus.Stats) uint64 { return s.Pending }},
	{"pending_bytes", "Bytes that the pending messages hold.", gauge, func(s *ackbus.Stats) uint64 { return s.PendingBytes }},
	{"events_dropped_total", "Events that made room for newer ones.", counter, func(s *ackbus.Stats) uint64 { return s.EventsDropped }},
	{"published_total", "Persistent messages that the server acknowledged.", counter, func(s *ackbus.Stats) uint64 { return s.Published }},
	{"publish_errors_total", "Persistent messages that settled without an acknowledgement.", counter, func(s *ackbus.Stats) uint64 { return s.PublishErrors }},
	{"pending_max", "The most messages that were pending at once.", gauge, func(s *ackbus.Stats) uint64 { return s.PendingMax }},
	{"ack_timeouts_total", "Attempts whose ack wait ran out.", counter, func(s *ackbus.Stats) uint64 { return s.AckTimeouts }},
	{"duplicates_total", "Acknowledged messages whose id the stream already had.", counter, func(s *ackbus.Stats) uint64 { return s.Duplicates }},
	{"attempts_total", "Frames of persistent messages that were written whole.", counter, func(s *ackbus.Stats) uint64 { return s.Attempts }},
	{"retries_total", "Attempts after the first.", counter, func(s *ackbus.Stats) uint64 { return s.Retries }},
	{"resent_total", "Retries whose message may have been stored already.", counter, func(s *ackbus.Stats) uint64 { return s.Resent }},
	{"late_acks_total", "Acknowledgements for messages that had settled.", counter, func(s *ackbus.Stats) uint64 { return s.LateAcks }},
	{"alien_replies_total", "Replies that are no acknowledgement of a live attempt.", counter, func(s *ackbus.Stats) uint64 { return s.AlienReplies }},
	{"queue_full_total", "How often the window was full when a publish tried.", counter, func(s *ackbus.Stats) uint64 { return s.QueueFull }},
	{"gates_held_total", "How often a gate closed.", counter, func(s *ackbus.Stats) uint64 { return s.GatesHeld }},
	{"ephemeral_total", "Ephemeral messages accepted.", counter, func(s *ackbus.Stats) uint64 { return s.Ephemeral }},
	{"ephemeral_dropped_total", "Ephemeral messages that were not written.", counter, func(s *ackbus.Stats) uint64 { return s.EphemeralDropped }},
	{"reports_delivered_total", "Reports that came from the library.", counter, func(s *ackbus.Stats) uint64 { return s.ReportsDelivered }},
	{"reconnects_total", "Connections after the first.", counter, func(s *ackbus.Stats) uint64 { return s.Reconnects }},
	{"bytes_out_total", "Bytes of the protocol that the kernel took.", counter, func(s *ackbus.Stats) uint64 { return s.BytesOut }},
	{"wakeups_total", "How often a publish woke the library's thread.", counter, func(s *ackbus.Stats) uint64 { return s.Wakeups }},
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// Describe tells which metrics there are.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	to <- c.up
	for _, latency := range c.latency {
		to <- latency
	}
	for _, m := range c.metrics {
		to <- m.desc
	}
}

// Collect reads all figures at once.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	stats := c.bus.Stats()
	up := 0.0
	if c.bus.Info().State == ackbus.Connected {
		up = 1
	}
	to <- prometheus.MustNewConstMetric(c.up, gauge, up)
	for i, latency := range []time.Duration{stats.LatencyP50, stats.LatencyP99, stats.LatencyMax} {
		to <- prometheus.MustNewConstMetric(c.latency[i], gauge, latency.Seconds())
	}
	for _, m := range c.metrics {
		to <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(&stats)))
	}
}
