package rootfs_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// probe builds testdata/probe into the machine.
func probe(t *testing.T, f *fixture) {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", filepath.Join(f.base.Dir, "fs/bin/probe"), "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build probe: %v: %s", err, out)
	}
}

// TestForbidden makes every attempt of the probe as root, as another user, and
// with no network.
func TestForbidden(t *testing.T) {
	f := newFixture(t, "")
	probe(t, f)
	m := f.boot(t)
	before, err := os.Stat("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	for _, opt := range []func(*platforms.Cmd){
		func(*platforms.Cmd) {},
		func(c *platforms.Cmd) { c.User = "ann" },
		func(c *platforms.Cmd) { c.NoNetwork = true },
	} {
		out, err := sh(m, "probe", opt)
		if err != nil {
			t.Fatal(err, out)
		}
		if n := strings.Count(out, "\n"); n < 60 {
			t.Errorf("the probe made %d attempts only:\n%s", n, out)
		}
		for line := range strings.Lines(out) {
			_, result, _ := strings.Cut(strings.TrimSpace(line), ": ")
			refused := false
			for _, want := range []string{"operation not permitted", "permission denied", "function not implemented", "read-only file system", "no such file", "address family not supported", "not supported"} {
				refused = refused || strings.Contains(result, want)
			}
			if !refused {
				t.Errorf("not refused: %s", line)
			}
		}
	}
	if after, err := os.Stat("/proc/uptime"); err != nil || after.Mode() != before.Mode() {
		t.Errorf("mode of the host's /proc/uptime changed: %v, %v", after.Mode(), err)
	}
}

// TestIsolation holds what a machine must not see, and what it must see.
func TestIsolation(t *testing.T) {
	f := newFixture(t, "")
	secret := filepath.Join(f.host.dir, "secret")
	if err := os.WriteFile(secret, []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := f.boot(t)
	for _, tt := range []struct{ name, script, want string }{
		{"host name", "hostname", "bake"},
		{"processes", "set -- /proc/[0-9]*; echo $#", "2"}, // init, sh
		{"mounts of the host", "grep -c -e /work -e /var -e /dev/vda -e ' cgroup' /proc/mounts", "0"},
		{"files of the host", "test -e " + secret + " || echo none", "none"},
		{"devices", "ls /dev | tr '\\n' ' '", "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"},
		{"chroot escape", `mkdir -p /tmp/jail/bin /tmp/jail/lib; for d in /bin /lib*; do test -d $d && cp -a $d /tmp/jail/; done; mkdir -p /tmp/jail/x
			echo 'cd /; chroot x true 2>&-; i=0; while [ $i -lt 50 ]; do cd ..; i=$((i+1)); done; chroot . true; ls -d home etc 2>&1' > /tmp/jail/escape
			chroot /tmp/jail sh /escape | grep -c -x home`, "0"},
		{"dotdot of the root", "cat /../../../../etc/hostname", "golden"},
		{"environment", "env | grep -v ^container=bake$ | grep -c -i -e go -e bake", "0"},
		{"capabilities", "grep CapBnd /proc/self/status | cut -f2", "00000000800405fb"},
		{"filter", "grep -w Seccomp /proc/self/status | cut -f2", "2"},
		{"setuid programs work", "grep NoNewPrivs /proc/self/status | cut -f2", "0"},
		{"umask", "umask", "0022"},
		{"streams of another user", "chmod u+s /bin/busybox; su ann -c 'id -u > /dev/stdout'", "1000"},
		{"modules", "cat /proc/config.gz /proc/kallsyms /proc/partitions | wc -c", "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, _ := sh(m, tt.script)
			if out != tt.want {
				t.Errorf("got %q, want %q", out, tt.want)
			}
		})
	}
}

// TestOwnProgram runs bake's own program in a machine, which an interpreter
// line can do, and has it try to change its file.
func TestOwnProgram(t *testing.T) {
	f := newFixture(t, "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyLibraries(t, self, filepath.Join(f.base.Dir, "fs"))
	m := f.boot(t)
	if out, err := sh(m, "printf '#!/proc/self/exe\\n' > /trap; chmod +x /trap"); err != nil {
		t.Fatal(err, out)
	}
	var out platformtest.Log
	_ = m.Run(t.Context(), platforms.Cmd{Args: []string{"/trap"}, Env: []string{roleEnv + "=write-self"}, Stdout: &out, Stderr: &out})
	if !strings.Contains(out.String(), "read-only file system") {
		t.Errorf("the program's file could be changed: %s", out.String())
	}
}

// TestNamespaces holds that a machine has namespaces of its own.
func TestNamespaces(t *testing.T) {
	f := newFixture(t, "")
	m := f.boot(t)
	for _, ns := range []string{"mnt", "pid", "ipc", "uts", "cgroup"} {
		host, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := sh(m, "readlink /proc/self/ns/"+ns); err != nil || !strings.HasPrefix(out, ns) || out == host {
			t.Errorf("%s: the machine is in %s, the host in %s (%v)", ns, out, host, err)
		}
	}
}

func TestAbstractSockets(t *testing.T) {
	f := newFixture(t, "")
	probe(t, f)
	m := f.boot(t)
	name := fmt.Sprintf("bake-test-%d", os.Getpid())
	l, err := net.Listen("unix", "@"+name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, noNetwork := range []bool{true, false} {
		if !noNetwork && !hasScopes() {
			continue // before Linux 6.12 they are part of the host's network
		}
		out, err := sh(m, "probe "+name, func(c *platforms.Cmd) { c.NoNetwork = noNetwork })
		if err != nil || !strings.HasPrefix(out, "refused") {
			t.Errorf("no network %t: %s (%v)", noNetwork, out, err)
		}
	}
}

// hasScopes reports whether landlock is on and new enough.
func hasScopes() bool {
	b, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil || !strings.Contains(string(b), "landlock") {
		return false
	}
	v, err := os.ReadFile("/proc/sys/kernel/osrelease")
	var major, minor int
	_, scanErr := fmt.Sscanf(string(v), "%d.%d", &major, &minor)
	return err == nil && scanErr == nil && (major > 6 || major == 6 && minor >= 12)
}

func TestNoNetwork(t *testing.T) {
	f := newFixture(t, "")
	m := f.boot(t)
	out, err := sh(m, "ls /sys/class/net; cat /sys/class/net/lo/operstate; wc -l < /proc/net/route; cat /etc/resolv.conf 2>/dev/null; grep -c localhost /etc/hosts", func(c *platforms.Cmd) { c.NoNetwork = true })
	if err != nil || out != "lo\nunknown\n1\n2" {
		t.Errorf("%v: %s", err, out)
	}
}
