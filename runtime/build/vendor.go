package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	rmodule "bake.build/bake/runtime/module"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/module"
)

// VendorName is the directory of a project that has copies of its modules.
const VendorName = "bake.vendor"

// vendorDir returns where the copy of a version is, or would be.
func (m *modules) vendorDir(ref module.Ref) string {
	version := strings.ReplaceAll(ref.Version, "/", "~") // of a branch's name
	return filepath.Join(m.root, VendorName, filepath.FromSlash(ref.Path)+"@"+version)
}

// vendored returns the copy of a version that stands in the project, compared with the
// lock.
func (m *modules) vendored(ctx context.Context, ref module.Ref, locked module.Locked) (t rmodule.Tree, ok bool, err error) {
	dir := m.vendorDir(ref)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return t, false, nil
	} else if err != nil {
		return t, false, err
	}
	digest, err := rmodule.HashDir(ctx, dir, m.hasher())
	if err != nil {
		return t, false, err
	}
	if digest != locked.Digest {
		err := &rmodule.MismatchError{Source: module.Source{Kind: module.Folder, Dir: filepath.ToSlash(m.show(dir))}, Version: ref.Version, Want: locked.Digest, Got: digest}
		return t, false, WithHint(err, "bake mod vendor writes it anew")
	}
	return rmodule.Tree{Dir: dir, Digest: digest, Commit: locked.Commit}, true, nil
}

// hasher returns what hashes files, with the store's memory where that is open.
func (m *modules) hasher() plan.FileHasher {
	m.opening.Lock()
	defer m.opening.Unlock()
	if m.host.Store != nil {
		return m.host.Store.StatCache()
	}
	return plan.HashFile{}
}

// Vendor copies the modules that are locked into the project, in place of what is
// there, and returns how many there are. Local folders stay where they are.
func (w *Modules) Vendor(ctx context.Context) (n int, err error) {
	m := w.set
	m.bare = true // what is there may be damaged
	if _, err := w.Resolve(ctx); err != nil {
		return 0, err
	}
	target := filepath.Join(m.root, VendorName)
	staging, err := os.MkdirTemp(m.root, "."+VendorName+".*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(staging)) }()
	if err := os.Chmod(staging, 0o755); err != nil {
		return 0, err
	}
	for _, sel := range m.graph.Modules {
		if sel.Source.Local() {
			continue
		}
		t, err := m.tree(ctx, sel.Ref)
		if err != nil {
			return n, err
		}
		rel, err := filepath.Rel(target, m.vendorDir(sel.Ref))
		if err != nil {
			return n, err
		}
		dir := filepath.Join(staging, rel)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return n, err
		}
		if err := os.CopyFS(dir, os.DirFS(t.Dir)); err != nil {
			return n, fmt.Errorf("copy %s: %w", sel.Ref, err)
		}
		if err := plainModes(dir); err != nil {
			return n, err
		}
		n++
	}
	if err := os.RemoveAll(target); err != nil {
		return n, err
	}
	if n == 0 {
		return 0, nil
	}
	return n, os.Rename(staging, target)
}

// plainModes gives what was copied to dir the permissions that it has in the store: they
// are inputs of keys, and the umask must not show in them.
func plainModes(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() == fs.ModeSymlink {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if d.IsDir() || info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		return os.Chmod(path, mode)
	})
}

// A Verified is a module whose files were compared with the lock.
type Verified struct {
	Ref    module.Ref
	Digest module.Digest
	Err    error // what is wrong, or nil
}

// Verify reads every file of every module that is locked, and compares it with the
// lock: in the vendor directory where the module is there, otherwise in the store,
// into which it is downloaded where it is missing.
func (w *Modules) Verify(ctx context.Context) ([]Verified, error) {
	if _, err := w.Resolve(ctx); err != nil {
		mismatch, chain := (*rmodule.MismatchError)(nil), (*module.ChainError)(nil)
		if errors.As(err, &mismatch) && errors.As(err, &chain) {
			return []Verified{{chain.Ref, mismatch.Got, chain.Err}}, nil
		}
		return nil, err
	}
	var all []Verified
	for _, sel := range w.set.graph.Modules {
		if !sel.Source.Local() {
			all = append(all, Verified{Ref: sel.Ref})
		}
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range all {
		g.Go(func() error {
			v := &all[i]
			t, err := w.set.tree(ctx, v.Ref)
			if err != nil {
				return err
			}
			locked, _ := w.set.locked(v.Ref)
			if v.Digest, v.Err = rmodule.Verify(ctx, t.Dir); v.Err == nil && v.Digest != locked.Digest {
				v.Err = &rmodule.MismatchError{Source: v.Ref.Source, Version: v.Ref.Version, Want: locked.Digest, Got: v.Digest}
			}
			return nil
		})
	}
	err := g.Wait()
	return all, err
}
