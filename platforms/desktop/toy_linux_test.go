package desktop

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/platformtest"
)

// A toy is a hypervisor whose machines are SSH servers in namespaces, and whose media are
// archives of what such a machine has changed: the last of a chain holds all.
type toy struct {
	keys string // that its machines let in

	mu      sync.Mutex
	vms     map[string]*toyVM // by their directories
	removed int
	last    Spec  // that a machine was made of
	fails   error // of Create
}

func (y *toy) Media() Media { return toyMedia{} }

func (y *toy) Create(_ context.Context, s Spec) (VM, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	v := &toyVM{spec: s, keys: y.keys}
	y.last = s
	y.vms[s.Dir] = v
	return v, y.fails
}

func (y *toy) Remove(_ context.Context, dir string) (bool, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	v, ok := y.vms[dir]
	if !ok {
		return false, nil
	}
	delete(y.vms, dir)
	y.removed++
	return true, v.server.Stop()
}

// left lists the directories of the machines that were not removed.
func (y *toy) left() (dirs []string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for dir := range y.vms {
		dirs = append(dirs, dir)
	}
	return dirs
}

var toyAddresses atomic.Int32

type toyVM struct {
	spec   Spec
	keys   string
	server testsshd.Server
	down   atomic.Bool
	frozen int
	typed  string // by the names of the keys
}

// Type implements Keyboard. An installer's machine has done its work when it reads a line.
func (v *toyVM) Type(_ context.Context, s installer.Stroke) error {
	for _, k := range s.Keys {
		v.typed += k.QEMU + " "
		if k.QEMU == "ret" && v.spec.Disks[0].Own {
			v.down.Store(true)
			return os.WriteFile(v.spec.Disks[0].Media[0], []byte("installed by "+v.typed), 0o600)
		}
	}
	return nil
}

func (v *toyVM) Host() (installer.Host, error) {
	return installer.Host{Listen: "127.0.0.1:0", Name: "127.0.0.1"}, nil
}

func (v *toyVM) Start(context.Context) error {
	if v.spec.Disks[0].Own {
		return nil // of an installer
	}
	dir := filepath.Join(v.spec.Dir, "sshd")
	upper := filepath.Join(v.spec.Dir, "upper")
	media := v.spec.Disks[0].Media
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(upper, 0o755)); err != nil {
		return err
	}
	if out, err := exec.Command("tar", "-xf", media[len(media)-1], "-C", upper, "--one-top-level="+upper).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	v.server = testsshd.Server{
		Dir: dir, Upper: upper, AuthorizedKeys: v.keys,
		Address: fmt.Sprintf("127.87.%d.%d:22", os.Getpid()%250+1, toyAddresses.Add(1)%250+1),
		Setup:   "mount --bind '" + v.spec.Console + "' dev/console; echo booted >dev/console; printf '#!/bin/sh\\ntouch /root/.down' >usr/local/sbin/systemctl; chmod 755 usr/local/sbin/systemctl; rm -f root/.down",
	}
	return v.server.Start()
}

func (v *toyVM) Stop(context.Context) error { return v.server.Stop() }

func (v *toyVM) Running(context.Context) (bool, error) {
	if v.down.Load() || v.spec.Disks[0].Own {
		return !v.down.Load(), nil
	}
	child, err := v.server.Child()
	if err != nil {
		return false, err
	}
	_, err = os.Stat(fmt.Sprintf("/proc/%d/root/root/.down", child))
	v.down.Store(err == nil)
	return err != nil, nil
}

func (v *toyVM) Reach(_ context.Context, port int) (string, error) {
	host, _, _ := strings.Cut(v.server.Address, ":")
	return fmt.Sprintf("%s:%d", host, port), nil
}

func (v *toyVM) Freeze(context.Context) ([]string, error) {
	v.frozen++
	saved := filepath.Join(v.spec.Dir, fmt.Sprintf("saved%d", v.frozen))
	if err := v.server.Save(saved); err != nil {
		return nil, err
	}
	out, err := exec.Command("tar", "-cf", saved+".toy", "-C", saved, ".").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return []string{saved + ".toy"}, nil
}

// toyMedia are tar archives, and so are the "raw" disks that they are made of.
type toyMedia struct{}

func (toyMedia) Ext() string { return ".toy" }

func (toyMedia) Size(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (toyMedia) Write(_ context.Context, out, raw *os.File, _ int64) error {
	_, err := io.Copy(out, raw)
	return err
}

func (toyMedia) Read(_ context.Context, raw *os.File, chain []string, progress func(done, total int64)) error {
	progress(1, 1)
	in, err := os.Open(chain[len(chain)-1])
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(raw, in)
	return err
}

// A world is a driver of a toy with a first layer.
type world struct {
	host   *platformtest.Host
	toy    *toy
	driver *Driver
	first  platforms.Layer
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	need.Root(t)
	need.Tool(t, append(testsshd.Tools, "tar")...)
	w := &world{host: platformtest.NewHost(t), toy: &toy{vms: map[string]*toyVM{}}}
	o.BootTimeout = cmp.Or(o.BootTimeout, "20s")
	var err error
	if w.driver, err = New("toy", o, o, w.host, w.toy); err != nil {
		t.Fatal(err)
	}
	key, err := w.driver.key()
	if err != nil {
		t.Fatal(err)
	}
	w.toy.keys = key.Authorized()
	w.first = platforms.Layer{Key: "first", Dir: t.TempDir()}
	if out, err := exec.Command("tar", "-cf", filepath.Join(w.first.Dir, "disk0.toy"), "-T", "/dev/null").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := (about{Disks: 1, Hardware: hardware.Options{CPUs: 3, Memory: "512M", NIC: "pcnet"}}).write(w.first.Dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.driver.Close(); err != nil {
			t.Error(err)
		}
		if left := w.toy.left(); len(left) > 0 {
			t.Errorf("machines are left in %s", left)
		}
		if open := w.host.Left(); len(open) > 0 {
			t.Errorf("the ledger still has %v", open)
		}
	})
	return w
}

// resourceJSON is a record as the ledger keeps it.
func resourceJSON(t *testing.T, r platforms.Resource) string {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
