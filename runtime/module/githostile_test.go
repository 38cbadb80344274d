package module

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/starlark/module"
)

// A gitEntry is an entry of a tree that git itself would not write.
type gitEntry struct{ mode, name, id string }

// hashObject writes an object into a repository, whatever it is.
func (f *forge) hashObject(repository, kind string, content []byte) string {
	f.t.Helper()
	cmd := exec.Command("git", "-C", filepath.Join(f.root, repository), "hash-object", "-t", kind, "-w", "--stdin", "--literally")
	cmd.Stdin = bytes.NewReader(content)
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// tree writes a tree as it is given.
func (f *forge) tree(repository string, entries ...gitEntry) string {
	f.t.Helper()
	var b bytes.Buffer
	for _, e := range entries {
		id, err := hex.DecodeString(e.id)
		if err != nil {
			f.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s\x00%s", e.mode, e.name, id)
	}
	return f.hashObject(repository, "tree", b.Bytes())
}

// TestHostileGit has commits that no git would make: their files would lie elsewhere, be
// written through links, or be git's own.
func TestHostileGit(t *testing.T) {
	f := newForge(t)
	f.commit("evil", map[string]string{"bake.mod": "module(\"a.example/b\")\n"})
	blob := f.hashObject("evil", "blob", []byte("evil\n"))
	link := f.hashObject("evil", "blob", []byte("/etc"))
	mod := gitEntry{"100644", module.FileName, blob}
	inner := f.tree("evil", gitEntry{"100644", "passwd", blob})
	src := parse(t, "git+file://"+filepath.ToSlash(f.root)+"/evil")
	for name, c := range map[string]struct {
		entries []gitEntry
		want    string // "" for a tree with bake.mod alone
	}{
		"parent":       {[]gitEntry{{"40000", "..", inner}, mod}, "leads elsewhere"},
		"slash":        {[]gitEntry{{"100644", "../../evil", blob}, mod}, "leads elsewhere"},
		"absolute":     {[]gitEntry{{"100644", "/etc/evil", blob}, mod}, "empty element"},
		"through link": {[]gitEntry{{"120000", "a", link}, {"40000", "a", inner}, mod}, "is not a directory"},
		"twice":        {[]gitEntry{mod, mod}, "there twice"},
		"escapes":      {[]gitEntry{{"100644", "a\x1b[2J\n", blob}, mod}, "is not seen"},
		"git's own":    {[]gitEntry{{"40000", ".GIT", inner}, {"40000", ".git", inner}, mod}, ""},
		"no object":    {[]gitEntry{mod, {"100644", "missing", strings.Repeat("ab", 20)}}, "git"},
	} {
		commit := f.hashObject("evil", "commit", fmt.Appendf(nil, "tree %s\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nm\n", f.tree("evil", c.entries...)))
		f.git("evil", "update-ref", "refs/tags/v1.0.0", commit)
		fetcher := newFetcher(t)
		tree, err := fetcher.Fetch(t.Context(), src, "v1.0.0", "")
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v; want %q", name, err, c.want)
			}
			nothingKept(t, fetcher)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if entries, err := os.ReadDir(tree.Dir); err != nil || len(entries) != 1 {
			t.Errorf("%s: %v, %v; want %s alone", name, entries, err, module.FileName)
		}
	}
}

// TestGitSSH fetches over OpenSSH, with the ssh that the user's configuration of git
// names. The server is started by the client, and has no port.
func TestGitSSH(t *testing.T) {
	need.Root(t)
	need.Tool(t, "ssh", "ssh-keygen", "unshare")
	const sshd = "/usr/sbin/sshd"
	need.File(t, sshd)
	f := newForge(t)
	commit := f.commit("golden", golden)
	dir := t.TempDir()
	for _, key := range []string{"host", "user"} {
		run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
	}
	pub, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		// Where sshd was not started, the directory is missing that it wants.
		"serve.sh":    "mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec " + sshd + " -i -f " + dir + "/sshd_config\n",
		"sshd_config": "HostKey " + dir + "/host\nAuthorizedKeysFile " + dir + "/user.pub\nStrictModes no\nUsePAM no\nPidFile none\nSetEnv GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*\n",
		"known_hosts": "git.example " + string(pub),
		"ssh_config": "Host git.example\n  ProxyCommand unshare --mount sh " + dir + "/serve.sh 2>/dev/null\n  IdentityFile " + dir + "/user\n" +
			"  IdentitiesOnly yes\n  UserKnownHostsFile " + dir + "/known_hosts\n  BatchMode yes\n",
		"gitconfig": "[core]\n\tsshCommand = ssh -F " + dir + "/ssh_config\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(dir, "gitconfig"))
	src := parse(t, "git+ssh://git.example"+filepath.ToSlash(f.root)+"/golden")
	got, err := newFetcher(t).Fetch(t.Context(), src, "main", "")
	if err != nil || got.Commit != commit {
		t.Errorf("Fetch = %+v, %v; want commit %s", got, err, commit)
	}
	// Another host key than the known one is an error, and nobody is asked.
	if err := os.WriteFile(filepath.Join(dir, "known_hosts"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := newFetcher(t).Fetch(t.Context(), src, "main", ""); err == nil || !strings.Contains(err.Error(), "Host key verification failed") {
		t.Errorf("Fetch from an unknown host = %+v, %v", got, err)
	}
}
