package rootfs_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// processes counts the processes of the host whose command line holds text.
func processes(t *testing.T, text string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(text)) {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Errorf("not so after a minute: %s", what)
}

func TestDaemonsDie(t *testing.T) {
	f := newFixture(t, "")
	m := f.boot(t)
	start := time.Now()
	out, err := sh(m, "(setsid sleep 27182 >/dev/null 2>&1 &); (setsid sleep 27182 &); echo done")
	if err != nil || out != "done" {
		t.Fatal(err, out)
	}
	if d := time.Since(start); d > time.Minute {
		t.Errorf("Run waited %v for daemons", d)
	}
	if n := processes(t, "sleep\x0027182"); n != 0 {
		t.Errorf("%d daemons are left", n)
	}
}

func TestLargeOutput(t *testing.T) {
	f := newFixture(t, "")
	m := f.boot(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	count := &counter{}
	err := m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", "dd if=/dev/zero bs=1M count=1024 2>/dev/null"}, Stdout: count, Stderr: count})
	runtime.ReadMemStats(&after)
	if err != nil || count.n != 1<<30 {
		t.Errorf("%d bytes, %v", count.n, err)
	}
	if grew := after.TotalAlloc - before.TotalAlloc; grew > 16<<20 {
		t.Errorf("took %d MiB of memory", grew>>20)
	}
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func TestHowCommandsEnd(t *testing.T) {
	f := newFixture(t, "")
	fs := filepath.Join(f.base.Dir, "fs")
	foreign := append([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00\x01\x00\x00\x00"), make([]byte, 40)...)
	for name, content := range map[string]string{
		"foreign": string(foreign), "noline": "echo hi\n", "lost": "#!/no/such/interpreter\n",
	} {
		if err := os.WriteFile(filepath.Join(fs, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(fs, "plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	m := f.boot(t)
	for _, tt := range []struct {
		args []string
		want platforms.ExitError
	}{
		{[]string{"sh", "-c", "exit 7"}, platforms.ExitError{Code: 7}},
		{[]string{"sh", "-c", "kill -KILL $$"}, platforms.ExitError{Code: -1, Signal: "killed"}},
		{[]string{"sh", "-c", "kill -TERM 1; kill -KILL 1; kill -INT 1; exit 9"}, platforms.ExitError{Code: 9}},
		{[]string{"nonesuch"}, platforms.ExitError{Code: 127, Reason: "command not found: nonesuch"}},
		{[]string{"/no/such"}, platforms.ExitError{Code: 127, Reason: "command not found: /no/such"}},
		{[]string{"/plain"}, platforms.ExitError{Code: 126, Reason: "run /plain: permission denied"}},
		{[]string{"/etc"}, platforms.ExitError{Code: 126, Reason: "run /etc: permission denied"}},
		{[]string{"/noline"}, platforms.ExitError{Code: 126, Reason: "neither a program nor a script"}},
		{[]string{"/foreign"}, platforms.ExitError{Code: 126, Reason: "program for riscv"}},
		{[]string{"/lost"}, platforms.ExitError{Code: 127, Reason: "interpreter"}},
	} {
		err := m.Run(t.Context(), platforms.Cmd{Args: tt.args})
		var exit *platforms.ExitError
		if !errors.As(err, &exit) || exit.Code != tt.want.Code || exit.Signal != tt.want.Signal || !strings.Contains(exit.Reason, tt.want.Reason) {
			t.Errorf("%v: %#v (%v), want %#v", tt.args, exit, err, tt.want)
		}
	}
}

func TestCancel(t *testing.T) {
	f := newFixture(t, "")
	m := f.boot(t)
	for _, tt := range []struct{ name, script string }{
		{"polite", "sleep 16180"},
		{"deaf", "trap '' TERM INT; sleep 16180 & while :; do sleep 16180; done"},
		{"forks", "trap '' TERM; for i in 1 2 3; do (setsid sleep 16180 &); done; sleep 16180; sleep 16180"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := m.Run(ctx, platforms.Cmd{Args: []string{"sh", "-c", tt.script}, Stdout: io.Discard})
			// Without an end to its grace a deaf command would take hours.
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > time.Minute {
				t.Errorf("%v after %v", err, took)
			}
			if n := processes(t, "sleep\x0016180"); n != 0 {
				t.Errorf("%d processes are left", n)
			}
		})
	}
	if out, err := sh(m, "echo still here"); err != nil || out != "still here" {
		t.Errorf("the machine does not go on: %q, %v", out, err)
	}
}

// TestInherited holds that commands start with no signal ignored or blocked and
// with no descriptor but the standard ones.
func TestInherited(t *testing.T) {
	f := newFixture(t, "")
	m := f.boot(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"grep", "-h", "-e", "SigIgn", "-e", "SigBlk", "/proc/self/status"}, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"},
		{[]string{"ls", "/proc/self/fd"}, "0\n1\n2\n3\n"}, // 3 is the directory that ls reads
	} {
		var out platformtest.Log
		err := m.Run(t.Context(), platforms.Cmd{Args: tt.args, Stdout: &out})
		if err != nil || out.String() != tt.want {
			t.Errorf("%v: %q (%v), want %q", tt.args, out.String(), err, tt.want)
		}
	}
}

func TestCloseEndsCommand(t *testing.T) {
	f := newFixture(t, "")
	m := f.boot(t)
	ended := make(chan error, 1)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		ended <- m.Run(context.Background(), platforms.Cmd{Args: []string{"sh", "-c", "trap '' TERM; echo up; sleep 14142"}, Stdout: w})
	}()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "machine is closed") {
		t.Errorf("Run: %v", err)
	}
	if n := processes(t, "sleep\x0014142"); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// TestFullDisk runs on a small disk a step that fills it.
func TestFullDisk(t *testing.T) {
	f := newFixture(t, "")
	small := t.TempDir()
	if err := unix.Mount("bake-test", small, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	full := *f
	full.host.dir = small
	full.driver = newDriver(t, "", full.host)
	m := full.boot(t)
	out, err := sh(m, "dd if=/dev/zero of=/big bs=1M count=64")
	var exit *platforms.ExitError
	if !errors.As(err, &exit) || exit.Code != 1 || !strings.Contains(out, "No space left") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := sh(m, "rm /big && echo ok > /small && cat /small"); err != nil || out != "ok" {
		t.Errorf("after that: %s, %v", out, err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(small); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestResolvConf(t *testing.T) {
	host, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Skip("the host has no /etc/resolv.conf")
	}
	link := func(target string) func(string) error {
		return func(etc string) error { return os.Symlink(target, etc+"/resolv.conf") }
	}
	const stub = "../run/systemd/resolve/stub-resolv.conf"
	for _, tt := range []struct {
		name   string
		make   func(etc string) error
		script string
		want   string // in the layer afterwards; a link's target after "-> "
	}{
		{"missing", func(string) error { return nil }, "true", ""},
		{"missing, added to", func(string) error { return nil }, "echo 'options rotate' >>/etc/resolv.conf", "options rotate\n"},
		{"missing, removed", func(string) error { return nil }, "rm /etc/resolv.conf", ""},
		{"file", func(etc string) error { return os.WriteFile(etc+"/resolv.conf", []byte("image\n"), 0o644) }, "true", "image\n"},
		{"file, added to", func(etc string) error { return os.WriteFile(etc+"/resolv.conf", []byte("image\n"), 0o644) },
			"echo 'options rotate' >>/etc/resolv.conf", "image\noptions rotate\n"},
		{"file, edited", func(etc string) error { return os.WriteFile(etc+"/resolv.conf", []byte("image\n"), 0o644) },
			"sed -i 's/^nameserver.*/nameserver 192.0.2.1/' /etc/resolv.conf", "nameserver 192.0.2.1\n"},
		{"file, edited without effect", func(etc string) error { return os.WriteFile(etc+"/resolv.conf", []byte("image\n"), 0o644) },
			"sed -i s/nothing/x/ /etc/resolv.conf", "image\n"},
		{"file, replaced", func(etc string) error { return os.WriteFile(etc+"/resolv.conf", []byte("image\n"), 0o644) },
			"cp /etc/resolv.conf /tmp/x; grep -v '^#' /tmp/x >/etc/resolv.conf", string(host)},
		{"file, made a link", func(etc string) error { return os.WriteFile(etc+"/resolv.conf", []byte("image\n"), 0o644) },
			"ln -sf " + stub + " /etc/resolv.conf; cat /etc/resolv.conf >/dev/null", "-> " + stub},
		{"file, removed", func(etc string) error { return os.WriteFile(etc+"/resolv.conf", []byte("image\n"), 0o644) },
			"rm /etc/resolv.conf", ""},
		{"dangling link", link("/nowhere/x"), "true", "-> /nowhere/x"},
		{"stub of resolved", link(stub), "true", "-> " + stub},
		{"stub of resolved, changed", link(stub), "echo changed >>/etc/resolv.conf", "-> " + stub},
		{"another file in /run", link("/var/run/NetworkManager/resolv.conf"), "true", "-> /var/run/NetworkManager/resolv.conf"},
		{"link to a file", link("../tmp/static"), "true", "-> ../tmp/static"},
		{"link out", link("../../../../../../etc/resolv.conf.host"), "true", "-> ../../../../../../etc/resolv.conf.host"},
		{"link in a loop", link("resolv.conf"), "true", "-> resolv.conf"},
		{"directory", func(etc string) error { return os.Mkdir(etc+"/resolv.conf", 0o755) }, "true", "directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, "")
			fs := filepath.Join(f.base.Dir, "fs")
			if err := tt.make(fs + "/etc"); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Symlink("/run", fs+"/var/run"), os.WriteFile(fs+"/tmp/static", []byte("nameserver 127.0.0.53\n"), 0o644)); err != nil {
				t.Fatal(err)
			}
			m := f.boot(t)
			out, err := sh(m, "cat /etc/resolv.conf || exit 0; "+tt.script)
			if err != nil {
				t.Fatal(err, out)
			}
			if strings.Contains(out, strings.TrimSpace(string(host))) == (tt.want == "directory") {
				t.Errorf("a step sees %q", out)
			}
			l := f.commit(t, m, "after")
			if got := inTree(t, f, []platforms.Layer{f.base, l}, "etc/resolv.conf"); got != tt.want {
				t.Errorf("the layer has %q, want %q", got, tt.want)
			}
			if now, err := os.ReadFile("/etc/resolv.conf"); err != nil || !bytes.Equal(now, host) {
				t.Errorf("the host's own changed (%v)", err)
			}
			if strings.HasPrefix(tt.script, "true") {
				if names, err := os.ReadDir(filepath.Join(l.Dir, "fs")); err != nil || len(names) > 0 {
					t.Errorf("the layer of a step that changed nothing has %v, %v", names, err)
				}
			}
		})
	}
}

func inTree(t *testing.T, f *fixture, chain []platforms.Layer, name string) (found string) {
	t.Helper()
	err := f.driver.(platforms.Treer).Tree(t.Context(), chain, func(dir string) error {
		p := filepath.Join(dir, name)
		fi, err := os.Lstat(p)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return err
		case fi.IsDir():
			found = "directory"
		case fi.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(p)
			found = "-> " + target
			return err
		default:
			b, err := os.ReadFile(p)
			found = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestParentKilled kills a bake with a running machine.
func TestParentKilled(t *testing.T) {
	f := newFixture(t, "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for i, role := range []string{"hold", "hold", "hold-tree"} {
		cmd := exec.Command(self)
		cmd.Dir = f.host.dir
		cmd.Env = append(os.Environ(), roleEnv+"="+role)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if i > 0 { // else at once, while the machine starts
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Fatal(err, line)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		eventually(t, "no process is left", func() bool { return processes(t, "sleep\x0031415") == 0 })
	}
	now, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || !bytes.Equal(now, mounts) {
		t.Errorf("mounts of the host changed (%v):\n%s", err, now)
	}
	if err := os.RemoveAll(f.host.dir); err != nil {
		t.Errorf("remove what is left: %v", err)
	}
}

func TestLimits(t *testing.T) {
	f := newFixture(t, `{"memory":"32M","pids":20}`)
	m := f.boot(t)
	out, err := sh(m, "i=0; while [ $i -lt 40 ]; do sleep 1 & i=$((i+1)); done; wait")
	if !strings.Contains(out, "Resource temporarily unavailable") && !strings.Contains(out, "can't fork") {
		if !hasGroups() {
			t.Skip("needs control groups for processes and memory")
		}
		t.Errorf("pids: %v: %s", err, out)
	}
	_, err = sh(m, "head -c 200m /dev/zero | tail -c 150m > /dev/null")
	var exit *platforms.ExitError
	if !errors.As(err, &exit) || !strings.Contains(exit.Reason, "out of memory") {
		t.Errorf("memory: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/bake-%d-*", "/sys/fs/cgroup/bake-%d-*"} {
		if left, _ := filepath.Glob(fmt.Sprintf(pattern, os.Getpid())); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func hasGroups() bool {
	_, err := os.Stat("/sys/fs/cgroup/pids/cgroup.procs")
	return err == nil
}
