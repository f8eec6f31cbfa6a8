// Package ackbusprom tells Prometheus a bus's figures, by the registry of client_golang. It is a module of its own, so that the others need no Prometheus: a program
// without such a registry serves them with [ackbus.MetricsHandler].
package ackbusprom

import (
	"maps"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"ackbus"
	"ackbus/internal/openmetrics"
)

// Collector reads a publisher's figures when it is asked for them. It keeps the publisher in memory; they stay readable after Close.
type Collector struct {
	bus    *ackbus.Publisher
	labels prometheus.Labels
}

var _ prometheus.Collector = (*Collector)(nil)

// New makes a collector. Its metrics are those of [ackbus.Publisher.Metrics], with the same names, and the label publisher, which is the name given by
// [ackbus.WithName]. The labels given here come with every metric besides; they or the names must tell the publishers of a registry apart. A label publisher
// given here replaces that of the text.
func New(bus *ackbus.Publisher, labels prometheus.Labels) *Collector {
	return &Collector{bus, maps.Clone(labels)}
}

// Describe tells which metrics there are.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, to)
}

// Collect reads all figures at once.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	families, err := openmetrics.Parse(c.bus.Metrics())
	if err != nil {
		to <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		return
	}
	for _, family := range families {
		if family.Type == "histogram" {
			to <- c.histogram(&family)
			continue
		}
		// To the registry, an info and a set of states are gauges.
		kind := prometheus.GaugeValue
		if family.Type == "counter" {
			kind = prometheus.CounterValue
		}
		for _, sample := range family.Samples {
			desc, values := c.desc(sample.Name, family.Help, sample.Labels)
			to <- prometheus.MustNewConstMetric(desc, kind, sample.Value, values...)
		}
	}
}

// desc describes a sample. The label publisher is a constant one, like those of New: so a registry tells several collectors apart. The values are of the others.
func (c *Collector) desc(name, help string, labels []openmetrics.Label) (*prometheus.Desc, []string) {
	var names, values []string
	constant := prometheus.Labels{}
	for _, label := range labels {
		switch label.Name {
		case "publisher":
			constant[label.Name] = label.Value
		case "le":
		default:
			names = append(names, label.Name)
			values = append(values, label.Value)
		}
	}
	maps.Copy(constant, c.labels)
	return prometheus.NewDesc(name, help, names, constant), values
}

// histogram puts the samples of one together again.
func (c *Collector) histogram(family *openmetrics.Family) prometheus.Metric {
	var count uint64
	var sum float64
	buckets := map[float64]uint64{}
	for _, sample := range family.Samples {
		switch bound, err := strconv.ParseFloat(sample.Get("le"), 64); {
		case sample.Name == family.Name+"_count":
			count = uint64(sample.Value)
		case sample.Name == family.Name+"_sum":
			sum = sample.Value
		case err == nil && sample.Get("le") != "+Inf":
			buckets[bound] = uint64(sample.Value)
		}
	}
	desc, values := c.desc(family.Name, family.Help, family.Samples[0].Labels)
	return prometheus.MustNewConstHistogram(desc, count, sum, buckets, values...)
}
