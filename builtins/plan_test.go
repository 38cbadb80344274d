package builtins

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// projectFiles are what the definitions of testdata find beside them.
var projectFiles = map[string]string{
	"site/index.html":    "<h1>hello</h1>\n",
	"site/img/logo.svg":  "<svg/>\n",
	"site/notes.md":      "drop me\n",
	"conf/a.conf":        "a\n",
	"conf/b.conf":        "b\n",
	"conf/.hidden.conf":  "h\n",
	"motd":               "welcome\n",
	"scripts/harden.sh":  "#!/bin/bash\nset -eu\nrm -f /etc/motd\n",
	"disks/base.raw":     "not really a disk\n",
	"lib/hardening.star": "def harden(m):\n    return shell(m, script = \"../scripts/harden.sh\")\n",
	"params.json":        "{}",
}

// TestPlans evaluates testdata/plans/*.star and compares the plans with the
// golden files beside them; -update rewrites those.
func TestPlans(t *testing.T) {
	files, err := filepath.Glob("testdata/plans/*.star")
	if err != nil || len(files) == 0 {
		t.Fatal("no definitions", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".star"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			writeFiles(t, dir, projectFiles)
			d, project, err := evaluate(t, dir, string(text), nil)
			if err != nil {
				t.Fatalf("%v\n%v", err, eval.Frames(err))
			}
			seal(t, d.Plan)
			got := strings.ReplaceAll(dump(d), project.Root, "ROOT")
			golden := strings.TrimSuffix(file, ".star") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the plan changed (-want +got), run with -update if it should:\n%s", diff)
			}
		})
	}
}

func seal(t testing.TB, p *plan.Plan) {
	t.Helper()
	if err := p.HashInputs(context.Background(), plan.HashFile{}); err != nil {
		t.Fatal(err)
	}
	if err := p.Seal(func(p *plan.Platform) (string, error) { return p.ID(), nil }); err != nil {
		t.Fatal(err)
	}
}

// dump writes a definition for people to compare.
func dump(d *Definition) string {
	var b strings.Builder
	for _, n := range d.Plan.Nodes {
		fmt.Fprintf(&b, "%d %s\n", n.ID, n.Name)
		for _, p := range n.Pos {
			fmt.Fprintf(&b, "    at %s %s\n", p, p.Func)
		}
		for _, f := range n.Preimage {
			fmt.Fprintf(&b, "    %s = %s\n", f.Name, quote(f.Value))
		}
		if n.Run != (plan.RunOptions{}) {
			fmt.Fprintf(&b, "    run %+v\n", n.Run)
		}
		for _, a := range n.After {
			fmt.Fprintf(&b, "    after %d\n", a.ID)
		}
	}
	for _, a := range d.Artifacts {
		fmt.Fprintf(&b, "artifact %s = %d\n", a.Name, a.Node.ID)
	}
	for _, a := range d.Tests {
		fmt.Fprintf(&b, "test %s = %d\n", a.Name, a.Node.ID)
	}
	for _, p := range d.Params {
		fmt.Fprintf(&b, "param %s %s = %v\n", p.Name, p.Type, p.Text())
	}
	for _, s := range d.Secrets {
		fmt.Fprintf(&b, "secret %s (%s)\n", s.Name, s.Env)
	}
	return b.String()
}

// quote writes s in JSON, without its escapes of HTML.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil {
		return s
	}
	return strings.TrimSpace(b.String())
}
