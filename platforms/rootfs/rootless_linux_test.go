package rootfs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs"
)

// rootless is what TestRootless runs as an ordinary user.
func rootless() error {
	if err := rootfs.Enter(); err != nil {
		return err
	}
	d, m, err := openHere()
	if err != nil {
		return err
	}
	fmt.Println("fingerprint:", d.Fingerprint())
	out, err := sh(m, rootlessScript, func(c *platforms.Cmd) { c.NoNetwork = os.Getenv("NO_NETWORK") != "" })
	fmt.Println(out)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs("layer")
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if _, err := m.Commit(context.Background(), platforms.State{Dir: dir, Needed: true}); err != nil {
		return err
	}
	out, err = sh(m, "stat -c '%u:%g %a' /srv/data/f; ls /srv; su ann -c 'id -u'")
	fmt.Println(out)
	if err != nil {
		return err
	}
	if os.Getenv("EXIT") != "" {
		os.Exit(42)
	}
	return errors.Join(m.Close(), os.RemoveAll(dir))
}

// await runs in a user namespace until it gets a signal.
func await() error {
	if err := rootfs.Enter(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1)
	fmt.Println(os.Getpid())
	fmt.Println((<-signals).String())
	os.Exit(7)
	return nil
}

// rootlessScript does what installing packages does: owners, modes, links,
// removal of what a layer below holds, reading devices.
const rootlessScript = `set -e
id -u
mkdir -p /srv/data && echo x > /srv/data/f
chown 1000:50 /srv/data/f && chmod 4750 /srv/data/f
chown 65534:65534 /srv/data
rm /etc/hostname && rm -r /home && mkdir /home
head -c 4 /dev/zero | wc -c
head -c 4 /dev/urandom > /dev/null
mknod /srv/disk b 8 0 2>/dev/null && echo MADE A DEVICE
ls -d /proc/1 /sys/class /dev/pts
test ! -e /etc/hostname && echo gone
`

func TestRootless(t *testing.T) {
	need.Root(t)
	need.Tool(t, "newuidmap", "useradd", "setpriv")
	name := fmt.Sprintf("baketest%d", os.Getpid())
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	run("useradd", "--system", "--no-create-home", "--user-group", name)
	t.Cleanup(func() { run("userdel", name) })
	run("usermod", "--add-subuids", "3000000-3065535", "--add-subgids", "3000000-3065535", name)

	// A directory that the user reaches, with a program that it may run.
	dir, err := os.MkdirTemp("/var/tmp", "rootless")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, self, filepath.Join(dir, "program"))
	baseLayer(t, filepath.Join(dir, "base"))
	run("chown", "-R", name+":"+name, dir)

	as := func(env ...string) (string, error) {
		cmd := exec.Command("setpriv", "--reuid", name, "--regid", name, "--clear-groups", filepath.Join(dir, "program"))
		cmd.Dir = dir
		cmd.Env = append([]string{roleEnv + "=rootless", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, env := range []string{"", "NO_NETWORK=1"} {
		out, err := as(env)
		want := "fingerprint: " + strings.Replace(fingerprintOf(t), "trusted", "user", 1) +
			"\n0\n4\n/dev/pts\n/proc/1\n/sys/class\ngone\n1000:50 4750\ndata\n1000\n"
		if err != nil || out != want {
			t.Errorf("%s: %v, output:\n%s\nwant:\n%s", env, err, out, want)
		}
	}
	var exit *exec.ExitError
	if _, err := as("EXIT=1"); !errors.As(err, &exit) || exit.ExitCode() != 42 {
		t.Errorf("exit code does not pass through: %v", err)
	}
	for _, s := range []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGKILL} {
		testSignal(t, dir, name, s)
	}
	run("usermod", "--del-subuids", "3000000-3065535", name)
	out, err := as()
	if err == nil || !strings.Contains(out, "run bake as root, or run once as root: apt-get install uidmap && usermod --add-subuids") || strings.Count(out, "\n") != 1 {
		t.Errorf("without subordinate ids: %v, %s", err, out)
	}
}

// testSignal sends a signal to the process outside of the namespace.
func testSignal(t *testing.T, dir, user string, s os.Signal) {
	t.Helper()
	cmd := exec.Command("setpriv", "--reuid", user, "--regid", user, "--clear-groups", filepath.Join(dir, "program"))
	cmd.Dir = dir
	cmd.Env = []string{roleEnv + "=await", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	pid, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	got, _ := lines.ReadString('\n') // its end, when killed
	err = cmd.Wait()
	if s == unix.SIGKILL {
		eventually(t, "the process inside dies with the one outside", func() bool {
			_, err := os.Stat("/proc/" + strings.TrimSpace(pid))
			return os.IsNotExist(err)
		})
		return
	}
	var exit *exec.ExitError
	if got != s.String()+"\n" || !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v: got %q, %v", s, got, err)
	}
}

func fingerprintOf(t *testing.T) string {
	d, err := rootfs.Spec().New(nil, testHost{t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return d.Fingerprint()
}
