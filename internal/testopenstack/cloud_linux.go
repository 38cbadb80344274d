package testopenstack

import (
	"bufio"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/tool"
)

//go:embed chroot
var files embed.FS

// RootVariable names the directory that .ci/openstack has made; "none" is for runs that
// leave these tests to another one.
const RootVariable = "BAKE_TEST_OPENSTACK"

// RunningVariable names an OpenStack that runs already: the URL of its Keystone, a space,
// and the directory of its state. One process at a time may use it.
const RunningVariable = "BAKE_TEST_OPENSTACK_RUNNING"

// A Cloud is an OpenStack that runs.
type Cloud struct {
	URL   string // of Keystone, such as http://127.0.0.1:17000/v3
	State string // the directory with all that the services keep

	attendant *attendant
	stop      func() error
}

// Regions of the cloud. The second one has images alone, and takes them without an import.
const (
	Region = "RegionOne"
	Second = "RegionTwo"
)

// A Shared cloud is started by the first test that needs it.
type Shared struct {
	once  sync.Once
	cloud *Cloud
	err   error
}

// Get returns the cloud. It skips the test where there cannot be one.
func (s *Shared) Get(t testing.TB) *Cloud {
	t.Helper()
	need.Slow(t)
	if os.Getenv(RootVariable) == "none" {
		t.Skip("NOT CHECKED here, OpenStack: make cloud")
	}
	need.Root(t)
	need.Tool(t, "unshare", "mount")
	if url, state, ok := strings.Cut(os.Getenv(RunningVariable), " "); ok {
		s.once.Do(func() { s.cloud, s.err = attach(url, state) })
		if s.err != nil {
			t.Fatal(s.err)
		}
		return s.cloud
	}
	root, err := Root()
	if os.Getenv(RootVariable) == "" && err != nil {
		t.Skip("NOT CHECKED, OpenStack: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	s.once.Do(func() { s.cloud, s.err = Start(root, false) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.cloud
}

// Close ends the cloud, if it was started.
func (s *Shared) Close() error {
	if s.cloud == nil {
		return nil
	}
	return s.cloud.stop()
}

// enter makes the root directory in new namespaces and runs the services in it. $1 is the
// root directory of the packages, $2 a directory for all that is written.
const enter = `set -e
mount --make-rprivate /
mkdir -p "$2/up" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1/root,upperdir=$2/up,workdir=$2/work" overlay "$2/root"
mkdir -p "$2/root/bake" "$2/root/srv/os"
mount --bind "$2/state" "$2/root/srv/os"
mount --bind "$2/bake" "$2/root/bake"
mount -t proc proc "$2/root/proc"
mount --rbind /dev "$2/root/dev"
exec chroot "$2/root" bash /bake/cloud.sh serve
`

// startTime is how long the services may take to start.
const startTime = 10 * time.Minute

// Root returns the directory that .ci/openstack has made: that of RootVariable, or else
// one in the user's cache.
func Root() (string, error) {
	root := os.Getenv(RootVariable)
	if root == "" {
		home, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		root = filepath.Join(home, "bake-test", "openstack")
	}
	if _, err := os.Stat(filepath.Join(root, "made")); err != nil {
		return "", fmt.Errorf("%s is not there: make cloud has .ci/openstack make it", root)
	}
	return root, nil
}

// Start starts a cloud, of Keystone and the Glances alone if onlyImages is set. Close ends
// it.
func Start(root string, onlyImages bool) (*Cloud, error) {
	c, err := run(root, onlyImages)
	if err != nil {
		return nil, err
	}
	c.attend(filepath.Join(filepath.Dir(c.State), "machines"))
	if onlyImages {
		return c, nil
	}
	if err := c.furnish(context.Background()); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// attend makes machines of the cloud's servers, below dir, until it is closed.
func (c *Cloud) attend(dir string) {
	c.attendant = attend(filepath.Join(c.State, "machines"), dir)
	end := c.stop
	c.stop = func() error {
		c.attendant.close()
		return end()
	}
}

// With runs a command while a cloud runs that it finds in RunningVariable: starting one
// takes longer than many a test.
func With(root string, cmd *exec.Cmd) (err error) {
	c, err := run(root, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	cmd.Env = append(cmd.Environ(), RunningVariable+"="+c.URL+" "+c.State)
	return cmd.Run()
}

// run starts the services of a cloud.
func run(root string, onlyImages bool) (_ *Cloud, err error) {
	dir, err := os.MkdirTemp("", "openstack-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	state := filepath.Join(dir, "state")
	if out, err := exec.Command("cp", "-a", filepath.Join(root, "prepared"), state).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	if err := unpack(filepath.Join(dir, "bake")); err != nil {
		return nil, err
	}
	ports, err := freePorts(10)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", enter, "sh", root, dir)
	cmd.Env = os.Environ()
	for n, port := range ports {
		cmd.Env = append(cmd.Env, fmt.Sprintf("P%d=%d", n, port))
	}
	if onlyImages {
		cmd.Env = append(cmd.Env, "ONLY=images")
	}
	ended, err := serve(cmd)
	if err != nil {
		return nil, fmt.Errorf("start OpenStack: %w", err)
	}
	end := func() error {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		<-ended
		return os.RemoveAll(dir)
	}
	return &Cloud{URL: fmt.Sprintf("http://127.0.0.1:%d/v3", ports[0]), State: state, stop: end}, nil
}

// attach uses a cloud that runs.
func attach(url, state string) (*Cloud, error) {
	dir, err := os.MkdirTemp("", "openstack-")
	if err != nil {
		return nil, err
	}
	c := &Cloud{URL: url, State: state, stop: func() error { return os.RemoveAll(dir) }}
	c.attend(dir)
	if _, err := os.Stat(filepath.Join(state, "furnished")); err == nil {
		return c, nil
	}
	if err := c.furnish(context.Background()); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, os.WriteFile(filepath.Join(state, "furnished"), nil, 0o644)
}

// serve starts the services and waits until they listen.
func serve(cmd *exec.Cmd) (ended <-chan error, err error) {
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	ended, err = tool.Start(cmd)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	lines := make(chan string, 100)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			select {
			case lines <- s.Text():
			default: // what nobody reads any more
			}
		}
		close(lines)
		_, _ = io.Copy(io.Discard, out)
	}()
	var said []string
	late := time.After(startTime)
	for {
		select {
		case line, ok := <-lines:
			if line == "ready" {
				return ended, nil
			}
			if !ok {
				return nil, fmt.Errorf("it ends: %s", strings.Join(said, "\n"))
			}
			said = append(said, line)
		case <-late:
			_ = cmd.Process.Kill()
			return nil, fmt.Errorf("nothing listens after %v: %s", startTime, strings.Join(said, "\n"))
		}
	}
}

// unpack writes the embedded files.
func unpack(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	list, err := files.ReadDir("chroot")
	if err != nil {
		return err
	}
	for _, e := range list {
		text, err := files.ReadFile("chroot/" + e.Name())
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, e.Name()), text, 0o755)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// freePorts returns ports of the loopback on which nothing listens.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// Close ends the cloud.
func (c *Cloud) Close() error { return c.stop() }
