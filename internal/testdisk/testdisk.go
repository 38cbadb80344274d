// Package testdisk makes the disk that tests of virtual machines boot: Debian
// with an SSH server, as the rootfs platform builds it from packages. It is made
// once for all tests of a machine.
package testdisk

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testbake"
)

//go:embed images.star
var definition string

// Path returns the path of the disk, a qcow2 image, and makes it when it is
// missing. In the disk are the users ann, who may use sudo, and bob, who is asked
// for his password, "secret", both with uids from 1000 on. It must not be changed.
func Path(t testing.TB) string {
	t.Helper()
	return filepath.Join(files(t), diskName)
}

// KernelArgs are what the disk's kernel is told, for the sake of software emulation.
// Where each process has its libraries at other addresses, that translates them anew
// for each: four of five instructions that it translates. The kernel's tests of its own
// RSA are a sixth of what a boot computes. A host with much to do is late with the timer's
// interrupts, and the kernel would give up for that.
const KernelArgs = "norandmaps cryptomgr.notests no_timer_check"

// Tree unpacks the root file system of the disk to the new directory dir.
func Tree(t testing.TB, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-C", dir, "-xpf", filepath.Join(files(t), archiveName), "--numeric-owner").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
}

const diskName, archiveName = "base.qcow2", "base.tar"

// files returns the directory of the files, and makes them when they are missing.
func files(t testing.TB) string {
	t.Helper()
	need.Root(t)
	need.Tool(t, "mmdebstrap", "qemu-img", "mke2fs")
	sum := sha256.Sum256([]byte(definition + KernelArgs))
	dir := filepath.Join(os.TempDir(), "bake-test-disk-"+hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lock.Unlock(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := os.Stat(filepath.Join(dir, diskName)); err == nil {
		return dir
	} else if !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	build(t, dir)
	for _, name := range []string{archiveName, diskName} {
		if err := os.Rename(filepath.Join(dir, "out", "base", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// build runs bake, as it is in this checkout.
func build(t testing.TB, dir string) {
	t.Helper()
	bin := filepath.Join(dir, "bake")
	if err := testbake.Build(bin); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "images.star"), []byte(definition), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "build", "--progress", "plain", "-p", "kernel_args="+KernelArgs)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BAKE_CACHE_DIR="+filepath.Join(dir, "cache"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the test disk: %v\n%s", err, out)
	}
	for _, name := range []string{"cache", "bake"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}
