package rootfs_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// interact opens a shell on the process's own streams.
func interact() error {
	_, m, err := openHere()
	if err != nil {
		return err
	}
	err = m.(platforms.Sheller).Shell(context.Background(), platforms.Cmd{Args: []string{"sh"}, Env: []string{"PS1=> "}})
	fmt.Println("left with", err)
	return m.Close()
}

// newTerminal opens a pseudo terminal of the host.
func newTerminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("needs pseudo terminals: ", err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, tty
}

func TestShellOnTerminal(t *testing.T) {
	f := newFixture(t, "")
	master, tty := newTerminal(t)
	defer master.Close()
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 77}); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Dir = f.host.dir
	cmd.Env = append(os.Environ(), roleEnv+"=interact", "TERM=vt100")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	var out platformtest.Log
	read := make(chan struct{})
	go func() {
		_, _ = io.Copy(&out, master) // ends with an error when the terminal is gone
		close(read)
	}()
	say := func(line, want string) {
		t.Helper()
		if _, err := io.WriteString(master, line); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("%q gives %q", line, want), func() bool { return strings.Contains(out.String(), want) })
	}
	say("stty size; echo a$((1+1))b\n", "33 77")
	say("tty; echo $TERM\n", "/dev/pts/0")
	say("echo $TERM\n", "vt100")
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 44, Col: 88}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	say("stty size\n", "44 88")
	say("sleep 600\n", "sleep 600")
	time.Sleep(100 * time.Millisecond)
	say("\x03", "^C")
	say("echo alive$((2+3))\n", "alive5")
	say("exit 5\n", "left with exit status 5")
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%v: %s", err, out.String())
		}
	case <-time.After(5 * time.Second):
		_ = cmd.Process.Kill()
		t.Errorf("the shell does not end: %s", out.String())
	}
	<-read
}

func TestShellOnPipes(t *testing.T) {
	f := newFixture(t, "")
	m := f.boot(t)
	var out platformtest.Log
	c := platforms.Cmd{Args: []string{"sh"}, Stdin: strings.NewReader("echo piped\ntty\n"), Stdout: &out, Stderr: &out}
	_ = m.(platforms.Sheller).Shell(t.Context(), c)
	if out.String() != "piped\nnot a tty\n" {
		t.Errorf("got %q", out.String())
	}
}
