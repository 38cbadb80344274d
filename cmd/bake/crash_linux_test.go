package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bake.build/bake/internal/need"
)

// forest is a definition with branches: enough steps that a kill hits every
// part of a build, quick enough to be killed often.
const forest = `
base = source(rootfs(), tar = "root.tar")
base = shell(base, "echo run base >&2; echo base > /base")
for name in ["a", "b", "c"]:
    m = shell(base, "echo run %s1 >&2; for i in 1 2 3 4 5; do echo $i > /%s$i; done" % (name, name))
    m = copy(m, "data.txt", "/data/%s" % name)
    m = shell(m, "echo run %s2 >&2; rm /%s1; mkdir -p /dir/%s && echo x > /dir/%s/x" % (name, name, name, name))
    test(m, "test -e /dir/%s/x" % name, name = "test-" + name)
    export(m, name, formats = ["tar"])
`

// bakeIn returns a command that runs bake as a process of its own in dir, with
// the cache in dir/cache.
func bakeIn(t *testing.T, bin, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BAKE_CACHE_DIR="+filepath.Join(dir, "cache"))
	return cmd
}

func forestDir(t *testing.T) string {
	t.Helper()
	need.Root(t)
	need.File(t, busyboxPath)
	dir := t.TempDir()
	if err := writeBusybox(filepath.Join(dir, "root.tar")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"images.star": forest, "data.txt": strings.Repeat("data\n", 1000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestKilledAtAnyMoment kills builds with SIGKILL at random moments. The next
// build completes, the store is whole, and no mount, process or staging folder
// is left.
func TestKilledAtAnyMoment(t *testing.T) {
	need.Slow(t)
	t.Parallel()
	dir := forestDir(t)
	bin := buildBake(t)
	begin := time.Now()
	if out, err := bakeIn(t, bin, dir, "build").CombinedOutput(); err != nil {
		t.Fatalf("first build: %v\n%s", err, out)
	}
	whole := time.Since(begin)
	const rounds = 200
	interrupted, fresh := 0, true
	for round := range rounds {
		if fresh = fresh || round%4 == 0; fresh {
			if err := os.RemoveAll(filepath.Join(dir, "out")); err != nil {
				t.Fatal(err)
			}
			if out, err := bakeIn(t, bin, dir, "cache", "prune", "--all").CombinedOutput(); err != nil {
				t.Fatalf("prune: %v\n%s", err, out)
			}
		}
		cmd := bakeIn(t, bin, dir, "build")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		begin := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		var err error
		select {
		case err = <-ended:
			// The first build was slower than this one, as when the machine was
			// busy: aim at the time that a build takes now.
			if took := time.Since(begin); fresh && err == nil {
				whole = min(whole, took)
			}
		case <-time.After(time.Duration(rand.Int64N(int64(whole) + 1))):
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			err = <-ended
		}
		// A build that was not hit left nothing for the next one to do.
		fresh = err == nil
		if err != nil {
			interrupted++
		}
		if round%20 == 19 {
			checkWhole(t, bin, dir)
		}
	}
	if interrupted < rounds/4 {
		t.Errorf("only %d of %d builds were hit", interrupted, rounds)
	}
	t.Logf("%d of %d builds were hit", interrupted, rounds)
}

// checkWhole completes the build and looks at what is left.
func checkWhole(t *testing.T, bin, dir string) {
	t.Helper()
	for _, args := range [][]string{{"build"}, {"cache", "verify"}} {
		if out, err := bakeIn(t, bin, dir, args...).CombinedOutput(); err != nil {
			t.Fatalf("bake %v after kills: %v\n%s", args, err, out)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		list, err := exec.Command("tar", "-tf", filepath.Join(dir, "out", name, name+".tar")).Output()
		if err != nil || !bytes.Contains(list, []byte("dir/"+name+"/x")) {
			t.Fatalf("artifact %s: %v\n%s", name, err, list)
		}
	}
	if err := leftovers(filepath.Join(dir, "cache")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "out"))
	if err != nil || len(entries) != 3 {
		t.Fatalf("left in the output folder: %v, %v", entries, err)
	}
}

// TestEightProcesses builds with eight processes on one store at once: all
// succeed, and every layer is made once.
func TestEightProcesses(t *testing.T) {
	dir := forestDir(t)
	bin := buildBake(t)
	const processes = 8
	outputs := make([]bytes.Buffer, processes)
	var wg sync.WaitGroup
	for i := range processes {
		wg.Add(1)
		go func() {
			defer wg.Done()
			cmd := bakeIn(t, bin, dir, "build", "--progress=plain", "--out", fmt.Sprintf("out%d", i))
			cmd.Stdout, cmd.Stderr = &outputs[i], &outputs[i]
			if err := cmd.Run(); err != nil {
				t.Errorf("process %d: %v\n%s", i, err, outputs[i].String())
			}
		}()
	}
	wg.Wait()
	for _, step := range []string{"base", "a1", "a2", "b1", "b2", "c1", "c2"} {
		runs := 0
		for i := range outputs {
			runs += strings.Count(outputs[i].String(), "run "+step+"\n")
		}
		// The step's text is in its name as well: what it prints has a prefix.
		printed := 0
		for i := range outputs {
			for line := range strings.Lines(outputs[i].String()) {
				if strings.HasSuffix(strings.TrimSpace(line), "run "+step) {
					printed++
				}
			}
		}
		if printed != 1 {
			t.Errorf("step %s ran %d times (%d), want once", step, printed, runs)
		}
	}
	if err := leftovers(filepath.Join(dir, "cache")); err != nil {
		t.Error(err)
	}
}

// TestInterrupt stops a build with SIGINT in a long step: it ends soon, keeps
// the layers before it and leaves nothing behind.
func TestInterrupt(t *testing.T) {
	dir := forestDir(t)
	bin := buildBake(t)
	text := `
m = source(rootfs(), tar = "root.tar")
m = shell(m, "echo first >&2")
m = shell(m, "echo waiting >&2; sleep 1000")
export(m, "x", formats = ["tar"])
`
	if err := os.WriteFile(filepath.Join(dir, "images.star"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := bakeIn(t, bin, dir, "build", "--progress=plain")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(seen.String(), " waiting") {
		n, err := stderr.Read(buf)
		if err != nil {
			t.Fatalf("%v\n%s", err, seen.String())
		}
		seen.Write(buf[:n])
	}
	begin := time.Now()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := stderr.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d (%v), want %d\n%s", code, err, exitInterrupted, seen.String())
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("took %v to stop", took)
	}
	if err := leftovers(filepath.Join(dir, "cache")); err != nil {
		t.Error(err)
	}
	out, err := bakeIn(t, bin, dir, "cache", "ls").Output()
	if err != nil || !strings.Contains(string(out), "echo first") {
		t.Errorf("the first step's layer was not kept: %v\n%s", err, out)
	}
}

// TestMuchOutput runs a step that writes 512 MiB, twice of what bake may take: it
// streams through in bounded memory, and the log on disk stays small.
func TestMuchOutput(t *testing.T) {
	need.Slow(t)
	t.Parallel()
	dir := forestDir(t)
	bin := buildBake(t)
	text := `
m = source(rootfs(), tar = "root.tar")
m = shell(m, "yes 0123456789012345678901234567890123456789 | head -c 536870912; echo; echo quiet again")
export(m, "n", formats = ["tar"])
`
	if err := os.WriteFile(filepath.Join(dir, "images.star"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := bakeIn(t, bin, dir, "build", "--progress=plain")
	var tail tailBuffer
	cmd.Stderr = &tail
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	peak := peakMemory(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, tail.last)
	}
	if tail.total < 512<<20 || !bytes.Contains(tail.last, []byte("quiet again")) {
		t.Errorf("%d bytes of output; the last: %s", tail.total, tail.last)
	}
	const most = 256 << 10 // KiB
	if took := peak(); took == 0 || took > most {
		t.Errorf("bake took %d KiB of memory, want at most %d", took, most)
	}
	var logs int64
	if err := filepath.WalkDir(filepath.Join(dir, "cache", "logs"), func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			logs += info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if logs == 0 || logs > 256<<20 {
		t.Errorf("logs take %d bytes", logs)
	}
}

// peakMemory looks how much memory a process has taken at most, in KiB, until peak is
// called. What the kernel tells of a process that has ended is no help: it counts the
// memory of the one that started it, too, which is this test.
func peakMemory(pid int) (peak func() int) {
	stop, most := make(chan struct{}), make(chan int)
	go func() {
		took := 0
		for {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // none when it has ended
			if _, line, ok := strings.Cut(string(status), "VmHWM:"); ok {
				if n, err := strconv.Atoi(strings.Fields(line)[0]); err == nil {
					took = max(took, n)
				}
			}
			select {
			case <-stop:
				most <- took
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int {
		close(stop)
		return <-most
	}
}

// A tailBuffer counts what is written and keeps the last of it.
type tailBuffer struct {
	total int64
	last  []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.total += int64(len(p))
	b.last = append(b.last, p...)
	if extra := len(b.last) - 4096; extra > 0 {
		b.last = append(b.last[:0], b.last[extra:]...)
	}
	return len(p), nil
}
