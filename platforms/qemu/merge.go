package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image"
)

// Bounds of chains. Each image of a chain costs a look-up for every block that
// is read, so that a chain longer than longChain gets its lower layers, but for
// the newest recentLayers, merged into one image.
const (
	longChain    = 16
	recentLayers = 4
	mergedFor    = 30 * 24 * time.Hour // that a merged image is kept without use
)

func (d *driver) mergedDir() (string, error) { return d.host.CacheDir("qemu-merged") }

// mergedName is a merged image of disk i, up to the layer ref.
func mergedName(ref string, i int) string { return fmt.Sprintf("%s-%d.qcow2", ref, i) }

// merged returns the merged image of the most layers of the chain, and how many
// it holds; nil when there is none.
func (d *driver) merged(chain []platforms.Layer, i int) (layers int, n *node, err error) {
	if len(chain) <= longChain {
		return 0, nil, nil
	}
	dir, err := d.mergedDir()
	if err != nil {
		return 0, nil, err
	}
	for k := len(chain); k > 1; k-- {
		path := filepath.Join(dir, mergedName(chain[k-1].Ref, i))
		now := time.Now()
		if err := os.Chtimes(path, now, now); err == nil {
			n, err := image.Open(path, "qcow2")
			return k, n, err
		} else if !errors.Is(err, fs.ErrNotExist) {
			return 0, nil, err
		}
	}
	return 0, nil, nil
}

// A merging is the work on merged images that goes on beside machines.
type merging struct {
	mu     sync.Mutex
	known  map[string]bool // layers up to which it was begun
	cancel []context.CancelFunc
	ended  []<-chan error
}

// mergeTimeout is how long the end of a driver waits for a merge.
const mergeTimeout = 10 * time.Second

// mergeLater merges the lower layers of a long chain in the background, for the
// next machines on it.
func (d *driver) mergeLater(chain []platforms.Layer) error {
	k, _, err := d.merged(chain, 0)
	if err != nil || len(chain)-k <= longChain {
		return err
	}
	lower := chain[:len(chain)-recentLayers]
	ref := lower[len(lower)-1].Ref
	d.merging.mu.Lock()
	defer d.merging.mu.Unlock()
	if d.merging.known[ref] {
		return nil
	}
	if d.merging.known == nil {
		d.merging.known = map[string]bool{}
	}
	d.merging.known[ref] = true
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	d.merging.cancel = append(d.merging.cancel, cancel)
	d.merging.ended = append(d.merging.ended, ended)
	go func() { ended <- d.merge(ctx, lower) }()
	return nil
}

// close waits a little for what goes on, and then ends it.
func (m *merging) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	timer := time.AfterFunc(mergeTimeout, func() {
		for _, cancel := range m.cancel {
			cancel()
		}
	})
	defer timer.Stop()
	var errs []error
	for _, ended := range m.ended {
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("merge layers: %w", err))
		}
	}
	m.ended = nil
	return errors.Join(errs...)
}

// merge makes the merged images of the chain.
func (d *driver) merge(ctx context.Context, chain []platforms.Layer) error {
	dir, err := d.mergedDir()
	if err != nil {
		return err
	}
	if err := pruneMerged(dir, time.Now().Add(-mergedFor)); err != nil {
		return err
	}
	for i := range 1 + len(d.settings.disks) {
		if err := d.mergeDisk(ctx, chain, i, dir); err != nil {
			return err
		}
	}
	return nil
}

func (d *driver) mergeDisk(ctx context.Context, chain []platforms.Layer, i int, dir string) (err error) {
	n, err := d.shortened(chain, i)
	if err != nil {
		return err
	}
	scratch, remove, err := d.host.TempDir("merge")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	path := filepath.Join(scratch, "merged.qcow2")
	if err := convert(ctx, n, "qcow2", path); err != nil {
		return err
	}
	return os.Rename(path, filepath.Join(dir, mergedName(chain[len(chain)-1].Ref, i)))
}

// pruneMerged removes images that were last used before a time.
func pruneMerged(dir string, before time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if fi.ModTime().Before(before) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
