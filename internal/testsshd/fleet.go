package testsshd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// A Fleet is the machines of a stand-in for a cloud, which are told apart by the ids
// of their instances. Each listens on port 22 of an address of its own.
type Fleet struct {
	Dir   string // for all that the machines need
	Setup string // see Server

	mu      sync.Mutex
	servers map[string]*Server
	saved   int
}

var addresses atomic.Int32

// Start starts the machine of an instance on a disk that Save has returned, or on the
// host's files for nil. It does what cloud-init does with keys and user data, and
// leaves the traces that cloud-init leaves.
func (f *Fleet) Start(instance string, disk any, keys, userData string) (address string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := addresses.Add(1)
	address = fmt.Sprintf("127.84.%d.%d", os.Getpid()%250+1, n%250+1)
	if _, after, ok := strings.Cut(userData, "ssh_authorized_keys:\n  - "); ok {
		key, _, _ := strings.Cut(after, "\n")
		keys = strings.TrimSpace(keys + "\n" + key)
	}
	dir := filepath.Join(f.Dir, instance)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	data := filepath.Join(dir, "user-data")
	if err := os.WriteFile(data, []byte(userData), 0o600); err != nil {
		return "", err
	}
	upper, _ := disk.(string) // none is the host's files as they are
	s := &Server{Dir: dir, Address: address + ":22", AuthorizedKeys: keys, Upper: upper, Setup: fmt.Sprintf(
		"mkdir -p var/lib/cloud/instances/%[1]s; cp %[2]s var/lib/cloud/instances/%[1]s/user-data.txt; ln -sfn instances/%[1]s var/lib/cloud/instance\n%[3]s",
		instance, data, f.Setup)}
	if err := s.Start(); err != nil {
		return "", err
	}
	if f.servers == nil {
		f.servers = map[string]*Server{}
	}
	f.servers[instance] = s
	return address, nil
}

// Save returns the disk as it is: the directory with all that differs from the host's
// files.
func (f *Fleet) Save(instance string) (disk any, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.servers[instance]
	if s == nil {
		return nil, errors.New("there is no machine " + instance)
	}
	f.saved++
	dst := filepath.Join(f.Dir, fmt.Sprintf("disk-%d", f.saved))
	return dst, s.Save(dst)
}

// Stop ends the machine of an instance.
func (f *Fleet) Stop(instance string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.servers[instance]; s != nil {
		_ = s.Stop() // one that has ended by itself
		delete(f.servers, instance)
	}
}

// Close ends all machines.
func (f *Fleet) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.servers {
		_ = s.Stop() // see Stop
	}
	f.servers = nil
}

// Child returns the process that is in the namespaces of an instance's machine.
func (f *Fleet) Child(instance string) (pid int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.servers[instance]
	if s == nil {
		return 0, errors.New("there is no machine " + instance)
	}
	return s.Child()
}
