package cover

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMakeHosts adds names to files of images.
func TestMakeHosts(t *testing.T) {
	for name, tt := range map[string]struct{ had, host, want string }{
		"none":         {"", "", "127.0.0.1 localhost|::1 localhost ip6-localhost ip6-loopback|127.0.1.1 bake"},
		"no line end":  {"127.0.0.1 localhost", "", "127.0.0.1 localhost|127.0.1.1 bake"},
		"host's names": {"127.0.0.1 localhost\n", "127.0.0.1 localhost here # x\n#\n192.0.2.1 mirror bake\n", "127.0.0.1 localhost|127.0.1.1 bake|127.0.0.1 here|192.0.2.1 mirror"},
		"both know it": {"192.0.2.9 mirror\n", "192.0.2.1 mirror\n", "192.0.2.9 mirror|127.0.1.1 bake"},
	} {
		t.Run(name, func(t *testing.T) {
			root, dir := t.TempDir(), t.TempDir()
			if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
				t.Fatal(err)
			}
			if tt.had != "" {
				if err := os.WriteFile(filepath.Join(root, "etc/hosts"), []byte(tt.had), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			c, err := Make(root, dir, Options{Hostname: "bake", Hosts: []byte(tt.host)})
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, "etc/hosts"))
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for line := range strings.Lines(string(b)) {
				line, _, _ = strings.Cut(line, mark)
				lines = append(lines, strings.Join(strings.Fields(line), " "))
			}
			if got := strings.Join(lines, "|"); got != tt.want {
				t.Errorf("hosts: %s, want %s", got, tt.want)
			}
			// A step that copied the file up and changed nothing.
			if err := os.WriteFile(filepath.Join(root, "etc/hosts"), b, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := c.Settle(root); err != nil {
				t.Fatal(err)
			}
			left, err := os.ReadFile(filepath.Join(root, "etc/hosts"))
			if string(left) != tt.had || (err != nil) != (tt.had == "") {
				t.Errorf("left: %q, %v, want %q", left, err, tt.had)
			}
		})
	}
}

// TestSettleFollowsNoLink settles what steps put in the place of directories.
func TestSettleFollowsNoLink(t *testing.T) {
	root, dir, outside := t.TempDir(), t.TempDir(), t.TempDir()
	c, err := Make(root, dir, Options{Hostname: "bake"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "etc/hosts"))
	if err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(outside, "hosts")
	if err := os.WriteFile(victim, b, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func() error{
		"etc":       func() error { return os.Symlink(outside, filepath.Join(root, "etc")) },
		"etc/hosts": func() error { return os.Symlink(victim, filepath.Join(root, "etc/hosts")) },
	} {
		if err := os.RemoveAll(filepath.Join(root, "etc")); err != nil {
			t.Fatal(err)
		}
		if name == "etc/hosts" {
			if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if err := c.Settle(root); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(victim); err != nil || string(now) != string(b) {
			t.Errorf("%s: a file outside is %q, %v", name, now, err)
		}
	}
}

// TestSettleCopies keeps what a step copies of the cover's files as the image's own.
func TestSettleCopies(t *testing.T) {
	for name, tt := range map[string]struct{ had, want string }{
		"image has one":  {"nameserver 192.0.2.1\n", "nameserver 192.0.2.1\n"},
		"image has none": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			root, dir := t.TempDir(), t.TempDir()
			etc := filepath.Join(root, "etc")
			if err := os.MkdirAll(filepath.Join(etc, "resolvconf/resolv.conf.d"), 0o755); err != nil {
				t.Fatal(err)
			}
			if tt.had != "" {
				if err := os.WriteFile(filepath.Join(etc, "resolv.conf"), []byte(tt.had), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			c, err := Make(root, dir, Options{Hostname: "bake", Resolv: []byte("nameserver 198.51.100.1\n")})
			if err != nil {
				t.Fatal(err)
			}
			found, err := os.ReadFile(filepath.Join(dir, "etc/resolv.conf"))
			if err != nil {
				t.Fatal(err)
			}
			outside := filepath.Join(t.TempDir(), "victim")
			copies := []string{filepath.Join(etc, ".resolv.conf.systemd-resolved.bak"), filepath.Join(etc, "resolvconf/resolv.conf.d/original")}
			for _, name := range append(copies, outside) {
				if err := os.WriteFile(name, found, 0o640); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(outside, filepath.Join(etc, "link")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(etc, "other"), []byte(strings.Repeat("x", len(found))), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := c.Settle(root); err != nil {
				t.Fatal(err)
			}
			for _, name := range copies {
				if b, err := os.ReadFile(name); err != nil || string(b) != tt.want {
					t.Errorf("%s: %q, %v, want %q", name, b, err, tt.want)
				}
				if fi, err := os.Stat(name); err != nil || fi.Mode() != 0o640 {
					t.Errorf("%s: %v, %v", name, fi.Mode(), err)
				}
			}
			if b, err := os.ReadFile(outside); err != nil || string(b) != string(found) {
				t.Errorf("a file outside is %q, %v", b, err)
			}
			if b, err := os.ReadFile(filepath.Join(etc, "other")); err != nil || len(b) != len(found) {
				t.Errorf("another file of that size is %q, %v", b, err)
			}
		})
	}
}

// FuzzLeft has nothing of bake's own stay in the files of names that a step has
// changed, and a file as bake made it be what the image has.
func FuzzLeft(f *testing.F) {
	f.Add("nameserver 192.0.2.1", "# more\n", true)
	f.Add("", "\n", false)
	f.Fuzz(func(t *testing.T, had, more string, exists bool) {
		if strings.Contains(had+more, mark) || strings.Contains(had+more, resolvMark) {
			return
		}
		data := append([]byte(resolvMark), withEnd([]byte("nameserver 192.0.2.53"))...)
		file := &file{data: data}
		if exists {
			file.had = &content{data: []byte(had), regular: true}
		}
		if got := leftOfResolv(file, data); string(got) != string(file.restored()) {
			t.Errorf("unchanged, %q is left", got)
		}
		for _, now := range []string{more, string(data) + more, more + "\n" + string(data)} {
			if got := leftOfResolv(file, []byte(now)); strings.Contains(string(got), resolvMark) {
				t.Errorf("of %q is left %q", now, got)
			}
		}
		line := "127.0.1.1\tbake\t" + mark + "\n"
		file.data = append(withEnd([]byte(had)), line...)
		for _, now := range []string{string(file.data), string(file.data) + more, more + "\n" + line} {
			if got := leftOfLines(file, []byte(now)); strings.Contains(string(got), mark) {
				t.Errorf("of %q is left %q", now, got)
			}
		}
	})
}
