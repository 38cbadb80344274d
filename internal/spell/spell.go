// Package spell finds the name that a user most likely meant.
package spell

import (
	"fmt"
	"sort"
	"strings"
)

// Nearest returns the candidate that is nearest to name, or "" when none is
// near: at most a third of the letters may differ, swapped neighbours count as
// one, case and the separators "-" and "_" do not count.
func Nearest(name string, candidates []string) string {
	most := min(len([]rune(name))/3, 3)
	if len(name) >= 2 {
		most = max(most, 1)
	}
	best, bestDistance := "", most+1
	folded := fold(name)
	for _, c := range candidates {
		if d := distance(folded, fold(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// Hint says what else name could have been: ` (did you mean "x"?)` when a
// candidate is near, otherwise the list of all, as `; there are a, b and c`.
// what names the candidates in the list, such as "options". It returns "" when
// there are no candidates.
func Hint(name, what string, candidates []string) string {
	if n := Nearest(name, candidates); n != "" {
		return fmt.Sprintf(" (did you mean %q?)", n)
	}
	if len(candidates) == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s: %s)", what, List(candidates))
}

// List joins names, sorted, with commas; a long list is cut.
func List(names []string) string {
	const most = 30
	sorted := append([]string(nil), names...)
	sort.Strings(sorted)
	if len(sorted) > most {
		return strings.Join(sorted[:most], ", ") + fmt.Sprintf(" and %d more", len(sorted)-most)
	}
	return strings.Join(sorted, ", ")
}

func fold(s string) []rune {
	return []rune(strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s)))
}

// distance is the optimal string alignment distance: insertions, deletions,
// substitutions and swaps of neighbours, each once.
func distance(a, b []rune) int {
	two := make([]int, len(b)+1)
	one := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one, row = one, row, two
	}
	return one[len(b)]
}
