// Package openmetrics reads the text that libackbus writes, for the packages that tell its figures in other ways: so their names come from the library's one table.
// It is no parser for anybody else's text.
package openmetrics

import (
	"fmt"
	"strconv"
	"strings"
)

// Family is a metric with all its samples.
type Family struct {
	// Name is without the suffixes of the samples; Type is counter, gauge, histogram, info or stateset.
	Name, Type, Help string
	// Samples are in the order of the text.
	Samples []Sample
}

// Sample is one line.
type Sample struct {
	// Name is with its suffix.
	Name string
	// Labels are in the order of the text.
	Labels []Label
	// Value is what stands behind them.
	Value float64
}

// Label is one label of a sample.
type Label struct {
	// Name is never empty, Value may be.
	Name, Value string
}

// Get is the value of a label, or "".
func (s *Sample) Get(name string) string {
	for _, label := range s.Labels {
		if label.Name == name {
			return label.Value
		}
	}
	return ""
}

// Parse reads a text to its end. Exemplars are left out.
func Parse(text string) ([]Family, error) {
	var families []Family
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "# EOF" {
			return families, nil
		}
		if description, ok := strings.CutPrefix(line, "# "); ok {
			word, rest, _ := strings.Cut(description, " ")
			name, value, _ := strings.Cut(rest, " ")
			switch word {
			case "TYPE":
				families = append(families, Family{Name: name, Type: value})
			case "HELP":
				if len(families) == 0 {
					return nil, notOurs(line)
				}
				families[len(families)-1].Help, _ = unescape(value)
			}
			continue
		}
		sample, err := parseSample(line)
		if err != nil || len(families) == 0 {
			return nil, notOurs(line)
		}
		last := &families[len(families)-1]
		last.Samples = append(last.Samples, sample)
	}
	return nil, fmt.Errorf("ackbus: the text has no end: %d bytes", len(text))
}

func notOurs(line string) error {
	return fmt.Errorf("ackbus: no OpenMetrics of ours: %q", line)
}

// parseSample reads name{label="value",...} value, and ignores what follows.
func parseSample(line string) (Sample, error) {
	name, rest, ok := strings.Cut(line, "{")
	if !ok {
		return Sample{}, strconv.ErrSyntax
	}
	sample := Sample{Name: name}
	for {
		label, quoted, ok := strings.Cut(rest, "=\"")
		if !ok {
			return Sample{}, strconv.ErrSyntax
		}
		value, length := unescape(quoted)
		sample.Labels = append(sample.Labels, Label{label, value})
		rest = quoted[length:]
		if more, ok := strings.CutPrefix(rest, "\","); ok {
			rest = more
			continue
		}
		if rest, ok = strings.CutPrefix(rest, "\"} "); !ok {
			return Sample{}, strconv.ErrSyntax
		}
		number, _, _ := strings.Cut(rest, " ")
		var err error
		sample.Value, err = strconv.ParseFloat(number, 64)
		return sample, err
	}
}

// unescape reads up to a quote that is not escaped, or the end, and tells how many bytes that were.
func unescape(text string) (string, int) {
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return plain.String(), i
		case text[i] == '\\' && i+1 < len(text):
			i++
			if text[i] == 'n' {
				plain.WriteByte('\n')
			} else {
				plain.WriteByte(text[i])
			}
		default:
			plain.WriteByte(text[i])
		}
	}
	return plain.String(), len(text)
}
