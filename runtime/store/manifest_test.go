package store

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"
)

// sample is a manifest with every kind of file in it.
func sample() *Manifest {
	m := &Manifest{Files: []File{
		{Path: ".", Type: Dir, Mode: 0o755, MTime: Stamp{1, 2}},
		{Path: "-a", Type: Regular, Mode: 0o4755, UID: 1 << 31, GID: 1<<32 - 2, Size: 1 << 40, Digest: [32]byte{1}},
		{Path: "b", Type: Symlink, Mode: 0o777, Link: "../x", MTime: Stamp{-5, 999_999_999}},
		{Path: "c", Type: Char, Major: 1, Minor: 3},
		{Path: "d", Type: Dir, Xattrs: []Xattr{{"trusted.overlay.opaque", []byte("y")}, {"user.empty", []byte{}}}},
		{Path: "d/hard", Type: Regular, Mode: 0o4755, UID: 1 << 31, GID: 1<<32 - 2, Size: 1 << 40, Digest: [32]byte{1}, Hard: "-a"},
		{Path: "e", Type: Block, Major: 8, Minor: 1 << 19},
		{Path: "f\xff\n", Type: Fifo},
		{Path: "s", Type: Socket},
	}}
	return m
}

func TestManifestRoundTrip(t *testing.T) {
	raw := sample().encode()
	m, err := decodeManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, sample()) {
		t.Errorf("got %+v", m)
	}
	packed, err := pack(raw)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := unpack(packed); err != nil || !slices.Equal(again, raw) {
		t.Errorf("unpacked %d bytes, %v", len(again), err)
	}
	for i := range raw {
		if _, err := decodeManifest(raw[:i]); err == nil {
			t.Errorf("a manifest cut to %d of %d bytes is taken", i, len(raw))
		}
	}
}

func TestManifestRefuses(t *testing.T) {
	tests := map[string]func(m *Manifest){
		"no root":               func(m *Manifest) { m.Files = m.Files[1:] },
		"nothing":               func(m *Manifest) { m.Files = nil },
		"root is a file":        func(m *Manifest) { m.Files[0].Type = Regular },
		"wrong order":           func(m *Manifest) { m.Files[2], m.Files[3] = m.Files[3], m.Files[2] },
		"twice":                 func(m *Manifest) { m.Files[3].Path = "b" },
		"leaves the tree":       func(m *Manifest) { m.Files[1].Path = ".." },
		"leaves below":          func(m *Manifest) { m.Files[5].Path = "d/.." },
		"absolute":              func(m *Manifest) { m.Files[1].Path = "/a" },
		"no name":               func(m *Manifest) { m.Files[5].Path = "d/" },
		"below a link":          func(m *Manifest) { m.Files[4].Type = Symlink },
		"unknown type":          func(m *Manifest) { m.Files[8].Type = 'x' },
		"hard link to nothing":  func(m *Manifest) { m.Files[5].Hard = "zz" },
		"hard link to itself":   func(m *Manifest) { m.Files[5].Hard = "d/hard" },
		"hard link to a device": func(m *Manifest) { m.Files[5].Hard = "c" },
		"negative size":         func(m *Manifest) { m.Files[1].Size = -1 },
	}
	for name, change := range tests {
		m := sample()
		change(m)
		if _, err := decodeManifest(m.encode()); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// TestManifestDigestCovers changes each part of each file.
func TestManifestDigestCovers(t *testing.T) {
	tests := map[string]func(f *File){
		"path": func(f *File) { f.Path += "x" }, "type": func(f *File) { f.Type = Fifo }, "mode": func(f *File) { f.Mode ^= 1 },
		"uid": func(f *File) { f.UID++ }, "gid": func(f *File) { f.GID++ }, "sec": func(f *File) { f.MTime.Sec++ },
		"nsec": func(f *File) { f.MTime.Nsec++ }, "size": func(f *File) { f.Size++ }, "digest": func(f *File) { f.Digest[31]++ },
		"hard": func(f *File) { f.Hard = "x" }, "xattr": func(f *File) { f.Xattrs = []Xattr{{Name: "user.x"}} },
	}
	base := sample().Digest()
	for name, change := range tests {
		m := sample()
		change(&m.Files[1])
		if m.Digest() == base {
			t.Errorf("%s is not covered", name)
		}
	}
	for i, change := range map[int]func(f *File){2: func(f *File) { f.Link += "x" }, 3: func(f *File) { f.Major++ }, 6: func(f *File) { f.Minor++ }} {
		m := sample()
		change(&m.Files[i])
		if m.Digest() == base {
			t.Errorf("a part of %+v is not covered", m.Files[i])
		}
	}
}

func TestManifestOfCopies(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	when := time.Unix(1_700_000_000, 123_000_000)
	for _, dir := range []string{a, b} {
		if _, err := sound(dir); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"etc/conf", "hard1", "etc", "empty", "."} {
			if err := os.Chtimes(filepath.Join(dir, path), when, when); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := setLinkTime(filepath.Join(dir, "link"), when); err != nil {
			t.Fatal(err)
		}
	}
	ma, err := NewManifest(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	mb, err := NewManifest(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	if ma.Digest() != mb.Digest() {
		t.Errorf("copies differ:\n%+v\n%+v", ma, mb)
	}
}

func TestManifestIsCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := NewManifest(ctx, t.TempDir()); err == nil {
		t.Error("a canceled manifest was made")
	}
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add(sample().encode())
	f.Add((&Manifest{Files: []File{{Path: ".", Type: Dir}}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeManifest(b)
		if err == nil && !slices.Equal(m.encode(), b) {
			t.Fatalf("%q decodes and encodes to %q", b, m.encode())
		}
	})
}

func FuzzDecodeFacts(f *testing.F) {
	f.Add(encodeFacts("0 0 1", []fact{{1, Stamp{2, 3}}, {1 << 60, Stamp{-2, 3}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		ids, facts, err := decodeFacts(b)
		if err == nil && !slices.Equal(encodeFacts(ids, facts), b) {
			t.Fatalf("%q decodes and encodes to other bytes", b)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	packed, err := pack(sample().encode())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if raw, err := unpack(b); err == nil && len(raw) > maxManifest {
			t.Fatalf("%d bytes came out", len(raw))
		}
	})
}
