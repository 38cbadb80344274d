package stdlib_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/op"
)

// TestShellcheck has shellcheck read every script that the library makes for the real
// Debian, with its branches for other distributions.
func TestShellcheck(t *testing.T) {
	need.Tool(t, "shellcheck")
	project, scripts := t.TempDir(), t.TempDir()
	if err := os.CopyFS(project, os.DirFS("testdata/debian")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.pem", "repo.asc"} {
		if err := os.WriteFile(filepath.Join(project, name), []byte("-----BEGIN PGP PUBLIC KEY BLOCK----- -----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256(nil)
	digest := hex.EncodeToString(sum[:])
	c := config(project, t.TempDir(), "http=http://a.example", "https=https://a.example", "tar="+digest, "zip="+digest)
	d, err := build.Evaluate(t.Context(), c, filepath.Base(twice))
	if err != nil {
		t.Fatal(err)
	}
	// Literals that are another program's, conditions in one line, files of the machine.
	args := []string{"--shell=sh", "--format=gcc", "--exclude=SC2016,SC2015,SC1091"}
	seen := map[string]bool{}
	for _, n := range d.Plan.Nodes {
		s, ok := n.Op.(*op.Shell)
		if !ok || seen[s.Command.Script] {
			continue
		}
		seen[s.Command.Script] = true
		file := filepath.Join(scripts, strings.NewReplacer(" ", "-", "/", "-").Replace(fmt.Sprintf("%d %s", len(args), n.Name)))
		if err := os.WriteFile(file, []byte(s.Command.Script), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if len(seen) < 60 {
		t.Errorf("%d scripts", len(seen))
	}
	out, err := exec.Command("shellcheck", args...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
