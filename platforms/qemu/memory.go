package qemu

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bake.build/bake/platforms/wait"
)

// Files of a kept memory.
const (
	ramName   = "ram"   // what the guest's memory holds, with holes
	stateName = "state" // the devices, as QEMU's migration writes them
	metaName  = "meta.json"
)

// Bounds of what is kept. An edit of an early step goes on from the memory of the step
// before it, so a machine's memories are kept for about as many steps as people edit
// among. One takes as much of the disk as the guest uses, and what bounds them is bytes.
const (
	keptPerMachine = 12
	keptStates     = 24
	keptBytes      = 8 << 30
	keptFor        = 7 * 24 * time.Hour
)

// copyWorkers is how many parts of a memory are copied at once.
const copyWorkers = 4

// A memoryMeta says what a kept memory fits to.
type memoryMeta struct {
	Subject string `json:"subject"`
	Frozen  bool   `json:"frozen"` // the guest agent has to thaw its file systems
}

// subject names what a kept memory depends on. The memory is written without
// waiting for the disk, so that it is of no use after the host has crashed.
func (hw hardware) keptSubject() string { return hw.subject() + "\n" + bootID() }

// cause of not resuming that is not worth a word.
var errNotKept = errors.New("no memory is kept of this layer")

// migratePause is how often is looked whether the state of the devices was moved, which
// takes some milliseconds in which the machine stands still.
const migratePause = 5 * time.Millisecond

// migrated waits until QEMU has sent or received the state of the devices.
func (v *vm) migrated(ctx context.Context) error {
	loop := wait.Loop{What: "migrate", Backoff: wait.Backoff{Next: migratePause, Most: migratePause}}
	return loop.Until(ctx, func(ctx context.Context) (bool, error) {
		var m struct {
			Status string `json:"status"`
			Desc   string `json:"error-desc"`
		}
		if err := v.qmp.Run(ctx, "query-migrate", nil, &m); err != nil {
			return false, errors.Join(err, v.Alive())
		}
		if m.Status == "failed" || m.Status == "cancelled" {
			return false, errors.New(cmp.Or(m.Desc, m.Status))
		}
		return m.Status == "completed", v.Alive()
	})
}

// migrate moves the state of the devices to or from f. The memory is not part of
// it: it is shared.
func (v *vm) migrate(ctx context.Context, command string, f *os.File) error {
	capability := []map[string]any{{"capability": "x-ignore-shared", "state": true}}
	if err := v.qmp.Run(ctx, "migrate-set-capabilities", map[string]any{"capabilities": capability}, nil); err != nil {
		return err
	}
	if err := v.qmp.SendFile(ctx, "state", f); err != nil {
		return err
	}
	if err := v.qmp.Run(ctx, command, map[string]any{"uri": "fd:state"}, nil); err != nil {
		return err
	}
	return v.migrated(ctx)
}

// saveMemory writes the memory and the devices of the stopped machine to the
// new directory dir. spare, if not "", is the path of an older copy of the
// memory, which is used up: to write what has changed since is much less.
func (v *vm) saveMemory(ctx context.Context, dir, spare string, frozen bool) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	state, err := os.OpenFile(filepath.Join(dir, stateName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(v.migrate(ctx, "migrate", state), state.Close())
	if err != nil {
		return err
	}
	if err := v.saveRAM(filepath.Join(dir, ramName), spare); err != nil {
		return err
	}
	meta, err := json.Marshal(memoryMeta{Subject: v.hw.keptSubject(), Frozen: frozen})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, metaName), meta, 0o600)
}

func (v *vm) saveRAM(path, spare string) error {
	if spare != "" {
		if err := os.Rename(spare, path); err != nil {
			return err
		}
		ram, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(updateSparse(ram, v.hw.ram), ram.Close())
	}
	ram, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(copySparse(context.Background(), ram, v.hw.ram, copyWorkers), ram.Close())
}

// A spare is an older copy of a machine's memory, or a part of one. It is made
// while the machine runs, so that the machine has to stop for less. Where there
// is no room for one, or it fails otherwise, there is none: all it does is save
// time.
type spare struct {
	path string
	stop context.CancelFunc
	done chan bool // tells once whether there is one
}

