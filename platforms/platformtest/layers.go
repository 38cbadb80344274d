package platformtest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/platforms"
)

func testWriteRead(t *testing.T, s *suite) {
	m := s.boot(t)
	in := pack(t,
		dir("site/", 0o750), file("site/index.html", "<h1>hi</h1>", 0o640), link("site/home", "index.html"),
		file("site/bin/run", "echo ran", 0o755), file("site/"+strings.Repeat("long", 40), "", 0o600))
	if err := m.Write(t.Context(), "/srv/www", in); err != nil {
		t.Fatal(err)
	}
	expect(t, m, "cat /srv/www/site/home; sh /srv/www/site/bin/run", "<h1>hi</h1>ran\n")
	var out bytes.Buffer
	if err := m.Read(t.Context(), "/srv/www/site", &out); err != nil {
		t.Fatal(err)
	}
	got := unpack(t, &out)
	for name, want := range map[string]tar.Header{
		"site":                               dir("site/", 0o750),
		"site/index.html":                    file("", "<h1>hi</h1>", 0o640),
		"site/home":                          link("site/home", "index.html"),
		"site/bin/run":                       file("", "echo ran", 0o755),
		"site/" + strings.Repeat("long", 40): file("", "", 0o600),
	} {
		h, ok := got[name]
		if !ok || h.Typeflag != want.Typeflag || h.Linkname != want.Linkname || h.PAXRecords["body"] != want.PAXRecords["body"] {
			t.Errorf("%s: got %+v (%t), want %+v", name, h, ok, want)
		}
		if h.Typeflag != tar.TypeSymlink && h.Mode != want.Mode {
			t.Errorf("%s: mode %o, want %o", name, h.Mode, want.Mode)
		}
	}
	out.Reset()
	if err := m.Read(t.Context(), "/srv/www/site/index.html", &out); err != nil {
		t.Fatal(err)
	}
	if got := unpack(t, &out); len(got) != 1 || got["index.html"].PAXRecords["body"] != "<h1>hi</h1>" {
		t.Errorf("reading one file gives %v", got)
	}
}

func testWriteReplaces(t *testing.T, s *suite) {
	m := s.boot(t)
	sh(t, m, "mkdir -p /d/sub; echo old > /d/f; echo keep > /d/keep")
	if err := m.Write(t.Context(), "/d", pack(t, file("f", "new", 0o644), file("sub/g", "g", 0o644))); err != nil {
		t.Fatal(err)
	}
	expect(t, m, "cat /d/f /d/keep /d/sub/g", "newkeep\ng")
}

// testWriteKeepsDirs writes what is no directory in the place of one.
func testWriteKeepsDirs(t *testing.T, s *suite) {
	m := s.boot(t)
	sh(t, m, "mkdir -p /k/full/sub /k/empty /k/real; echo keep > /k/full/f; echo keep > /k/real/f")
	if err := m.Write(t.Context(), "/k", pack(t, link("link", "real"))); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		entry tar.Header
		bad   string // the directory that the error names; "" for none
	}{
		{"a file", file("full", "bad", 0o644), "full"},
		{"a link", link("full", "/elsewhere"), "full"},
		{"a file for an empty one", file("empty", "bad", 0o644), "empty"},
		{"a file for one below", file("full/sub", "bad", 0o644), "full/sub"},
		{"a file for the link to one", file("link", "bad", 0o644), "link"},
		{"a directory", dir("full/", 0o755), ""},
		{"a link for the link to one", link("link", "full"), ""},
	} {
		err := m.Write(t.Context(), "/k", pack(t, tt.entry))
		var kept *platforms.DirError
		if tt.bad == "" && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if tt.bad != "" && (!errors.As(err, &kept) || kept.Name != tt.bad) {
			t.Errorf("%s: error %v, want a DirError of %s", tt.name, err, tt.bad)
		}
	}
	expect(t, m, "cat /k/full/f /k/real/f /k/link/f; cd /k/empty; cd /k/full/sub", "keep\nkeep\nkeep\n")
}

func testWriteEscapes(t *testing.T, s *suite) {
	m := s.boot(t)
	sh(t, m, "mkdir -p /box /outside; echo safe > /outside/f")
	for _, tt := range []struct {
		name    string
		entries []tar.Header
	}{
		{"dotdot", []tar.Header{file("../outside/f", "bad", 0o644)}},
		{"absolute", []tar.Header{file("/outside/f", "bad", 0o644)}},
		{"inner dotdot", []tar.Header{file("a/../../outside/f", "bad", 0o644)}},
		{"link up", []tar.Header{link("up", "../outside"), file("up/f", "bad", 0o644)}},
		{"absolute link", []tar.Header{link("abs", "/outside"), file("abs/f", "bad", 0o644)}},
	} {
		if err := m.Write(t.Context(), "/box", pack(t, tt.entries...)); err == nil {
			t.Errorf("%s: no error", tt.name)
		}
		expect(t, m, "cat /outside/f", "safe\n")
	}
}

func testReadMissing(t *testing.T, s *suite) {
	m := s.boot(t)
	var out bytes.Buffer
	if err := m.Read(t.Context(), "/no/such/file", &out); err == nil || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("Read: %v", err)
	}
}

