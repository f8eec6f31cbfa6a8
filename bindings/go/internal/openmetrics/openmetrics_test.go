package openmetrics

import (
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	got, err := Parse("# TYPE a counter\n# UNIT a messages\n# HELP a Say \\\"a\\\" once.\n" +
		"a_total{publisher=\"x\\\"} 9 \\\\\",status=\"N\\nS\"} 3 # {text=\"why\"} 1 17.5\n# TYPE b gauge\nb{publisher=\"\"} 0.25\n# EOF\n")
	want := []Family{
		{"a", "counter", `Say "a" once.`, []Sample{{"a_total", []Label{{"publisher", `x"} 9 \`}, {"status", "N\nS"}}, 3}}},
		{"b", "gauge", "", []Sample{{"b", []Label{{"publisher", ""}}, 0.25}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %#v", err, got)
	}
	if s := got[0].Samples[0]; s.Get("status") != "N\nS" || s.Get("none") != "" {
		t.Errorf("%#v", s)
	}
}

// What is not ours is an error, and no panic.
func TestWrongTexts(t *testing.T) {
	whole := "# TYPE a counter\n# HELP a Help.\na_total{publisher=\"x\",status=\"S\"} 3 # {text=\"why\"} 1 17.5\n# EOF\n"
	for end := range whole[:len(whole)-1] {
		if _, err := Parse(whole[:end]); err == nil {
			t.Errorf("%q is accepted", whole[:end])
		}
	}
	for _, text := range []string{"# HELP a Help.\n# EOF\n", "a{b=\"c\"} 1\n# EOF\n", "# TYPE a gauge\na 1\n# EOF\n", "# TYPE a gauge\na{b=\"c\"} x\n# EOF\n", strings.Repeat("\n", 3)} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
