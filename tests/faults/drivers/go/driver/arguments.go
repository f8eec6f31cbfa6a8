package driver

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Arguments is what the runner asks for.
type Arguments struct {
	URL string
	// MaxPending is the window; 0: not given.
	MaxPending int
	// AckTimeout is for peers.
	AckTimeout time.Duration
	// Options and Rules are for ackbus.
	Options []Option
	Rules   []Rule

	subjects []string
	sizes    []int
	count    int64
	rate     float64
	prefix   string
	pairs    bool
	mode     string
}

// Option is an option of ackbus by its key.
type Option struct{ Key, Value string }

// Rule is one key of a topic rule.
type Rule struct{ Pattern, Key, Value string }

func parse(words []string) (Arguments, error) {
	a := Arguments{AckTimeout: 10 * time.Second, sizes: []int{256}, prefix: "m", mode: "normal"}
	for _, word := range words {
		key, value, found := strings.Cut(word, "=")
		if !found {
			return a, fmt.Errorf("%q is not allowed; give key=value", word)
		}
		if err := a.set(key, value); err != nil {
			return a, fmt.Errorf("%q is not allowed: %w", word, err)
		}
	}
	if a.URL == "" || len(a.subjects) == 0 || a.count == 0 {
		return a, errors.New("url, subjects and count must be given; tests/faults/README.md describes all keys")
	}
	return a, nil
}

func (a *Arguments) set(key, value string) (err error) {
	switch key {
	case "url":
		a.URL = value
	case "subjects":
		a.subjects = strings.Split(value, ",")
	case "sizes":
		a.sizes = nil
		for _, word := range strings.Split(value, ",") {
			var size int
			if size, err = atLeast(0, word); err != nil {
				return err
			}
			a.sizes = append(a.sizes, size)
		}
	case "count":
		var count int
		count, err = atLeast(1, value)
		a.count = int64(count)
	case "rate":
		if a.rate, err = strconv.ParseFloat(value, 64); err == nil && a.rate < 0 {
			err = errors.New("a rate is not negative")
		}
	case "prefix":
		a.prefix = value
	case "pairs":
		a.pairs = value == "1"
	case "max_pending":
		a.MaxPending, err = atLeast(1, value)
	case "ack_timeout_ms":
		var ms int
		ms, err = atLeast(1, value)
		a.AckTimeout = time.Duration(ms) * time.Millisecond
	case "mode":
		a.mode = value
	default:
		kind, rest, _ := strings.Cut(key, ":")
		// A pattern may hold a colon, a name does not.
		last := strings.LastIndex(rest, ":")
		switch {
		case kind == "set":
			a.Options = append(a.Options, Option{rest, value})
		case kind == "topic" && last > 0:
			a.Rules = append(a.Rules, Rule{rest[:last], rest[last+1:], value})
		case kind == "topic":
			err = errors.New("give topic:PATTERN:NAME=VALUE")
		}
	}
	return err
}

func atLeast(least int, word string) (int, error) {
	n, err := strconv.Atoi(word)
	if err == nil && n < least {
		err = fmt.Errorf("at least %d", least)
	}
	return n, err
}
