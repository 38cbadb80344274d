package platformtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bake.build/bake/platforms"
)

// These are the checks of what only some platforms can do.

func testReboot(t *testing.T, s *suite) {
	if s.NoRestart {
		t.Skip("the machines of this test cannot be restarted")
	}
	m := s.boot(t)
	r, ok := m.(platforms.Rebooter)
	if !ok {
		t.Skip("this platform's machines cannot be restarted")
	}
	// A step may give the machine new host keys.
	sh(t, m, "echo kept >/kept; echo gone >/run/gone")
	if sh(t, m, "test -d /etc/ssh && echo has; echo") != "\n" {
		sh(t, m, `rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key`)
	}
	if err := r.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, m, "cat /kept; test -e /run/gone || echo gone", "kept\ngone\n")
	if err := r.Reboot(canceled(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("Reboot: %v", err)
	}
}

func testExpectDisconnect(t *testing.T, s *suite) {
	m := s.boot(t)
	if _, ok := m.(platforms.Rebooter); !ok {
		t.Skip("this platform's machines cannot be restarted")
	}
	// A command that ends like any other is one, whatever was expected.
	c := platforms.Cmd{Args: []string{"sh", "-c", "exit 3"}, ExpectDisconnect: true}
	if exit := exitOf(t, m.Run(t.Context(), c)); exit.Code != 3 {
		t.Errorf("code %d, want 3", exit.Code)
	}
}

func testPorts(t *testing.T, s *suite) {
	w, ok := s.boot(t).(platforms.PortWaiter)
	if !ok {
		t.Skip("the ports of this platform's machines cannot be looked at")
	}
	if err := w.WaitPort(t.Context(), 22); err != nil {
		t.Errorf("the SSH server's port: %v", err)
	}
	late := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, late)
	defer cancel()
	if err := w.WaitPort(ctx, 9); !errors.Is(err, late) {
		t.Errorf("a port that nobody listens on: %v", err)
	}
}

func testConsole(t *testing.T, s *suite) {
	m := s.boot(t)
	c, ok := m.(platforms.Consoler)
	if !ok {
		t.Skip("this platform's machines have no console")
	}
	sh(t, m, "echo on the console: hello 42 >/dev/console")
	if err := c.WaitConsole(t.Context(), regexp.MustCompile(`hello \d+$`)); err != nil {
		t.Error(err)
	}
	if tail := strings.Join(c.ConsoleTail(), "\n"); !strings.Contains(tail, "hello 42") {
		t.Errorf("the tail is %q", tail)
	}
	late := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, late)
	defer cancel()
	if err := c.WaitConsole(ctx, regexp.MustCompile(`never said`)); !errors.Is(err, late) {
		t.Errorf("what was not said: %v", err)
	}
}

// testDisk makes the disk of a layer and launches it.
func testDisk(t *testing.T, s *suite) {
	disker, ok := s.Driver.(platforms.Disker)
	if !ok {
		t.Skip("this platform's layers have no disks")
	}
	m := s.boot(t)
	sh(t, m, "echo on the disk >/on-disk")
	layer := s.commit(t, m, "disk")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	before := ""
	if !layer.Remote() {
		before = contents(t, layer.Dir)
	}
	dst := filepath.Join(s.Dir(t), "disk.raw")
	if err := disker.Disk(t.Context(), []platforms.Layer{s.First, layer}, dst, TestLog{t}); err != nil {
		t.Fatal(err)
	}
	if !layer.Remote() {
		if after := contents(t, layer.Dir); after != before {
			t.Errorf("the layer changed: %s, now %s", before, after)
		}
	}
	if treer, ok := s.Driver.(platforms.DiskTreer); ok && len(treer.CheckDiskTree()) == 0 {
		err := treer.DiskTree(t.Context(), dst, func(dir string) error {
			b, err := os.ReadFile(filepath.Join(dir, "on-disk"))
			if string(b) != "on the disk\n" {
				t.Errorf("the file holds %q", b)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	launcher, ok := s.Driver.(platforms.Launcher)
	if !ok {
		t.Skip("this platform launches no images")
	}
	size := func() (int64, time.Time) {
		fi, err := os.Stat(dst)
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size(), fi.ModTime()
	}
	bytes, changed := size()
	launched, err := launcher.Launch(t.Context(), platforms.Image{Path: dst, Format: "raw"}, TestLog{t})
	if err != nil {
		t.Fatal(err)
	}
	if s.NoBytes {
		expect(t, launched, "echo more >/on-disk; cat /on-disk", "more\n")
	} else {
		expect(t, launched, "cat /on-disk; echo more >/on-disk", "on the disk\n")
	}
	if _, err := launched.Commit(t.Context(), platforms.State{Key: "1a", Dir: s.Dir(t), Needed: true}); err == nil {
		t.Error("a machine of an image was committed")
	}
	if err := launched.Close(); err != nil {
		t.Error(err)
	}
	if b, c := size(); b != bytes || c != changed {
		t.Error("launching the image changed it")
	}
}

// contents sums up the files of a directory.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := e.Info()
		if err == nil {
			b.WriteString(e.Name() + " " + fi.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
