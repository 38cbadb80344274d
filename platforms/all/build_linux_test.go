package all_test

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/all"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/export"
)

// TestPlatformIsItsFolderAndALine builds with the program's platforms and one more,
// which nothing else knows of: its options, the installer, steps, a layer from the
// cache, a disk that is launched, and a file.
func TestPlatformIsItsFolderAndALine(t *testing.T) {
	needHyper(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"installer.iso": "CD", "images.star": `
image = source(hyper(hostname = "toy", user = "root"), iso = "installer.iso", boot_command = ["<http>answers.cfg<enter>"],
    http = {"answers.cfg": "web"})
image = shell(image, 'echo "$(cat /etc/installed) on $(hostname)" >/etc/site')
disk = export(image, "disk", formats = ["raw"])
test(disk, "grep -q web /etc/site")
output(image, "/etc/site", "site")
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := build.Config{
		Platforms: append(all.Table(), hyperSpec()), Builtins: builtins.Table(), Formats: export.Formats(),
		Dir: dir, StoreDir: filepath.Join(t.TempDir(), "store"),
	}
	run := func() (ran int) {
		t.Helper()
		err := build.Use(t.Context(), c, "images.star", func(b *build.Build) error {
			targets, err := build.Choose(build.Targets(b.Definition), nil)
			if err != nil {
				return err
			}
			result, err := b.Run(t.Context(), targets, build.Options{})
			if result != nil {
				ran = result.Ran
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return ran
	}
	if n := run(); n != 6 {
		t.Errorf("%d nodes ran, want 6", n)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "out/site/site")); err != nil || string(got) != "web on toy\n" {
		t.Errorf("the site is %q, %v", got, err)
	}
	if n := run(); n != 0 {
		t.Errorf("%d nodes ran again", n)
	}
	definition := filepath.Join(dir, "images.star")
	text, err := os.ReadFile(definition)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(definition, []byte(strings.Replace(string(text), `user = `, `usr = `, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	err = build.Use(t.Context(), c, "images.star", func(*build.Build) error { return nil })
	if err == nil || !strings.Contains(err.Error(), `did you mean "user"?`) {
		t.Errorf("a wrong option: %v", err)
	}
}

// A directory lends a driver what it needs on this host.
type directory struct {
	platforms.Host // of which nothing else is used
	dir            string
}

func (h directory) TempDir(prefix string) (string, func() error, error) {
	dir, err := os.MkdirTemp(h.dir, prefix)
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func (h directory) CacheDir(name string) (string, error) {
	dir := filepath.Join(h.dir, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// TestHypervisorConformance runs the suite of drivers.
func TestHypervisorConformance(t *testing.T) {
	need.Slow(t)
	needHyper(t)
	d, err := hyperSpec().New(nil, directory{dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	first := t.TempDir()
	if _, err := d.Import(t.Context(), platforms.Origin{Kind: "scratch"}, first, nil); err != nil {
		t.Fatal(err)
	}
	platformtest.Run(t, platformtest.Harness{
		Driver: d, First: platforms.Layer{Key: "first", Dir: first}, NoIsolation: true, NoRestart: true, Shared: true,
		Dir: func(t *testing.T) string { return t.TempDir() },
	})
}

// TestHypervisorForwards launches a disk with a port of this host that leads into it.
func TestHypervisorForwards(t *testing.T) {
	needHyper(t)
	d, err := hyperSpec().New(nil, directory{dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	layer, disk := t.TempDir(), filepath.Join(t.TempDir(), "disk.raw")
	if _, err := d.Import(t.Context(), platforms.Origin{Kind: "scratch"}, layer, nil); err != nil {
		t.Fatal(err)
	}
	if err := d.(platforms.Disker).Disk(t.Context(), []platforms.Layer{{Dir: layer}}, disk, nil); err != nil {
		t.Fatal(err)
	}
	m, err := d.(platforms.Launcher).Launch(t.Context(), platforms.Image{Path: disk, Format: "raw", Forward: []platforms.Forward{{Guest: 22}}}, &platformtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	address, err := m.(platforms.Forwarder).Forwarded(t.Context(), 22)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "SSH-2.0-OpenSSH") {
		t.Errorf("the port answers %q, %v", line, err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1<<10)); err == nil {
		_, err = conn.Read(make([]byte, 1<<10)) // after what the server had sent
		if err == nil {
			t.Error("the connection outlives the machine")
		}
	}
}
