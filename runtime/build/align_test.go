package build_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
)

// TestChanges builds a chain of steps and says what another one changes in it. A step is
// FUNCTION: TEXT, made by a library or by hand; what it runs is its text.
func TestChanges(t *testing.T) {
	const built = "apt: a|user: b|write: /etc/c|apt: d"
	for _, c := range []struct {
		name, now, want string
		reason          string // of the last step
	}{
		{"nothing", built, "", ""},
		{"added at the end", built + "|apt: e", "apt: e new", "new"},
		{"added in the middle", "apt: a|kernel: e|user: b|write: /etc/c|apt: d", "kernel: e new", "its parent changed"},
		{"added at the beginning", "kernel: e|" + built, "kernel: e new", "its parent changed"},
		{"added twice", "apt: a|kernel: e|kernel: f|user: b|write: /etc/c|user: g|apt: d", "kernel: e new, kernel: f new, user: g new", "its parent changed"},
		{"changed", "apt: a e|user: b|write: /etc/c|apt: d", "apt: a e script", "its parent changed"},
		{"changed and added", "apt: a|user: f|kernel: e|write: /etc/c|apt: d", "user: f script, kernel: e new", "its parent changed"},
		{"another function", "apt: a|kernel: b|write: /etc/c|apt: d", "kernel: b new, write: /etc/c after user: b", "its parent changed"},
		{"removed in the middle", "apt: a|write: /etc/c|apt: d", "write: /etc/c after user: b", "its parent changed"},
		{"removed two", "apt: a|apt: d", "apt: d after write: /etc/c, user: b", "a step before it was removed"},
		{"removed at the end", "apt: a|user: b|write: /etc/c", "export: web after apt: d", ""},
		{"moved", "user: b|apt: a|write: /etc/c|apt: d", "user: b after apt: a, apt: a new", "its parent changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := config(t, chainOf(built))
			open := func(use func(*build.Build) error) {
				t.Helper()
				if err := build.Use(t.Context(), conf, "images.star", use); err != nil {
					t.Fatal(err)
				}
			}
			open(func(b *build.Build) error {
				_, err := b.Run(t.Context(), build.Targets(b.Definition), build.Options{})
				return err
			})
			if err := os.WriteFile(filepath.Join(conf.Dir, "images.star"), []byte(chainOf(c.now)), 0o644); err != nil {
				t.Fatal(err)
			}
			open(func(b *build.Build) error {
				past, err := b.Past()
				if err != nil {
					return err
				}
				web := b.Definition.Artifacts[0]
				changes, known := past.Changes(web.Node)
				if got := told(changes); got != c.want || !known {
					t.Errorf("(-want +got), known: %t\n%s", known, cmp.Diff(c.want, got))
				}
				if got := past.Reason(lastStep(b.Definition, c.now)); got != c.reason {
					t.Errorf("reason %q, want %q", got, c.reason)
				}
				return nil
			})
		})
	}
}

func chainOf(steps string) string {
	text := "m = source(fake(), text = \"origin\")\n"
	for step := range strings.SplitSeq(steps, "|") {
		if _, path, ok := strings.Cut(step, "write: "); ok {
			text += "m = write(m, \"" + path + "\", \"text\")\n"
			continue
		}
		text += "m = shell(m, \"echo " + step + "\", name = \"" + step + "\")\n"
	}
	return text + "export(m, \"web\", formats = [\"tar\"])\n"
}

// told lists changes by the names of steps.
func told(changes []build.Change) string {
	var list []string
	for _, c := range changes {
		text := c.Node.Name
		if c.Was == nil {
			text += " new"
		}
		for _, f := range c.Fields {
			text += " " + f.Option()
		}
		if len(c.Gone) > 0 {
			var gone []string
			for _, was := range c.Gone {
				gone = append(gone, was.Name)
			}
			text += " after " + strings.Join(gone, ", ")
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func lastStep(d *builtins.Definition, steps string) (last *plan.Node) {
	for _, n := range d.Plan.Nodes {
		if strings.HasSuffix(steps, n.Name) {
			last = n
		}
	}
	return last
}
