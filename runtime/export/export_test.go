package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk/ext4"
	"bake.build/bake/runtime/plan"
)

// sampleTree makes a small tree with text, noise, zeros and links in it.
func sampleTree(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: file trees are read there only")
	}
	dir := filepath.Join(t.TempDir(), "fs")
	noise := make([]byte, 3<<20+123)
	rnd := rand.NewChaCha8([32]byte{1})
	if _, err := rnd.Read(noise); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"etc/hostname": []byte("sample\n"), "usr/noise": noise, "usr/zeros": make([]byte, 1<<20),
		"usr/text": bytes.Repeat([]byte("some text that repeats\n"), 200_000), "usr/empty": nil,
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("text", filepath.Join(dir, "usr/link")), os.Link(filepath.Join(dir, "usr/text"), filepath.Join(dir, "usr/hard"))); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1700000000, 0)
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil || info.Mode()&os.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(p, at, at)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func request(t *testing.T, dir string, names ...string) Request {
	t.Helper()
	if probs := Formats().Problems(names); len(probs) > 0 {
		for _, p := range probs {
			need.Tool(t, strings.Fields(p.What)[0])
		}
	}
	return Request{
		Formats: Formats(),
		Op:      &Op{Name: "web", Formats: names, Size: 64 << 20, Boot: "none"},
		Key:     plan.Key{7},
		Tree:    func(_ context.Context, use func(string) error) error { return use(dir) },
		OutDir:  filepath.Join(t.TempDir(), "out", "web"),
		Arch:    "amd64",
		About:   About{Definition: "images.star", Params: map[string]string{"version": "1"}},
	}
}

