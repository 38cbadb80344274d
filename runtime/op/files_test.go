package op

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"bake.build/bake/runtime/plan"
)

const passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/srv:/bin/sh\nbad:x:y:z::/:/bin/sh\n"

func TestWrite(t *testing.T) {
	for _, c := range []struct {
		name  string
		write Write
		want  string
		err   string
	}{
		{"root", Write{Path: "/etc/motd", Content: "hi\n", Mode: 0o644}, `0 644 0:0 motd "hi\n"`, ""},
		{"empty", Write{Path: "/motd", Mode: 0o600}, `0 600 0:0 motd ""`, ""},
		{"numbers", Write{Path: "/etc/motd", Mode: 0o4755, Owner: "5:6"}, `0 4755 5:6 motd ""`, ""},
		{"number", Write{Path: "/etc/motd", Mode: 0o644, Owner: "5"}, `0 644 5:5 motd ""`, ""},
		{"user", Write{Path: "/etc/motd", Mode: 0o644, Owner: "app"}, `0 644 1000:1001 motd ""`, ""},
		{"user and group", Write{Path: "/etc/motd", Mode: 0o644, Owner: "app:adm"}, `0 644 1000:4 motd ""`, ""},
		{"no such user", Write{Path: "/etc/motd", Mode: 0o644, Owner: "nobody"}, ``, `the machine has no user "nobody"`},
		{"no such group", Write{Path: "/etc/motd", Mode: 0o644, Owner: "app:none"}, ``, `the machine has no group "none"`},
		{"damaged table", Write{Path: "/etc/motd", Mode: 0o644, Owner: "bad"}, ``, `look up user "bad"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &machine{files: map[string]string{"/etc/passwd": passwd, "/etc/group": "root:x:0:\nadm:x:4:app\n"}}
			err := apply(t, &c.write, m)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantEntries(t, m, c.want)
			if m.dst != filepath.ToSlash(filepath.Dir(c.write.Path)) {
				t.Errorf("written to %s", m.dst)
			}
		})
	}
}

func TestLinkedTable(t *testing.T) {
	for link, want := range map[string]string{"/usr/lib/passwd": "", "../usr/lib/passwd": "", "passwd": "too many symbolic links", "gone": "no such file"} {
		m := &machine{files: map[string]string{"/etc/passwd": "link to " + link, "/usr/lib/passwd": passwd}}
		err := apply(t, &Write{Path: "/x", Mode: 0o644, Owner: "app"}, m)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("/etc/passwd is a link to %s: %v", link, err)
		}
	}
}

func TestNoTable(t *testing.T) {
	err := apply(t, &Write{Path: "/x", Mode: 0o644, Owner: "app"}, &machine{})
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error %v, want that the table is missing", err)
	}
}

// site makes a tree and the input of it.
func site(t *testing.T, exclude ...string) *plan.Input {
	t.Helper()
	dir := t.TempDir()
	for _, f := range []struct {
		name, text string
		mode       fs.FileMode
	}{{"index.html", "hello", 0o644}, {"bin/run", "#!/bin/sh\n", 0o755}, {"notes.md", "no", 0o644}} {
		path := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(f.text), f.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, f.mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("index.html", filepath.Join(dir, "link")); err != nil {
		t.Skip("needs symbolic links:", err)
	}
	in := &plan.Input{Path: dir, Exclude: exclude}
	hash(t, in)
	return in
}

func hash(t *testing.T, in *plan.Input) {
	t.Helper()
	if err := in.Hash(t.Context(), plan.HashFile{}); err != nil {
		t.Fatal(err)
	}
}

func TestCopy(t *testing.T) {
	t.Run("directory", func(t *testing.T) {
		m := &machine{}
		if err := apply(t, &Copy{Dst: "/srv", From: []CopyFrom{{Input: site(t, "*.md")}}}, m); err != nil {
			t.Fatal(err)
		}
		wantEntries(t, m, `5 755 0:0 bin/ ""`, `0 755 0:0 bin/run "#!/bin/sh\n"`, `0 644 0:0 index.html "hello"`, `2 777 0:0 link ""index.html`)
		if m.dst != "/srv" {
			t.Errorf("written to %s", m.dst)
		}
	})
	t.Run("mode and owner", func(t *testing.T) {
		m := &machine{files: map[string]string{"/etc/passwd": passwd}}
		if err := apply(t, &Copy{Dst: "/srv", Mode: 0o640, Owner: "app", From: []CopyFrom{{Input: site(t, "*.md", "link")}}}, m); err != nil {
			t.Fatal(err)
		}
		wantEntries(t, m, `5 750 1000:1001 bin/ ""`, `0 640 1000:1001 bin/run "#!/bin/sh\n"`, `0 640 1000:1001 index.html "hello"`)
	})
	t.Run("set-id and sticky bits", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("needs permission bits as of chmod")
		}
		in := site(t, "*.md", "link", "index.html")
		before := in.Digest
		if err := errors.Join(os.Chmod(filepath.Join(in.Path, "bin"), 0o775|fs.ModeSticky), os.Chmod(filepath.Join(in.Path, "bin/run"), 0o755|fs.ModeSetuid|fs.ModeSetgid)); err != nil {
			t.Fatal(err)
		}
		if hash(t, in); in.Digest == before {
			t.Error("the bits are not in the digest")
		}
		m := &machine{}
		if err := apply(t, &Copy{Dst: "/srv", From: []CopyFrom{{Input: in}}}, m); err != nil {
			t.Fatal(err)
		}
		wantEntries(t, m, `5 1775 0:0 bin/ ""`, `0 6755 0:0 bin/run "#!/bin/sh\n"`)
	})
	t.Run("file", func(t *testing.T) {
		in := &plan.Input{Path: filepath.Join(site(t).Path, "index.html")}
		hash(t, in)
		m := &machine{}
		if err := apply(t, &Copy{Dst: "/srv", From: []CopyFrom{{Name: "start.html", Input: in}}}, m); err != nil {
			t.Fatal(err)
		}
		wantEntries(t, m, `0 644 0:0 start.html "hello"`)
	})
}

// TestCopyChanged changes what is copied after it was hashed, in all the ways
// that a key would show.
func TestCopyChanged(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"content":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "index.html"), []byte("jello"), 0o644) },
		"longer":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "index.html"), []byte("hello!"), 0o644) },
		"shorter":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "index.html"), []byte("hell"), 0o644) },
		"mode":     func(dir string) error { return os.Chmod(filepath.Join(dir, "index.html"), 0o600) },
		"new file": func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o644) },
		"removed":  func(dir string) error { return os.Remove(filepath.Join(dir, "bin", "run")) },
	} {
		t.Run(name, func(t *testing.T) {
			in := site(t)
			if err := change(in.Path); err != nil {
				t.Fatal(err)
			}
			err := apply(t, &Copy{Dst: "/srv", From: []CopyFrom{{Input: in}}}, &machine{})
			if !errors.Is(err, plan.ErrChanged) {
				t.Errorf("error %v, want that it %v", err, plan.ErrChanged)
			}
		})
	}
}

// TestMachineFails holds that a machine that stops reading is what is reported.
func TestMachineFails(t *testing.T) {
	err := apply(t, &Copy{Dst: "/srv", From: []CopyFrom{{Input: site(t)}}}, &machine{short: true})
	if err == nil || err.Error() != "no space left on device" {
		t.Errorf("error %v", err)
	}
}

func TestSource(t *testing.T) {
	s := &Source{
		Of:      "disk",
		Options: []byte(`{"sha256":"0"}`),
		Files:   []SourceFile{{Option: "disk", Input: &plan.Input{Path: "/a"}}},
		Made:    []SourceNode{{Option: "base", Dep: 1}},
	}
	o := s.Origin()
	if o.Kind != "disk" || o.Paths["disk"] != "/a" || string(o.Options) != `{"sha256":"0"}` || s.Inputs()[0].Path != "/a" || s.Links()["base"] != 1 {
		t.Errorf("origin %+v, inputs %v, links %v", o, s.Inputs(), s.Links())
	}
}

func TestCheckOwner(t *testing.T) {
	for s, ok := range map[string]bool{"a": true, "a:b": true, "1:2": true, "": false, ":": false, "a:": false, ":b": false, "a:b:c": false, "a b": false, "a/b": false, "-1": false} {
		if err := CheckOwner(s); (err == nil) != ok {
			t.Errorf("CheckOwner(%q) = %v", s, err)
		}
	}
}

// FuzzFirstFile has what a machine sends as a file end in a text of the bound, a link
// or an error.
func FuzzFirstFile(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Size: int64(len(passwd)), Mode: 0o644}); err != nil {
		f.Fatal(err)
	}
	if _, err := w.Write([]byte(passwd)); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:600])
	f.Fuzz(func(t *testing.T, archive []byte) {
		const most = 100
		text, link, err := firstFile(tar.NewReader(bytes.NewReader(archive)), "/etc/passwd", most)
		if err == nil && (len(text) > most || text != "" && link != "") {
			t.Errorf("the text %q, the link %q", text, link)
		}
	})
}
