//go:build !race

package ackbus

const raceEnabled = false
