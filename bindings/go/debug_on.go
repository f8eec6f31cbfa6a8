//go:build ackbus_debug

package ackbus

import "runtime"

// collectGarbage makes the collector run whenever a handle is used: what is freed too early is found (T29).
func collectGarbage() { runtime.GC() }

const garbageIsCollectedAlways = true
