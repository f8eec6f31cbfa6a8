//go:build !ackbus_debug

package ackbus

func collectGarbage() {}

const garbageIsCollectedAlways = false
