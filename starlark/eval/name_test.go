package eval

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// TestName finds a project's identity in its files.
func TestName(t *testing.T) {
	need.Tool(t, "git")
	git := func(dir string, args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	name := func(dir string) string {
		t.Helper()
		file := filepath.Join(dir, "images.star")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := OpenProject(file, dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Name()
		if err != nil {
			return err.Error()
		}
		return got
	}
	top := t.TempDir()
	if got := name(top); got != "" {
		t.Errorf("no repository: %q", got)
	}
	git(top, "init", "-q")
	if got := name(top); got != "" {
		t.Errorf("no remote: %q", got)
	}
	git(top, "remote", "add", "origin", "none")
	for url, want := range map[string]string{
		"git@example.org:acme/images.git": "acme/images", "https://user@example.org/acme/images/": "acme/images", "ssh://git@example.org:22/acme/deep/images.git": "acme/deep/images",
		"/srv/git/images.git": "", "file:///srv/git/images.git": "", "../images": "",
	} {
		git(top, "remote", "set-url", "origin", url)
		if got := name(top); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	git(top, "remote", "set-url", "origin", "git@example.org:acme/images.git")
	git(top, "commit", "-q", "--allow-empty", "-m", "x")
	linked := filepath.Join(t.TempDir(), "linked")
	git(top, "worktree", "add", "-q", linked)
	if got := name(linked); got != "acme/images" {
		t.Errorf("a work tree: %q", got)
	}
	sub := filepath.Join(top, "web", "base")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(sub, "BAKE_ROOT")
	for text, want := range map[string]string{
		"": "acme/images/web/base", "# ours\n\nshop-images\nmore\n": "shop-images", "a name\n": `BAKE_ROOT: project name "a name"`,
	} {
		if err := os.WriteFile(root, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := name(sub); !strings.HasPrefix(got, want) || len(got) > len(want) && !strings.Contains(got, ": want") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
