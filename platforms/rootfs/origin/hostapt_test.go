package origin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzSources has the files of apt read in both forms: an address is one word.
func FuzzSources(f *testing.F) {
	f.Add("deb [arch=amd64] http://deb.example/debian bookworm main\n", "Types: deb\nURIs: http://a.example\n http://b.example\nEnabled: no\n\nURIs: x\n")
	f.Add("deb [\ndeb ]", ":\n \n#\nURIs:")
	f.Fuzz(func(t *testing.T, list, sources string) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "sources.list.d"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"sources.list": list, "sources.list.d/x.sources": sources} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, uri := range append(oneLineSources(dir), deb822Sources(dir)...) {
			if len(strings.Fields(uri)) != 1 {
				t.Errorf("the address %q", uri)
			}
		}
	})
}
