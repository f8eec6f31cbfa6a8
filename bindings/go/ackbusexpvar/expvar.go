// Package ackbusexpvar publishes a bus's figures with the standard library's expvar.
package ackbusexpvar

import (
	"expvar"

	"ackbus"
)

// Figures is what the variable shows.
type Figures struct {
	State, Server, LastError string // as [ackbus.Info] has them; LastError is empty if there was none
	ackbus.Stats
}

// Publish makes the figures of a publisher a variable of this name. As expvar has it, a name cannot be taken back or taken twice, and the variable keeps the publisher
// in memory: its figures stay readable after Close.
func Publish(name string, bus *ackbus.Publisher) {
	expvar.Publish(name, Var(bus))
}

// Var is the variable alone, for those who name it themselves.
func Var(bus *ackbus.Publisher) expvar.Var {
	return expvar.Func(func() any {
		info := bus.Info()
		figures := Figures{State: info.State.String(), Server: info.Server, Stats: bus.Stats()}
		if info.LastError != nil {
			figures.LastError = info.LastError.Error()
		}
		return figures
	})
}
