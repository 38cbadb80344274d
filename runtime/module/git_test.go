package module

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/starlark/module"
)

// A forge is a folder with git repositories, served by git's own HTTP server.
type forge struct {
	t    *testing.T
	root string
	url  string
	gets atomic.Int64 // requests
}

// newForge starts a server. Its address is https, with a certificate that git is told
// to trust.
func newForge(t *testing.T) *forge {
	t.Helper()
	need.Tool(t, "git")
	core, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := filepath.Join(strings.TrimSpace(string(core)), "git-http-backend")
	need.File(t, backend)
	f := &forge{t: t, root: t.TempDir()}
	handler := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + f.root, "GIT_HTTP_EXPORT_ALL=1"}, InheritEnv: []string{"PATH", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"}, Stderr: io.Discard, Logger: log.New(io.Discard, "", 0)}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.gets.Add(1)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"GIT_SSL_CAINFO": ca, "GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_SYSTEM": os.DevNull, "HOME": t.TempDir(),
		"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@e.example", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@e.example",
	} {
		t.Setenv(name, value)
	}
	return f
}

// git runs git in a repository of the forge and returns what it prints.
func (f *forge) git(repository string, args ...string) string {
	f.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", filepath.Join(f.root, repository), "-c", "init.defaultBranch=main", "-c", "advice.detachedHead=false"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatalf("git %q: %v\n%s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// commit makes the files, as golden describes them, the next commit of a repository.
func (f *forge) commit(repository string, files map[string]string) string {
	f.t.Helper()
	dir := filepath.Join(f.root, repository)
	if _, err := os.Stat(dir); err != nil {
		if err := os.Mkdir(dir, 0o755); err != nil {
			f.t.Fatal(err)
		}
		f.git(repository, "init", "--quiet")
	}
	writeDir(f.t, dir, files)
	f.git(repository, "add", "--all", "--force")
	f.git(repository, "commit", "--quiet", "--message=m")
	return f.git(repository, "rev-parse", "HEAD")
}

func (f *forge) source(repository string) module.Source {
	return parse(f.t, "git+"+f.url+"/"+repository)
}

func digestOfDir(t *testing.T, dir string) module.Digest {
	t.Helper()
	d, err := Verify(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestGit fetches a tag, an annotated tag, a branch and commits.
func TestGit(t *testing.T) {
	f := newForge(t)
	// Neither line ends nor what an attribute says of them are changed.
	files := map[string]string{".gitattributes": "*.md text eol=crlf\nsecret export-ignore\n*.star export-subst\n", "x.md": "a\nb\n", "secret": "s", "v.star": "# $Format:%H$\n"}
	for name, content := range golden {
		files[name] = content
	}
	first := f.commit("golden", files)
	f.git("golden", "tag", "v1.0.0")
	want := digestOfDir(t, filepath.Join(f.root, "golden"))
	between := f.commit("golden", map[string]string{"between": "1"})
	last := f.commit("golden", map[string]string{"last": "1"})
	f.git("golden", "tag", "-a", "-m", "m", "v1.1.0")
	f.git("golden", "branch", "feature/x")
	src := f.source("golden")

	fetcher := newFetcher(t)
	versions, err := fetcher.Versions(t.Context(), src)
	if slices.Sort(versions); err != nil || !slices.Equal(versions, []string{"v1.0.0", "v1.1.0"}) {
		t.Errorf("Versions = %q, %v", versions, err)
	}
	for version, commit := range map[string]string{"v1.0.0": first, first: first, between: between, "v1.1.0": last, "feature/x": last, "main": last} {
		got, err := fetcher.Fetch(t.Context(), src, version, "")
		if err != nil || got.Commit != commit {
			t.Errorf("Fetch %s = %+v, %v; want commit %s", version, got, err, commit)
		}
		if commit == first && got.Digest != want {
			t.Errorf("Fetch %s: digest %s, want that of the checkout, %s", version, got.Digest, want)
		}
	}
	// What git archive makes of it, without the attributes, is the same tree.
	f.git("golden", "rm", "--quiet", ".gitattributes")
	f.git("golden", "commit", "--quiet", "--message=m")
	f.git("golden", "tag", "v1.2.0")
	tree, err := fetcher.Fetch(t.Context(), src, "v1.2.0", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"tar", "tar.gz", "zip"} {
		out := f.git("golden", "archive", "--format="+format, "--prefix=golden-1.2.0/", "--output="+filepath.Join(f.root, "a."+format), "v1.2.0")
		b, err := os.ReadFile(filepath.Join(f.root, "a."+format))
		if err != nil {
			t.Fatal(err, out)
		}
		got, err := fetcher.Fetch(t.Context(), serve(t, "a."+format, b), "v1.2.0", "")
		if err != nil || got.Digest != tree.Digest {
			t.Errorf("git archive --format=%s: %+v, %v; want %s", format, got, err, tree.Digest)
		}
	}
}

// TestGitFolder fetches modules of one repository, with tags of their own.
func TestGitFolder(t *testing.T) {
	f := newForge(t)
	files := map[string]string{"README": "r"}
	for name, content := range golden {
		files["modules/golden/"+name] = content
	}
	f.commit("mono", files)
	f.git("mono", "tag", "modules/golden/v1.0.0")
	f.git("mono", "tag", "v9.0.0")
	src := parse(t, "git+"+f.url+"/mono?dir=modules/golden")
	fetcher := newFetcher(t)
	if got, err := fetcher.Versions(t.Context(), src); err != nil || !slices.Equal(got, []string{"v1.0.0"}) {
		t.Errorf("Versions = %q, %v", got, err)
	}
	want := digestOfDir(t, writeDir(t, t.TempDir(), golden))
	if got, err := fetcher.Fetch(t.Context(), src, "v1.0.0", want); err != nil || got.Digest != want {
		t.Errorf("Fetch = %+v, %v; want %s", got, err, want)
	}
	if _, err := fetcher.Fetch(t.Context(), parse(t, "git+"+f.url+"/mono?dir=modules/none"), "v9.0.0", ""); err == nil || !strings.Contains(err.Error(), `no folder "modules/none"`) {
		t.Errorf("another folder: %v", err)
	}
}

// TestMovedTag moves a tag after it was locked.
func TestMovedTag(t *testing.T) {
	f := newForge(t)
	f.commit("golden", golden)
	f.git("golden", "tag", "v1.0.0")
	src := f.source("golden")
	tree, err := newFetcher(t).Fetch(t.Context(), src, "v1.0.0", "")
	if err != nil {
		t.Fatal(err)
	}
	moved := f.commit("golden", map[string]string{"golden.star": "evil\n"})
	f.git("golden", "tag", "--force", "v1.0.0")
	other := newFetcher(t)
	_, err = other.Fetch(t.Context(), src, "v1.0.0", tree.Digest)
	m := (*MismatchError)(nil)
	if !errors.As(err, &m) || m.Want != tree.Digest || m.Commit != moved {
		t.Errorf("error %v, want a MismatchError that names the commit %s", err, moved)
	}
	nothingKept(t, other)
	// Who has the files does not ask.
	if got, err := (&Fetcher{Store: other.Store}).Fetch(t.Context(), src, moved, ""); err != nil || got.Digest == tree.Digest {
		t.Errorf("the commit itself: %+v, %v", got, err)
	}
}

// TestGitOnce asks nothing but the refs for a commit that the store has.
func TestGitOnce(t *testing.T) {
	f := newForge(t)
	commit := f.commit("golden", golden)
	f.git("golden", "tag", "v1.0.0")
	fetcher := newFetcher(t)
	tree, err := fetcher.Fetch(t.Context(), f.source("golden"), commit, "")
	if err != nil {
		t.Fatal(err)
	}
	f.gets.Store(0)
	if got, err := fetcher.Fetch(t.Context(), f.source("golden"), "v1.0.0", ""); err != nil || got != tree {
		t.Errorf("Fetch = %+v, %v; want %+v", got, err, tree)
	}
	if f.gets.Load() > 2 {
		t.Errorf("%d requests for the refs", f.gets.Load())
	}
	f.gets.Store(0)
	if got, err := fetcher.Fetch(t.Context(), f.source("golden"), "v1.0.0", tree.Digest); err != nil || got.Dir != tree.Dir || f.gets.Load() > 0 {
		t.Errorf("Fetch of what is locked = %+v, %v, with %d requests", got, err, f.gets.Load())
	}
}

// TestGitRefused has repositories and versions that bake does not take.
func TestGitRefused(t *testing.T) {
	f := newForge(t)
	fetcher := newFetcher(t)
	f.commit("golden", golden)
	f.git("golden", "tag", "v1.0.0")
	for version, want := range map[string]string{
		"v2.0.0":                "there are v1.0.0",
		"--upload-pack=id":      "not the name of a tag",
		"a..b":                  "not the name of a tag",
		"refs/heads/main@{1}":   "not the name of a tag",
		":/m":                   "not the name of a tag",
		"":                      "not the name of a tag",
		"abcdef0":               "with all its digits",
		strings.Repeat("a", 40): "has no commit",
	} {
		if _, err := fetcher.Fetch(t.Context(), f.source("golden"), version, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("version %q: %v; want %q", version, err, want)
		}
	}
	if _, err := fetcher.Fetch(t.Context(), f.source("none"), "v1.0.0", ""); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("no repository: %v", err)
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"lfs":    {map[string]string{"bake.mod": "x", "big": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"}, "git LFS"},
		"escape": {map[string]string{"bake.mod": "x", "l": "->../../etc/passwd"}, "leads out of the module"},
		"case":   {map[string]string{"bake.mod": "x", "Lib/a": "x", "lib/b": ""}, "differ in case alone"},
	} {
		f.commit(name, c.files)
		if _, err := fetcher.Fetch(t.Context(), f.source(name), "main", ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	f.commit("sub", map[string]string{"bake.mod": "x"})
	f.git("sub", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", filepath.Join(f.root, "golden"), "vendor/golden")
	f.git("sub", "commit", "--quiet", "--message=m")
	if _, err := fetcher.Fetch(t.Context(), f.source("sub"), "main", ""); err == nil || !strings.Contains(err.Error(), "submodule") {
		t.Errorf("submodule: %v", err)
	}
	nothingKept(t, fetcher)
}

// TestGitAsksNobody has a server that wants a password, and an environment that would
// have git ask for it or work on another repository.
func TestGitAsksNobody(t *testing.T) {
	newForge(t)
	asked := filepath.Join(t.TempDir(), "asked")
	askpass := filepath.Join(t.TempDir(), "askpass")
	if err := os.WriteFile(askpass, []byte("#!/bin/sh\ntouch "+asked+"\necho x\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSH_ASKPASS", askpass)
	t.Setenv("GIT_DIR", "/nonexistent")
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	t.Setenv("GIT_SSL_CAINFO", "")
	t.Setenv("GIT_SSL_NO_VERIFY", "1")
	_, err := newFetcher(t).Versions(t.Context(), parse(t, "git+"+server.URL+"/x"))
	if err == nil || !strings.Contains(err.Error(), "could not read Username") {
		t.Errorf("error %v, want that there is no name", err)
	}
	if _, err := os.Stat(asked); err == nil {
		t.Error("a program was started that asks")
	}
}

// TestGitFile fetches from a folder of this machine.
func TestGitFile(t *testing.T) {
	f := newForge(t)
	commit := f.commit("golden", golden)
	got, err := newFetcher(t).Fetch(t.Context(), parse(t, "git+file://"+filepath.ToSlash(f.root)+"/golden"), "main", "")
	if err != nil || got.Commit != commit {
		t.Errorf("Fetch = %+v, %v; want commit %s", got, err, commit)
	}
}
