package builtins

import (
	"strings"
	"testing"
)

func TestJSONDepth(t *testing.T) {
	for _, text := range []string{
		`json.decode("[" * 9000 + "]" * 9000)`,
		`json.decode("[" + "[1], " * 20000 + "1]")`,
		`json.decode("[\"" + "[" * 20000 + "\\\"[\"]")`,
		`if json.decode("nope[", default = 1) != 1: fail("default")`,
		`if json.encode({"a": [1]}) != '{"a":[1]}': fail("encode")`,
	} {
		if _, _, err := evaluate(t, "", text, nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{`json.decode("[" * 20000000)`, `json.decode('{"a":' * 20000)`} {
		if _, _, err := evaluate(t, "", text, nil); err == nil || !strings.Contains(err.Error(), "more than 10000 deep") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