// makeDisk gives r the disk that its formats are written from.
func makeDisk(t *testing.T, r *Request) {
	t.Helper()
	need.Tool(t, "mke2fs")
	d := DiskRequest{Op: r.Op.From(), Tree: r.Tree, Layers: r.Layers, Arch: r.Arch}
	if len(d.Layers) == 0 {
		err := r.Tree(t.Context(), func(dir string) error { // of sampleTree
			d.Layers = []platforms.Layer{{Key: plan.Key{9}.String(), Dir: filepath.Dir(dir)}}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	r.Disk = filepath.Join(t.TempDir(), "disk.raw")
	if err := MakeDisk(t.Context(), d, r.Disk); err != nil {
		t.Fatal(err)
	}
}

func mustRun(t *testing.T, r Request) *Manifest {
	t.Helper()
	if r.Disk == "" && r.Formats.FromDisk(r.Op.Formats) {
		makeDisk(t, &r)
	}
	res, err := Run(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return res.Manifest
}

func qemuFormats() map[string]string {
	return map[string]string{"qcow2": "qcow2", "vmdk": "vmdk", "vmdk-sparse": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhd-dynamic": "vpc"}
}

// TestSameBits lets qemu-img compare every disk format with the raw disk.
func TestSameBits(t *testing.T) {
	need.Tool(t, "qemu-img")
	for _, compression := range []string{"", "zlib", "none"} {
		t.Run("compression "+compression, func(t *testing.T) {
			r := request(t, sampleTree(t), "raw", "qcow2", "vmdk", "vmdk-sparse", "vdi", "vhd", "vhd-dynamic")
			r.Op.Compression = compression
			mustRun(t, r)
			for name, qemu := range qemuFormats() {
				f, err := Formats().format(name)
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(r.OutDir, "web"+f.Ext)
				args := []string{"compare", "-f", "raw", "-F", qemu, filepath.Join(r.OutDir, "web.raw"), path}
				if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", name, err, out)
				}
				if qemu == "vpc" {
					continue // qemu-img cannot check it
				}
				if out, err := exec.Command("qemu-img", "check", "-f", qemu, path).CombinedOutput(); err != nil {
					t.Errorf("check %s: %v\n%s", name, err, out)
				}
			}
		})
	}
}

// TestEqualInputsGiveEqualFiles runs every format twice.
func TestEqualInputsGiveEqualFiles(t *testing.T) {
	r := request(t, sampleTree(t), Formats().Names()...)
	first := mustRun(t, r)
	r.OutDir = filepath.Join(t.TempDir(), "elsewhere")
	second := mustRun(t, r)
	if len(first.Files) != len(second.Files) {
		t.Fatalf("%d files, then %d", len(first.Files), len(second.Files))
	}
	for i, f := range first.Files {
		if f != second.Files[i] {
			t.Errorf("%+v, then %+v", f, second.Files[i])
		}
	}
}

func TestManifestAndSums(t *testing.T) {
	r := request(t, sampleTree(t), "tar", "raw")
	m := mustRun(t, r)
	got, err := ReadManifest(r.OutDir)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(m) || got.Key != r.Key.String() || got.Params["version"] != "1" || len(got.Files) != 2 || got.Files[1].Virtual != 64<<20 {
		t.Errorf("manifest %+v", got)
	}
	need.Tool(t, "sha256sum")
	cmd := exec.Command("sha256sum", "-c", SumsName)
	cmd.Dir = r.OutDir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

func TestCurrent(t *testing.T) {
	dir := sampleTree(t)
	for name, c := range map[string]struct {
		change func(out string) error
		want   string
	}{
		"untouched":   {func(string) error { return nil }, ""},
		"other file":  {func(out string) error { return os.WriteFile(filepath.Join(out, "notes"), nil, 0o600) }, ""},
		"gone":        {func(out string) error { return os.Remove(filepath.Join(out, "web.tar")) }, "web.tar is gone"},
		"longer":      {func(out string) error { return appendTo(filepath.Join(out, "web.tar"), "x") }, "web.tar was changed"},
		"bit flipped": {func(out string) error { return flip(filepath.Join(out, "web.tar")) }, "web.tar was changed"},
		"blob":        {func(out string) error { return flip(filepath.Join(out, "web.oci/index.json")) }, "web.oci/index.json was changed"},
		"no manifest": {func(out string) error { return os.Remove(filepath.Join(out, ManifestName)) }, "no artifact yet"},
		"bad json":    {func(out string) error { return os.WriteFile(filepath.Join(out, ManifestName), []byte("{"), 0o600) }, "its manifest cannot be read"},
		"sums":        {func(out string) error { return appendTo(filepath.Join(out, SumsName), "x") }, "SHA256SUMS was changed"},
		"link": {func(out string) error {
			p := filepath.Join(out, "web.tar")
			return errors.Join(os.Rename(p, p+".x"), os.Symlink("web.tar.x", p))
		}, "web.tar was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(t, dir, "tar", "oci")
			mustRun(t, r)
			if err := c.change(r.OutDir); err != nil {
				t.Fatal(err)
			}
			m, why, err := Current(r.OutDir, r.Key, plan.HashFile{})
			if err != nil || why != c.want || (m != nil) != (c.want == "") {
				t.Errorf("current: %v, %q, %v; want %q", m != nil, why, err, c.want)
			}
			if _, why, _ := Current(r.OutDir, plan.Key{8}, plan.HashFile{}); why == "" {
				t.Error("current for another key")
			}
		})
	}
}

func appendTo(path, s string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s)
	return errors.Join(err, f.Close())
}

func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	return os.WriteFile(path, b, 0o600)
}

// TestReplace writes an artifact over one with other formats.
func TestReplace(t *testing.T) {
	r := request(t, sampleTree(t), "tar", "oci")
	mustRun(t, r)
	if err := os.WriteFile(filepath.Join(r.OutDir, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.Op.Formats, r.Key = []string{"oci", "tar.gz"}, plan.Key{8}
	mustRun(t, r)
	if got, want := names(t, r.OutDir), []string{SumsName, ManifestName, "notes", "web.oci", "web.tar.gz"}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if _, why, err := Current(r.OutDir, r.Key, plan.HashFile{}); why != "" || err != nil {
		t.Errorf("not current: %s, %v", why, err)
	}
	if got := names(t, filepath.Dir(r.OutDir)); !slices.Equal(got, []string{"web"}) {
		t.Errorf("beside the artifact: %q", got)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// TestFailureKeepsTheOldArtifact fails and cancels runs over a whole artifact.
func TestFailureKeepsTheOldArtifact(t *testing.T) {
	r := request(t, sampleTree(t), "tar", "tar.zst")
	mustRun(t, r)
	before := names(t, r.OutDir)
	next := r
	next.Key = plan.Key{8}
	check := func(t *testing.T, err error) {
		t.Helper()
		if err == nil {
			t.Error("no error")
		}
		if _, why, err := Current(r.OutDir, r.Key, plan.HashFile{}); why != "" || err != nil {
			t.Errorf("the old artifact does not stand: %s, %v", why, err)
		}
		if got := names(t, r.OutDir); !slices.Equal(got, before) {
			t.Errorf("files %q, want %q", got, before)
		}
		if got := names(t, filepath.Dir(r.OutDir)); !slices.Equal(got, []string{"web"}) {
			t.Errorf("beside the artifact: %q", got)
		}
	}
	t.Run("fails", func(t *testing.T) {
		var calls atomic.Int32
		next := next
		next.Tree = func(ctx context.Context, use func(string) error) error {
			if calls.Add(1) == 2 {
				return errors.New("tree is gone")
			}
			return r.Tree(ctx, use)
		}
		_, err := Run(context.Background(), next)
		check(t, err)
	})
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		next := next
		next.Tree = func(ctx context.Context, use func(string) error) error {
			return r.Tree(ctx, func(dir string) error { cancel(); return use(dir) })
		}
		_, err := Run(ctx, next)
		check(t, err)
	})
	t.Run("unknown format", func(t *testing.T) {
		next := next
		next.Op = &Op{Name: "web", Formats: []string{"floppy"}}
		_, err := Run(context.Background(), next)
		check(t, err)
	})
}

// TestKilled leaves a run in the middle, as SIGKILL does.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("BAKE_EXPORT_KILL"); dir != "" {
		r := request(t, sampleTree(t), "tar", "tar.gz", "oci")
		r.OutDir = dir
		mustRun(t, r)
		return
	}
	r := request(t, sampleTree(t), "tar", "tar.gz", "oci")
	temporary := t.TempDir() // what killed children leave there
	for wait := range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "BAKE_EXPORT_KILL="+r.OutDir, "TMPDIR="+temporary)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(10+wait*wait*3) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed, which Wait calls an error
		// Whatever has its final name is whole.
		if m, err := ReadManifest(r.OutDir); err == nil {
			for _, f := range m.Files {
				if why, err := f.differs(r.OutDir, plan.HashFile{}); why != "" || err != nil {
					t.Errorf("after %d: %s %v", wait, why, err)
				}
			}
		}
	}
	mustRun(t, r)
	if _, why, err := Current(r.OutDir, r.Key, plan.HashFile{}); why != "" || err != nil {
		t.Errorf("not current: %s, %v", why, err)
	}
	if got := names(t, filepath.Dir(r.OutDir)); !slices.Equal(got, []string{"web"}) {
		t.Errorf("left behind: %q", got)
	}
}

