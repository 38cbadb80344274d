package testopenstack

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bake.build/bake/internal/testsshd"
)

// Modes of the attendant.
const (
	Alive   = ""        // servers can be logged in to
	Silent  = "silent"  // servers start, and nothing listens at their address
	Failing = "failing" // servers do not start
	Stuck   = "stuck"   // images of servers stay queued
)

// An attendant is what makes machines of servers.
type attendant struct {
	questions string // where the hypervisor's driver asks
	dir       string // of the machines
	end       chan struct{}
	done      sync.WaitGroup

	mu      sync.Mutex
	mode    string
	servers map[string]*testsshd.Server
	users   map[string]string // user data of servers, by their ids
}

// header is before the disk of a machine, a tar archive.
const header = "disk of a machine\n"

func attend(questions, dir string) *attendant {
	a := &attendant{questions: questions, dir: dir, end: make(chan struct{}), servers: map[string]*testsshd.Server{}, users: map[string]string{}}
	_ = os.MkdirAll(questions, 0o755)
	_ = os.WriteFile(filepath.Join(questions, "attended"), nil, 0o644)
	a.done.Go(func() {
		for {
			select {
			case <-a.end:
				return
			case <-time.After(20 * time.Millisecond):
				a.look()
			}
		}
	})
	return a
}

func (a *attendant) close() {
	_ = os.Remove(filepath.Join(a.questions, "attended"))
	close(a.end)
	a.done.Wait()
	for _, s := range a.servers {
		_ = s.Stop() // one that has ended by itself
	}
}

// look answers what is asked.
func (a *attendant) look() {
	list, err := os.ReadDir(a.questions)
	if err != nil {
		return
	}
	for _, e := range list {
		id, question, _ := strings.Cut(e.Name(), ".")
		answers := map[string]string{"start": "started", "save": "saved", "stop": "stopped"}
		answer, ok := answers[question]
		if !ok {
			continue
		}
		path := filepath.Join(a.questions, e.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_ = os.Remove(path)
		said, err := a.answer(id, question, text)
		if err != nil {
			answer, said = "failed", err.Error()
		}
		tmp := filepath.Join(a.questions, id+".answer")
		if os.WriteFile(tmp, []byte(said), 0o644) == nil {
			_ = os.Rename(tmp, filepath.Join(a.questions, id+"."+answer))
		}
	}
}

func (a *attendant) answer(id, question string, text []byte) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch question {
	case "start":
		return "", a.start(id, text)
	case "save":
		return a.save(id)
	}
	if s := a.servers[id]; s != nil {
		_ = s.Stop() // see close
		delete(a.servers, id)
	}
	return "", nil
}

// inside turns a path of the root directory into one of this host.
func (a *attendant) inside(path string) string {
	return filepath.Join(filepath.Dir(a.questions), strings.TrimPrefix(path, "/srv/os/"))
}

func (a *attendant) start(id string, text []byte) error {
	var q struct {
		Addresses       []string
		Key, Disk, Name string
		UserData        string `json:"user_data"`
	}
	if err := json.Unmarshal(text, &q); err != nil {
		return err
	}
	switch a.mode {
	case Failing:
		return fmt.Errorf("the hypervisor has no disk left")
	case Silent:
		return os.WriteFile(filepath.Join(a.questions, id+".console"), []byte("Kernel panic - not syncing: VFS: Unable to mount root fs\n"), 0o644)
	}
	if len(q.Addresses) == 0 {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(q.UserData)
	if err != nil {
		return err
	}
	a.users[id] = string(data)
	keys := q.Key
	if _, after, ok := strings.Cut(string(data), "ssh_authorized_keys:\n  - "); ok {
		key, _, _ := strings.Cut(after, "\n")
		keys = strings.TrimSpace(keys + "\n" + key)
	}
	dir := filepath.Join(a.dir, id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(dir, "user-data")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	s := &testsshd.Server{Dir: dir, Address: q.Addresses[0] + ":22", AuthorizedKeys: keys, Setup: fmt.Sprintf(
		"mkdir -p var/lib/cloud/instances/%[1]s; cp %[2]s var/lib/cloud/instances/%[1]s/user-data.txt; ln -sfn instances/%[1]s var/lib/cloud/instance", id, file)}
	if s.Upper, err = disk(a.inside(q.Disk), filepath.Join(dir, "disk")); err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	a.servers[id] = s
	return nil
}

// disk unpacks the disk of a machine, if the file is one.
func disk(path, dir string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", nil // the server has none
	}
	defer f.Close()
	b := make([]byte, len(header))
	if n, err := f.Read(b); err != nil || string(b[:n]) != header {
		return "", nil // the host's files as they are
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	cmd := exec.Command("tar", "--xattrs", "--xattrs-include=*", "-C", dir, "-xf", "-")
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack the disk: %w: %s", err, out)
	}
	return dir, nil
}

// save writes the disk of a machine as it is, and says where.
func (a *attendant) save(id string) (string, error) {
	if a.mode == Stuck {
		return Stuck, nil
	}
	s := a.servers[id]
	if s == nil {
		return "", nil
	}
	dir, err := os.MkdirTemp(a.dir, "save-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := s.Save(filepath.Join(dir, "up")); err != nil {
		return "", err
	}
	f, err := os.Create(filepath.Join(a.questions, id+".tar"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.WriteString(header); err != nil {
		return "", err
	}
	cmd := exec.Command("tar", "--xattrs", "--xattrs-include=*", "-C", filepath.Join(dir, "up"), "-cf", "-", ".")
	cmd.Stdout = f
	if err := cmd.Run(); err != nil {
		return "", err
	}
	return "/srv/os/machines/" + id + ".tar", nil
}

// Mode says how servers are from now on, until the function that it returns is called.
func (c *Cloud) Mode(mode string) (back func()) {
	set := func(mode string) {
		c.attendant.mu.Lock()
		defer c.attendant.mu.Unlock()
		c.attendant.mode = mode
	}
	set(mode)
	return func() { set(Alive) }
}