// startSpare begins to make a spare unless the machine has one, or needs none.
func (m *machine) startSpare() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.spare != nil || m.hw.ram == nil || m.secret {
		return nil
	}
	f, err := os.CreateTemp(m.dir, "spare-")
	if err != nil {
		return err
	}
	ram, err := dup(m.hw.ram)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.spare = &spare{path: f.Name(), stop: cancel, done: make(chan bool, 1)}
	go func(done chan<- bool) {
		err := copySparse(ctx, f, ram, 1)
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		if err = errors.Join(err, f.Close(), ram.Close()); err != nil {
			_ = os.Remove(f.Name()) // with the machine's directory, if not now
		}
		done <- err == nil
	}(m.spare.done)
	return nil
}

// reuse makes a spare of a memory in the cache that nobody will want.
func (m *machine) reuse(ram string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.spare != nil {
		return nil
	}
	s := &spare{path: m.vm.path("spare-" + newRef()), stop: func() {}, done: make(chan bool, 1)}
	s.done <- true
	taken, err := takeAway(ram, s.path)
	if taken {
		m.spare = s
	}
	return err
}

// takeSpare ends the work on the spare and returns its path, or "".
func (m *machine) takeSpare() string {
	m.mu.Lock()
	s := m.spare
	m.spare = nil
	m.mu.Unlock()
	if s == nil {
		return ""
	}
	s.stop()
	if !<-s.done {
		return ""
	}
	return s.path
}

// keepMemory moves a saved memory to where it is found by the reference of its
// layer, and forgets the older ones of this machine.
func (m *machine) keepMemory(dir, ref string) error {
	cache, err := m.d.memoryDir()
	if err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(cache, ref)); err != nil {
		return err
	}
	m.kept = append(m.kept, ref)
	if extra := len(m.kept) - keptPerMachine; extra > 0 {
		for _, old := range m.kept[:extra] {
			dir := filepath.Join(cache, old)
			if err := m.reuse(filepath.Join(dir, ramName)); err != nil {
				return err
			}
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
		m.kept = slices.Clone(m.kept[extra:])
	}
	return pruneMemory(cache, time.Now())
}

func (d *driver) memoryDir() (string, error) { return d.host.CacheDir("qemu-memory") }

// pruneMemory removes what was not used for long, and the oldest beyond the
// bounds.
func pruneMemory(cache string, now time.Time) error {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	type kept struct {
		path string
		used time.Time
		size int64
	}
	var all []kept
	for _, e := range entries {
		path := filepath.Join(cache, e.Name())
		fi, err := os.Stat(filepath.Join(path, metaName))
		if errors.Is(err, os.ErrNotExist) {
			continue // another process removes it
		} else if err != nil {
			return err
		}
		size, err := allocated(filepath.Join(path, ramName))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		all = append(all, kept{path, fi.ModTime(), size})
	}
	slices.SortFunc(all, func(a, b kept) int { return b.used.Compare(a.used) })
	var total int64
	for i, k := range all {
		total += k.size
		if i < keptStates && total <= keptBytes && now.Sub(k.used) < keptFor {
			continue
		}
		if err := os.RemoveAll(k.path); err != nil {
			return err
		}
	}
	return nil
}

// A keptMemory is a kept memory that is being used. Another process may remove
// its files meanwhile.
type keptMemory struct {
	meta       memoryMeta
	ram, state *os.File
}

// findMemory opens the kept memory of the layer ref. It gives errNotKept when
// there is none that fits.
func (d *driver) findMemory(ref string, hw hardware) (_ *keptMemory, err error) {
	cache, err := d.memoryDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, ref)
	data, err := os.ReadFile(filepath.Join(dir, metaName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNotKept
	} else if err != nil {
		return nil, err
	}
	k := &keptMemory{}
	if err := json.Unmarshal(data, &k.meta); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, metaName), err)
	}
	if k.meta.Subject != hw.keptSubject() {
		return nil, errNotKept
	}
	if k.state, err = os.Open(filepath.Join(dir, stateName)); err != nil {
		return nil, err
	}
	if k.ram, err = openKept(filepath.Join(dir, ramName)); err != nil {
		return nil, errors.Join(err, k.state.Close())
	}
	now := time.Now()
	if err := os.Chtimes(filepath.Join(dir, metaName), now, now); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(err, k.close())
	}
	return k, nil
}

func (k *keptMemory) close() error { return errors.Join(k.state.Close(), k.ram.Close()) }
