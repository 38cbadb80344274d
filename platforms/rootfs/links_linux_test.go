package rootfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms"
)

// TestHardLinks changes a file of a lower layer under one of its names.
func TestHardLinks(t *testing.T) {
	for name, tt := range map[string]struct{ first, then, want string }{
		"content and mode": {
			"echo one >/d/a; chmod 4755 /d/a; ln /d/a /d/b; ln /d/a /d/e/c",
			"echo two >>/d/b; chmod u-s /d/b",
			"/d/a 3 755 one two; /d/b 3 755 one two; /d/e/c 3 755 one two",
		},
		"one name is replaced": {
			"echo one >/d/a; ln /d/a /d/b",
			"echo two >/d/x; mv /d/x /d/b",
			"/d/a 1 644 one; /d/b 1 644 two",
		},
		"one name is removed": {
			"echo one >/d/a; ln /d/a /d/b; ln /d/a /d/c",
			"echo two >>/d/a; rm /d/a",
			"/d/b 2 644 one two; /d/c 2 644 one two",
		},
		"a name more": {
			"echo one >/d/a; ln /d/a /d/b",
			"ln /d/b /d/e/new; echo two >>/d/e/new",
			"/d/a 3 644 one two; /d/b 3 644 one two; /d/e/new 3 644 one two",
		},
		"a name below a directory that is moved": {
			"echo one >/d/a; ln /d/a /d/e/b",
			"mv /d/e /d/f; echo two >>/d/f/b",
			"/d/a 2 644 one two; /d/f/b 2 644 one two",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "")
			m := f.boot(t)
			if out, err := sh(m, "mkdir -p /d/e; "+tt.first); err != nil {
				t.Fatal(err, out)
			}
			l1 := f.commit(t, m, "first")
			const show = "; for f in $(find /d -type f | sort); do echo $f $(stat -c '%h %a' $f) $(cat $f)';'; done"
			got := func(out string) string { return strings.TrimSuffix(strings.ReplaceAll(out, "\n", " "), ";") }
			out, err := sh(m, tt.then+show)
			if err != nil || got(out) != tt.want {
				t.Errorf("in the step: %s, %v", out, err)
			}
			// A second command finds what the first one did.
			if out, err := sh(m, "true"+show); err != nil || got(out) != tt.want {
				t.Errorf("in the next command: %s, %v", out, err)
			}
			l2 := f.commit(t, m, "then")
			if out, err := sh(f.boot(t, l1, l2), "true"+show); err != nil || got(out) != tt.want {
				t.Errorf("on the layer: %s, %v", out, err)
			}
			noMarks(t, l2)
		})
	}
}

// TestRenameDirectory renames directories that a lower layer has.
func TestRenameDirectory(t *testing.T) {
	f := newFixture(t, "")
	m := f.boot(t)
	if out, err := sh(m, "mkdir -p /a/b/c /a/gone /z; echo 1 >/a/one; echo 2 >/a/b/two; echo 3 >/a/b/c/three; ln -s one /a/link; echo x >/a/x; touch -d @1000 /a/b /a"); err != nil {
		t.Fatal(err, out)
	}
	l1 := f.commit(t, m, "first")
	// mv copies where rename(2) fails, which gives another inode.
	rename := func(from, to string) string {
		return fmt.Sprintf("i=$(stat -c %%i %s); mv %s %s; test $i = $(stat -c %%i %s)", from, from, to, to)
	}
	script := strings.Join([]string{"set -e", "rm /a/x", "rmdir /a/gone", rename("/a", "/z/a"), rename("/z/a/b", "/b"), "echo new >/b/new", "mkdir /a", "touch -d @2000 /z/a"}, "\n")
	const show = "; cd /; find /a /b /z | sort; cat /z/a/one /b/two /b/c/three /b/new; readlink /z/a/link; stat -c %Y /z/a"
	out, err := sh(m, script+show)
	if err != nil {
		t.Fatal(err, out)
	}
	l2 := f.commit(t, m, "then")
	again, err := sh(f.boot(t, l1, l2), "true"+show)
	if err != nil || again != out {
		t.Errorf("the layer has\n%s\n%v; the step saw\n%s", again, err, out)
	}
	want := "/a /b /b/c /b/c/three /b/new /b/two /z /z/a /z/a/link /z/a/one 1 2 3 new one"
	if got := strings.ReplaceAll(out, "\n", " "); !strings.HasPrefix(got, want) {
		t.Errorf("the step saw %s, want %s", got, want)
	}
	noMarks(t, l2)
}

// noMarks fails if a layer has marks of overlayfs that need the layers below.
func noMarks(t *testing.T, l platforms.Layer) {
	t.Helper()
	buf := make([]byte, 4096)
	err := filepath.WalkDir(filepath.Join(l.Dir, "fs"), func(p string, _ os.DirEntry, err error) error {
		for _, name := range []string{"redirect", "metacopy"} {
			if n, err := unix.Lgetxattr(p, "trusted.overlay."+name, buf); err == nil {
				t.Errorf("%s has the mark %s: %q", p, name, buf[:n])
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
