// Package ackbusexpvar publishes a bus's figures with the standard library's expvar.
package ackbusexpvar

import (
	"expvar"

	"ackbus"
	"ackbus/internal/openmetrics"
)

// Publish makes the figures of a publisher a variable of this name. As expvar has it, a name cannot be taken back or taken twice, and the variable keeps the publisher
// in memory: its figures stay readable after Close.
func Publish(name string, bus *ackbus.Publisher) {
	expvar.Publish(name, Var(bus))
}

// Var is the variable alone, for those who name it themselves. It is an object: the metrics by the names that [ackbus.Publisher.Metrics] has, such as
// ackbus_pending_messages; ackbus_failed_messages_total is an object by status, and the histogram is told by its _sum and _count. State, server and last_error are texts.
func Var(bus *ackbus.Publisher) expvar.Var {
	return expvar.Func(func() any {
		info := bus.Info()
		figures := map[string]any{"state": info.State.String(), "server": info.Server, "last_error": ""}
		if info.LastError != nil {
			figures["last_error"] = info.LastError.Error()
		}
		families, err := openmetrics.Parse(bus.Metrics())
		if err != nil {
			figures["error"] = err.Error()
		}
		failed := map[string]float64{}
		for _, family := range families {
			for _, sample := range family.Samples {
				switch {
				case family.Type == "info" || family.Type == "stateset":
					// Texts, which are above.
				case sample.Get("status") != "":
					failed[sample.Get("status")] = sample.Value
					figures[sample.Name] = failed
				case sample.Get("le") == "":
					figures[sample.Name] = sample.Value
				}
			}
		}
		return figures
	})
}
