// Package testsshd runs machines for tests: SSH servers of OpenSSH, each in
// namespaces of its own, with an overlay over this host's files as its root
// directory. It needs root, sshd, unshare, nsenter and ssh-keygen.
package testsshd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"bake.build/bake/internal/tool"
)

// Tools are what the host has to have.
var Tools = []string{"sshd", "unshare", "nsenter", "ssh-keygen"}

// script makes the root directory and becomes its SSH server. It runs in new
// namespaces; $1 is a directory for all of it, $2 what the overlay's upper directory
// holds at first or "", $3 the address.
const script = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
[ -z "$2" ] || cp -a "$2/." "$1/up"
mount -t overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t devtmpfs devtmpfs dev 2>/dev/null || mount --rbind /dev dev
mkdir -p dev/pts run/sshd root/.ssh
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
hostname machine
rm -f root/.bashrc # of this host, which sshd's bash would read
grep -q ^ann: etc/passwd || { echo 'ann:x:1000:1000::/home/ann:/bin/sh' >>etc/passwd; echo 'ann:x:1000:' >>etc/group; mkdir -p home/ann/.ssh; }
cp "$4" root/.ssh/authorized_keys
cp "$4" home/ann/.ssh/authorized_keys
chown -R 1000:1000 home/ann
chmod 700 root root/.ssh home/ann/.ssh
chmod 600 root/.ssh/authorized_keys home/ann/.ssh/authorized_keys
cp "$5" run/host_key
chmod 600 run/host_key
cat >run/sshd_config <<END
ListenAddress $3
HostKey /run/host_key
PidFile none
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
END
[ -z "$6" ] || eval "$6"
echo up
exec chroot . /usr/sbin/sshd -D -e -f /run/sshd_config
`

// A Server is one machine. Its fields are set before Start.
type Server struct {
	Dir            string // an empty directory of the machine's own, or that of an earlier one
	Address        string // "host:port", on the loopback
	AuthorizedKeys string // of root and of ann, a user; lines
	Upper          string // a directory that Save has written, or ""
	Setup          string // shell that runs before the server starts, in its root directory

	cmd   *exec.Cmd
	ended <-chan error
}

// Path returns the path of a file in Dir. "host.pub" is the public host key.
func (s *Server) Path(name string) string { return filepath.Join(s.Dir, name) }

// NewHostKey makes another host key, for the next Start.
func (s *Server) NewHostKey() error {
	for _, name := range []string{"host", "host.pub"} {
		if err := os.Remove(s.Path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.Path("host")).CombinedOutput(); err != nil {
		return fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	return nil
}

// Start starts the machine and returns when it listens.
func (s *Server) Start() error {
	base := s.Path("base")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(s.Path("key.pub"), []byte(s.AuthorizedKeys+"\n"), 0o600); err != nil {
		return err
	}
	if _, err := os.Stat(s.Path("host")); errors.Is(err, os.ErrNotExist) {
		if err := s.NewHostKey(); err != nil {
			return err
		}
	}
	s.cmd = exec.Command("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh",
		base, s.Upper, s.Address, s.Path("key.pub"), s.Path("host"), s.Setup)
	out, w, err := os.Pipe()
	if err != nil {
		return err
	}
	s.cmd.Stdout, s.cmd.Stderr = w, w
	s.ended, err = tool.Start(s.cmd)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	lines := bufio.NewReader(out)
	var said strings.Builder
	for {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if strings.TrimSpace(line) == "up" {
			break
		}
		if err != nil {
			return fmt.Errorf("the machine does not start: %w\n%s", errors.Join(err, s.Stop()), said.String())
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, lines) // what it says is of no interest
		out.Close()
	}()
	return nil
}

// Stop ends the machine with all of its processes.
func (s *Server) Stop() error {
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-s.ended
	s.cmd = nil
	return err
}

// Child returns the process that is in the machine's namespaces: its SSH server.
func (s *Server) Child() (pid int, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(string(data), &pid)
	return pid, err
}

// Save copies what the machine has changed of the host's files to the new directory
// dst.
func (s *Server) Save(dst string) error {
	child, err := s.Child()
	if err != nil {
		return err
	}
	// The upper directory lies on a mount of the machine's namespace.
	cp := exec.Command("nsenter", "-m", "-t", fmt.Sprint(child), "cp", "-a", s.Path("base")+"/up", dst)
	if out, err := cp.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
