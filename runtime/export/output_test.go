package export

import (
	"archive/tar"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// A sender is a machine that answers Read with the entries that it was given: it
// stands for one that a hostile step has changed.
type sender struct {
	platforms.Machine
	entries []tar.Header
}

func (s *sender) Read(_ context.Context, _ string, w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, h := range s.entries {
		if h.Typeflag == tar.TypeReg {
			h.Size = 4
		}
		if err := tw.WriteHeader(&h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(tw, "data"); err != nil {
				return err
			}
		}
	}
	return tw.Close()
}

func TestOutputStaysInItsDirectory(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }
	dir := tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755}
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	for name, c := range map[string]struct {
		entries []tar.Header
		want    string // of the error
	}{
		"above":            {[]tar.Header{dir, file("d/../../x")}, "not below"},
		"absolute":         {[]tar.Header{dir, file("/etc/x")}, "not below"},
		"another":          {[]tar.Header{dir, file("other")}, "not below"},
		"through a link":   {[]tar.Header{dir, link("d/l", "/"), file("d/l/x")}, "d/l"},
		"link out":         {[]tar.Header{dir, link("d/l", "../../x")}, "not taken along"},
		"links in a ring":  {[]tar.Header{dir, link("d/a", "b"), link("d/b", "a")}, "not taken along"},
		"hard link out":    {[]tar.Header{dir, {Typeflag: tar.TypeLink, Name: "d/h", Linkname: "/etc/passwd"}}, "not below"},
		"device":           {[]tar.Header{dir, {Typeflag: tar.TypeChar, Name: "d/c"}}, "neither a file"},
		"twice":            {[]tar.Header{dir, file("d/f"), file("d/f")}, "d/f"},
		"an empty archive": {nil, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			_, err := RunOutput(t.Context(), OutputRequest{
				Op: &Output{Name: "o", Path: "/srv/d"}, Key: plan.Key{1},
				Machine: &sender{entries: c.entries}, OutDir: filepath.Join(parent, "o"),
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestOutputKeepsModes(t *testing.T) {
	out := filepath.Join(t.TempDir(), "o")
	m := &sender{entries: []tar.Header{
		{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o700},
		{Typeflag: tar.TypeReg, Name: "d/run", Mode: 0o4755},
		{Typeflag: tar.TypeReg, Name: "d/secret", Mode: 0o400},
	}}
	r, err := RunOutput(t.Context(), OutputRequest{Op: &Output{Name: "o", Path: "/d"}, Key: plan.Key{1}, Machine: m, OutDir: out})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"d/run": 0o755, "d/secret": 0o600} {
		info, err := os.Stat(filepath.Join(out, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, want %v (%v)", name, info.Mode(), want, err)
		}
	}
	if len(r.Manifest.Files) != 2 || r.Manifest.Files[0].SHA256 != "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7" {
		t.Errorf("manifest: %+v", r.Manifest.Files)
	}
}