func testCommit(t *testing.T, s *suite) {
	m := s.boot(t)
	sh(t, m, "echo one > /one; echo gone > /gone; mkdir -p /old; echo x > /old/x")
	first := s.commit(t, m, "1")
	expect(t, m, "cat /one", "one\n")
	sh(t, m, "rm /gone; echo two > /two; rm -r /old; mkdir /old")
	second := s.commit(t, m, "2")
	empty := s.commit(t, m, "3")
	expect(t, m, "cat /one /two; test -e /gone || echo gone", "one\ntwo\ngone\n")
	for _, tt := range []struct {
		chain []platforms.Layer
		want  string
	}{
		{nil, "end\n"},
		{[]platforms.Layer{first}, "one\ngone\nx\nend\n"},
		{[]platforms.Layer{first, second}, "one\ntwo\nend\n"},
		{[]platforms.Layer{first, second, empty}, "one\ntwo\nend\n"},
	} {
		script := "test -e /one && cat /one; test -e /gone && cat /gone; test -e /two && cat /two; test -e /old/x && cat /old/x; echo end"
		expect(t, s.boot(t, tt.chain...), script, tt.want)
	}
}

func testBranches(t *testing.T, s *suite) {
	m := s.boot(t)
	sh(t, m, "echo trunk > /f")
	trunk := s.commit(t, m, "trunk")
	var leaves []platforms.Layer
	for i := range 3 {
		b := s.boot(t, trunk)
		sh(t, b, fmt.Sprintf("echo %d >> /f", i))
		leaves = append(leaves, s.commit(t, b, fmt.Sprint(i)))
	}
	for i, l := range leaves {
		expect(t, s.boot(t, trunk, l), "cat /f", fmt.Sprintf("trunk\n%d\n", i))
	}
	expect(t, m, "cat /f", "trunk\n")
}

// testRemote finds layers by their keys, and opens one without those below it.
func testRemote(t *testing.T, s *suite) {
	remote, ok := s.Driver.(platforms.RemoteLayers)
	if !ok {
		t.Skip("this platform's layers are in the store")
	}
	m := s.boot(t)
	sh(t, m, "echo below > /below")
	below := s.commit(t, m, "ca11ab1e")
	sh(t, m, "echo top > /top")
	top := s.commit(t, m, "ca11ab1f")
	found, err := remote.FindLayers(t.Context(), []string{below.Key, top.Key, "0123456789"})
	if err != nil || len(found) != 2 || found[below.Key] != below || found[top.Key] != top {
		t.Errorf("FindLayers: %v, %v; want %v and %v", found, err, below, top)
	}
	alone, err := s.Driver.Boot(t.Context(), []platforms.Layer{found[top.Key]}, TestLog{t})
	if err != nil {
		t.Fatalf("Boot: %v", err)
	}
	expect(t, alone, "cat /below /top", "below\ntop\n")
	if err := alone.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func testCloseDrops(t *testing.T, s *suite) {
	m := s.boot(t)
	sh(t, m, "echo x > /dropped")
	for range 2 { // twice does no harm
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, s.boot(t), "test -e /dropped || echo dropped", "dropped\n")
}

func testClosed(t *testing.T, s *suite) {
	m := s.boot(t)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context(), platforms.Cmd{Args: []string{"true"}}); err == nil {
		t.Error("Run on a closed machine gives no error")
	}
	if err := m.Write(t.Context(), "/tmp", pack(t)); err == nil {
		t.Error("Write on a closed machine gives no error")
	}
	if _, err := m.Commit(t.Context(), platforms.State{Key: "c105ed", Dir: s.Dir(t), Needed: true}); err == nil {
		t.Error("Commit on a closed machine gives no error")
	}
}

func testConcurrent(t *testing.T, s *suite) {
	m := s.boot(t)
	sh(t, m, "echo base > /f")
	base := s.commit(t, m, "base")
	const n = 4
	results := make(chan string, n)
	for i := range n {
		m := s.boot(t, base)
		go func() {
			var out buffer
			err := m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", fmt.Sprintf("echo %d >> /f; sleep 0.05; cat /f", i)}, Stdout: &out})
			if want := fmt.Sprintf("base\n%d\n", i); err != nil || out.String() != want {
				results <- fmt.Sprintf("machine %d: %q, %v", i, out.String(), err)
				return
			}
			results <- ""
		}()
	}
	for range n {
		if r := <-results; r != "" {
			t.Error(r)
		}
	}
}

func testTree(t *testing.T, s *suite) {
	treer, ok := s.Driver.(platforms.Treer)
	if !ok {
		t.Skip("this driver shows no trees")
	}
	m := s.boot(t)
	sh(t, m, "mkdir -p /d; echo 1 > /d/a; echo 1 > /d/b")
	one := s.commit(t, m, "1")
	sh(t, m, "rm /d/a; echo 2 > /d/b")
	two := s.commit(t, m, "2")
	type shown struct {
		chain []platforms.Layer
		want  string
	}
	all := []shown{
		{[]platforms.Layer{s.First, one, two}, "b"},
		{[]platforms.Layer{s.First, one}, "a b"},
		{[]platforms.Layer{s.First}, ""},
	}
	if _, ok := s.Driver.(platforms.Disker); ok {
		all = all[:1] // each takes a machine
	}
	for _, tt := range all {
		var names []string
		var path string
		err := treer.Tree(t.Context(), tt.chain, func(dir string) error {
			path = dir
			if !filepath.IsAbs(dir) {
				return fmt.Errorf("%s is not absolute", dir)
			}
			if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); err == nil && !s.CopiedTree {
				return fmt.Errorf("the tree can be written to")
			}
			entries, err := os.ReadDir(filepath.Join(dir, "d"))
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if os.IsNotExist(err) {
				return nil
			}
			return err
		})
		if got := strings.Join(names, " "); err != nil || got != tt.want {
			t.Errorf("chain of %d: %q, %v; want %q", len(tt.chain), got, err, tt.want)
		}
		if _, err := os.Stat(filepath.Join(path, "d")); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
}
