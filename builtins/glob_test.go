package builtins

import (
	"strings"
	"testing"
)

func TestAlternatives(t *testing.T) {
	for p, want := range map[string]int{
		"": 1, "a*": 1, "{a}": 1, "{a,b}": 2, "{a,b}{c,d,e}": 6, "{a,{b,c}{d,e}}": 5, `\{a,b}`: 1, "[{,]{a,b}": 2, "a,b": 1, "{a,b": 1, "}": 1, "{,a}": 2,
		strings.Repeat("{a,b}", 9): 512, strings.Repeat("{a,b}", 10): maxAlternatives + 1, strings.Repeat("{a,b}", 5000): maxAlternatives + 1,
		strings.Repeat("{", 5000) + "a,b" + strings.Repeat("}", 5000): 2,
	} {
		if got := alternatives(p); got != want {
			t.Errorf("%.40q: %d, want %d", p, got, want)
		}
	}
}
