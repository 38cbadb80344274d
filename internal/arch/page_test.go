package arch

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPageNamesEveryPackage holds the tables of docs/architecture.md: each package of the
// module has its job there, once.
func TestPageNamesEveryPackage(t *testing.T) {
	page, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for _, p := range packages(t) {
		want[strings.TrimPrefix(p.ImportPath, module)] = 1
	}
	got := map[string]int{}
	name := regexp.MustCompile("`([a-z]+(?:/[a-z0-9-]+)*)`")
	_, tables, _ := strings.Cut(string(page), "\n## Packages\n")
	tables, _, _ = strings.Cut(tables, "\n### Imports\n")
	for line := range strings.Lines(tables) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, m := range name.FindAllStringSubmatch(cells[1], -1) {
			got[m[1]]++
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/architecture.md: packages and how often they have a job (-want +got):\n%s", diff)
	}
}
