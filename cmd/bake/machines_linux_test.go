package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testdisk"
)

// killable is a definition whose first layer stays, so that a build of another
// number resumes it, and is quick enough to be killed often.
const killable = `
disk = param("disk", help = "what to boot")
number = param("number", default = 0)

base = source(qemu(memory = "384M", accel = "tcg"), disk = disk)
base = shell(base, "echo base >/base", name = "base")
if number:
    m = shell(base, "echo %d >/number" % number, name = "number")
    m = copy(m, "data.txt", "/data")
    test(m, "grep -qx %d /number && cat /base /data" % number, name = "number")
else:
    test(base, "cat /base", name = "base")
`

// TestKilledWithMachines kills builds with SIGKILL while their machines start,
// run, are committed and end. No QEMU outlives its bake, the next build goes on
// from what was committed, and nothing is left in the store.
func TestKilledWithMachines(t *testing.T) {
	need.Slow(t)
	need.Tool(t, "qemu-system-x86_64", "qemu-img", "pgrep")
	disk := testdisk.Path(t)
	bin, dir := buildBake(t), t.TempDir()
	for name, text := range map[string]string{"images.star": killable, "data.txt": strings.Repeat("data\n", 1000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := func(number int) *exec.Cmd {
		return bakeIn(t, bin, dir, "build", "--progress=plain", "-p", "disk="+disk, "-p", "number="+strconv.Itoa(number))
	}
	begin := time.Now()
	if out, err := build(0).CombinedOutput(); err != nil {
		t.Fatalf("first build: %v\n%s", err, out)
	}
	t.Logf("the first build took %v", time.Since(begin))
	begin = time.Now()
	if out, err := build(1).CombinedOutput(); err != nil {
		t.Fatalf("second build: %v\n%s", err, out)
	}
	whole := time.Since(begin)
	t.Logf("a build from the first layer takes %v", whole)
	const rounds = 50
	hit := 0
	for round := range rounds {
		cmd := build(2 + round)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(whole))
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if cmd.Wait() != nil {
			hit++
		}
		processesEnd(t, dir)
		if round%10 == 9 {
			for _, args := range [][]string{build(2 + round).Args[1:], {"cache", "verify"}} {
				if out, err := bakeIn(t, bin, dir, args...).CombinedOutput(); err != nil {
					t.Fatalf("bake %v after kills: %v\n%s", args, err, out)
				}
			}
			if err := leftovers(filepath.Join(dir, "cache")); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d of %d builds were hit", hit, rounds)
	if hit < rounds/2 {
		t.Errorf("only %d of %d builds were hit", hit, rounds)
	}
}

// seen are tests that look into a layer of a virtual machine.
const seen = `
def test_layer(t):
    m = shell(source(qemu(memory = "384M", accel = "tcg"), disk = "DISK"), "echo made >/made", name = "made")
    r = t.run(m, ["cat /made; pwd; id -un; echo $WHO >&2", "exit 3"], user = "ann", workdir = "/etc", env = {"WHO": "me"})
    t.equal(r.code, 3)
    t.equal(r.stdout.split(), ["made", "/etc", "ann"])
    t.equal(r.stderr.strip(), "me")
`

// TestLookIntoMachines holds that t.run runs commands in a virtual machine on a layer,
// which does not outlive the test.
func TestLookIntoMachines(t *testing.T) {
	need.Slow(t)
	need.Tool(t, "qemu-system-x86_64", "qemu-img", "pgrep")
	disk := testdisk.Path(t)
	bin, dir := buildBake(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "seen_test.star"), []byte(strings.Replace(seen, "DISK", disk, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	out, err := bakeIn(t, bin, dir, "test", "--build", "--verbose", ".").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "ok    seen_test.star:test_layer") {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("it took %v", time.Since(begin))
	processesEnd(t, dir)
	if err := leftovers(filepath.Join(dir, "cache")); err != nil {
		t.Fatal(err)
	}
}

// processesEnd waits until no process has the directory in its command line.
func processesEnd(t *testing.T, dir string) {
	t.Helper()
	var out []byte
	for range 50 {
		var err error
		if out, err = exec.Command("pgrep", "-a", "-f", dir).Output(); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("processes are left:\n%s", out)
}

// helloDisk is a disk whose boot sector writes "hello" to the serial port.
func helloDisk() []byte {
	disk := make([]byte, 1<<20)
	copy(disk, "\xba\xf8\x03"+ // mov dx, 0x3f8
		"\xb0h\xee\xb0e\xee\xb0l\xee\xb0l\xee\xb0o\xee\xb0\n\xee"+ // mov al, …; out dx, al
		"\xf4\xeb\xfd") // halt: hlt; jmp halt
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

// TestRun boots an image with bake run and ends the machine with an interrupt.
func TestRun(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64", "qemu-img", "pgrep")
	bin, dir := buildBake(t), t.TempDir()
	image := filepath.Join(dir, "hello.img")
	if err := os.WriteFile(image, helloDisk(), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := bakeIn(t, bin, dir, "run", "hello.img", "--memory=64M", "--forward=8080", "--console-log=console.log", "--keep=changes.qcow2")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	var said []byte
	for buf := make([]byte, 4096); !bytes.Contains(said, []byte("hello\n")); {
		n, err := out.Read(buf)
		said = append(said, buf[:n]...)
		if err != nil {
			t.Errorf("the console: %v", err)
			break
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	err = cmd.Wait()
	t.Logf("bake run: %v\n%s%s", err, said, errs.String())
	if !strings.Contains(errs.String(), "forwards to port 8080 of the machine") {
		t.Error("the forwarded port is not told")
	}
	processesEnd(t, dir)
	if log, err := os.ReadFile(filepath.Join(dir, "console.log")); err != nil || !bytes.Contains(log, []byte("hello\n")) {
		t.Errorf("the console's log: %q, %v", log, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "changes.qcow2")); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(image); err != nil || sha256.Sum256(data) != sha256.Sum256(helloDisk()) {
		t.Errorf("the image was changed: %v", err)
	}
	if err := leftovers(filepath.Join(dir, "cache")); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ arg, want string }{
		{"--forward=http", "--forward http: want two ports"},
		{"--on=qemo", "no such platform"},
		{"--console-log=console.log", "console.log"},
		{"--keep=changes.qcow2", "changes.qcow2 exists"},
		{"--memory=lots", "memory"},
		{"--user=ann", "--user: says who the shell of --shell belongs to"},
	} {
		out, err := bakeIn(t, bin, dir, "run", "hello.img", c.arg).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("bake run %s: %v\n%s", c.arg, err, out)
		}
	}
	if out, err := bakeIn(t, bin, dir, "run", "hello.txt").CombinedOutput(); err == nil {
		t.Errorf("bake run of no image: %s", out)
	}
}
