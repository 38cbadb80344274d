package builtins

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/op"
)

func TestImageConfig(t *testing.T) {
	for _, c := range []struct{ config, want, err string }{
		{`{"tag": "v1", "cmd": ["a"], "env": {"B": "2", "A": "1"}}`, `{"cmd":["a"],"env":{"A":"1","B":"2"},"tag":"v1"}`, ""},
		{`{"ports": [80, "53/udp"], "user": 1000, "labels": {"n": 1}}`, `{"user":"1000","labels":{"n":"1"},"ports":["80","53/udp"]}`, ""},
		{`{"ports": 80}`, "", "got int, want list of strings"},
		{`{"ports": {"80": ""}}`, "", "got dict, want list of strings"},
		{`{"env": [1]}`, "", "got list, want dict of strings"},
		{`{"ports": [True]}`, "", "got bool, want string"},
		{`{"comand": ["a"]}`, "", `unknown keyword "comand"`},
		{`{"ports": ["http"]}`, "", `want a port such as "80"`},
		{`{"workdir": "srv"}`, "", `"srv" is not an absolute path`},
		{`{"env": {"A=B": ""}}`, "", "not the name of a variable"},
		{`{"cmd": "sh"}`, "", "got string, want list of strings"},
		{`{}`, "", "says nothing"},
		{`["a"]`, "", "got list, want dict"},
	} {
		d, _, err := evaluate(t, "", `export(source(rootfs(), scratch = True), "x", formats = ["oci"], config = `+c.config+`)`, nil)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.config, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.config, err)
			continue
		}
		if got := string(d.Plan.Nodes[1].Op.(*export.Op).Config); got != c.want {
			t.Errorf("%s: %s, want %s", c.config, got, c.want)
		}
	}
	if _, _, err := evaluate(t, "", `export(source(rootfs(), scratch = True), "x", formats = ["tar"], config = {"user": "a"})`, nil); err == nil || !strings.Contains(err.Error(), "none of the formats tar is a container image") {
		t.Errorf("config of a tar: %v", err)
	}
}

// TestLayoutFolders: a layout beside the definition is meant by its name, with a
// tag or without; other names are references.
func TestLayoutFolders(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lay/oci-layout", "debian/rules"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for ref, want := range map[string]string{"lay": `{}`, "lay:v1": `{"oci":":v1"}`, "./lay:v1": `{"oci":":v1"}`, "debian": `{"oci":"debian"}`, "debian:12": `{"oci":"debian:12"}`} {
		d, _, err := evaluate(t, dir, `source(rootfs(), oci = "`+ref+`")`, nil)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		s := d.Plan.Nodes[0].Op.(*op.Source)
		if isFile := len(s.Files) == 1; string(s.Options) != want || isFile != (ref != "debian" && ref != "debian:12") {
			t.Errorf("%s: options %s, files %d, want %s", ref, s.Options, len(s.Files), want)
		}
	}
}