func TestProblems(t *testing.T) {
	all := append(Formats().Names(), "floppy")
	t.Setenv("PATH", t.TempDir())
	list := append(Formats().Problems(all), DiskProblems("bios+uefi")...)
	text := fmt.Sprint(list)
	for _, want := range []string{"qemu-img is not installed", "qemu-utils", "squashfs-tools", "unknown format \"floppy\"", "grub-common"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if _, err := ext4.Tool("mke2fs"); err != nil && !strings.Contains(text, "e2fsprogs") {
		t.Errorf("no e2fsprogs in %s", text)
	}
	if got := Formats().Problems([]string{"tar", "oci", "docker"}); len(got) != 0 {
		t.Errorf("archives need %v", got)
	}
}

func TestFormats(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Formats() {
		if seen[f.Name] || seen[f.Ext] || f.Name == "" || f.Ext == "" || !strings.HasSuffix(f.Doc, ".") || f.From == "" || f.Write == nil {
			t.Errorf("format %+v", f)
		}
		seen[f.Name], seen[f.Ext] = true, true
	}
}

// TestDisksAreInTheTable holds that what is written of a disk is what readers know,
// by the format's name and by the end of the file's name.
func TestDisksAreInTheTable(t *testing.T) {
	written := map[string]bool{}
	for _, f := range Formats() {
		if f.From != FromDisk || slices.Contains([]string{"raw.gz", "raw.xz", "raw.zst", "gce"}, f.Name) { // which no machine starts from
			continue
		}
		named, ok := platforms.DiskFormatNamed(f.Name)
		if of, known := platforms.DiskFormatOf("web" + f.Ext); !ok || !named.Folder && (!known || of.Name != named.Name) || named.ReadOnly {
			t.Errorf("the format %s is %q in the table by its name, and %q by %s", f.Name, named.Name, of.Name, f.Ext)
		}
		written[named.Name] = true
	}
	for _, f := range platforms.DiskFormats() {
		if !f.ReadOnly && !written[f.Name] {
			t.Errorf("no format writes %s", f.Name)
		}
	}
}

func TestOpKey(t *testing.T) {
	if _, err := plan.Encode(&Op{Name: "x", Formats: []string{"raw"}}); err != nil {
		t.Error(err)
	}
}
