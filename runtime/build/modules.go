package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"bake.build/bake/internal/regular"
	"bake.build/bake/runtime/lock"
	rmodule "bake.build/bake/runtime/module"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"bake.build/bake/starlark/module"
)

// modules finds the modules that a project loads. They are the same for every
// evaluation of a build.
type modules struct {
	host *Host
	root string // of the project, absolute
	show func(path string) string

	file  *module.File // nil where there is no bake.mod
	lock  *lock.File
	graph *module.Graph
	bare  bool // take nothing from the vendor directory

	fetcher *rmodule.Fetcher // nil before it is needed
	opening sync.Mutex
	mu      sync.Mutex
	trees   treeMemory
	files   fileMemory
}

// What was read of modules is kept, errors too.
type (
	treeMemory map[module.Ref]func() (rmodule.Tree, error)
	fileMemory map[module.Ref]func() (*module.File, error)
)

func memory() (treeMemory, fileMemory) { return treeMemory{}, fileMemory{} }

// maxModuleWork is how many modules are worked on at once.
const maxModuleWork = 64

// newModules reads the bake.mod of a project.
func newModules(h *Host, root string, show func(string) string) (*modules, error) {
	m := &modules{host: h, root: root, show: show}
	m.trees, m.files = memory()
	path := filepath.Join(root, module.FileName)
	text, err := regular.Read(path, module.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	} else if err != nil {
		return nil, of(KindDefinition, err)
	}
	if m.file, err = module.Parse(show(path), text); err != nil {
		return m, of(KindDefinition, &modFileError{show(path), text, err})
	}
	m.lock, err = lock.Load(filepath.Join(root, lock.Name))
	return m, of(KindDefinition, err)
}

// A modFileError is what is wrong with a bake.mod, whose text can be shown.
type modFileError struct {
	name string
	text []byte
	err  error
}

func (e *modFileError) Error() string { return e.err.Error() }
func (e *modFileError) Unwrap() error { return e.err }

// modulesOf returns the modules of a project, with what they are locked to, or selects
// them. What was selected is in the lock, to be saved.
func modulesOf(ctx context.Context, h *Host, p *eval.Project) (*modules, error) {
	m, err := newModules(h, p.Root, p.Show)
	if m != nil && m.file != nil {
		p.AddSource(m.file.Name, m.file.Text())
	}
	if bad := (*modFileError)(nil); errors.As(err, &bad) {
		p.AddSource(bad.name, bad.text)
	}
	if err != nil || m.file == nil || len(m.file.Requires) == 0 {
		return m, err
	}
	return m, m.resolve(ctx)
}

// resolve finds the modules that the lock says, or selects them where it is about
// something else.
func (m *modules) resolve(ctx context.Context) error {
	asked, err := module.Asked(m.file, func(folder module.Source) (*module.File, error) {
		return m.ReadModule(ctx, module.Ref{Source: folder})
	})
	if err != nil {
		return of(KindDefinition, m.atFile(err))
	}
	locked := m.lock.Modules()
	if locked != nil && locked.Asked == asked {
		m.prefetch(ctx, locked)
		if m.graph, err = locked.Resolve(ctx, m.file, m); !errors.Is(err, module.ErrStale) {
			return m.kind(ctx, err)
		}
	}
	if m.host.Locked && len(m.remote()) > 0 {
		return m.stale()
	}
	if m.graph, err = module.Resolve(ctx, m.file, m); err != nil {
		return m.kind(ctx, err)
	}
	return m.record(ctx, asked)
}

// stale is module.ErrStale for a locked build.
func (m *modules) stale() error {
	return of(KindDefinition, WithHint(m.atFile(module.ErrStale), "bake mod tidy writes it anew; without --locked the build does so itself"))
}

// remote returns the requirements that are not folders of this machine.
func (m *modules) remote() []module.Require {
	return slices.DeleteFunc(slices.Clone(m.file.Requires), func(r module.Require) bool { return r.Source.Local() })
}

// atFile gives err the position of module() in bake.mod.
func (m *modules) atFile(err error) error {
	return &plan.Error{Pos: []plan.Pos{m.file.Pos()}, Err: err}
}

// kind gives an error of modules its kind: most say what is wrong with what the
// definition asks for.
func (m *modules) kind(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return of(KindDefinition, err)
}

// record puts what was selected into the lock.
func (m *modules) record(ctx context.Context, asked string) error {
	was := m.lock.Modules()
	now := &module.Lock{Asked: asked, Modules: map[string]module.Locked{}}
	for _, sel := range m.graph.Modules {
		if sel.Source.Local() {
			continue
		}
		t, err := m.tree(ctx, sel.Ref)
		if err != nil {
			return err
		}
		now.Modules[sel.Path] = module.Locked{Version: sel.Version, Source: sel.Source.String(), Digest: t.Digest, Commit: t.Commit}
	}
	if was == nil && len(now.Modules) == 0 {
		return nil
	}
	if m.host.Locked { // what it is about was required by a folder
		return m.stale()
	}
	if len(now.Modules) == 0 {
		m.lock.SetModules(nil)
		return nil
	}
	m.lock.SetModules(now)
	for _, path := range slices.Sorted(maps.Keys(now.Modules)) {
		if l := now.Modules[path]; was == nil || was.Modules[path] != l {
			m.host.note(fmt.Sprintf("module %s %s: %s", path, l.Version, short(string(l.Digest))))
		}
	}
	return nil
}

// prefetch gets what is locked and required, each as soon as somebody is known to require
// it: a lock may have more, as after a merge. What fails is told when it is read.
func (m *modules) prefetch(ctx context.Context, l *module.Lock) {
	var all sync.WaitGroup
	var seen sync.Map
	var descend func(f *module.File)
	descend = func(f *module.File) {
		for _, r := range f.Requires {
			ref, ok := l.Ref(r.Path)
			if _, known := seen.LoadOrStore(r.Path, true); known || !ok {
				continue
			}
			all.Go(func() {
				if required, err := m.ReadModule(ctx, ref); err == nil {
					descend(required)
				}
			})
		}
	}
	descend(m.file)
	all.Wait()
}

// ReadModule implements module.Reader.
func (m *modules) ReadModule(ctx context.Context, ref module.Ref) (*module.File, error) {
	m.mu.Lock()
	read, ok := m.files[ref]
	if !ok {
		read = sync.OnceValues(func() (*module.File, error) { return m.readModule(ctx, ref) })
		m.files[ref] = read
	}
	m.mu.Unlock()
	return read()
}

func (m *modules) readModule(ctx context.Context, ref module.Ref) (*module.File, error) {
	t, err := m.tree(ctx, ref)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(t.Dir, module.FileName)
	text, err := regular.Read(path, module.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, WithHint(fmt.Errorf("it has no %s, and so is no module", module.FileName), "its team makes it one with bake mod init")
	} else if err != nil {
		return nil, err
	}
	name := "@" + ref.Path + "//" + module.FileName
	if ref.Source.Local() {
		name = m.show(path)
	}
	return module.Parse(name, text)
}

// Versions implements module.Reader.
func (m *modules) Versions(ctx context.Context, src module.Source) ([]string, error) {
	f, err := m.fetch()
	if err != nil {
		return nil, err
	}
	return f.Versions(ctx, src)
}

// tree returns the files of a version of a module.
func (m *modules) tree(ctx context.Context, ref module.Ref) (rmodule.Tree, error) {
	if ref.Source.Local() {
		ref.Path, ref.Version = "", ""
	}
	m.mu.Lock()
	get, ok := m.trees[ref]
	if !ok {
		get = sync.OnceValues(func() (rmodule.Tree, error) { return m.getTree(ctx, ref) })
		m.trees[ref] = get
	}
	m.mu.Unlock()
	return get()
}

func (m *modules) getTree(ctx context.Context, ref module.Ref) (rmodule.Tree, error) {
	if ref.Source.Local() {
		return m.folder(ref.Source)
	}
	locked, known := m.locked(ref)
	if known && !m.bare {
		if t, ok, err := m.vendored(ctx, ref, locked); ok || err != nil {
			return t, err
		}
	}
	f, err := m.fetch()
	if err != nil {
		return rmodule.Tree{}, err
	}
	version := ref.Version
	if known && locked.Commit != "" && !module.IsRelease(version) {
		version = locked.Commit // a branch moves
	}
	t, err := f.Fetch(ctx, ref.Source, version, locked.Digest)
	if errors.Is(err, rmodule.ErrOffline) {
		err = WithHint(err, "bake mod tidy downloads it")
	}
	if known && t.Commit == "" {
		t.Commit = locked.Commit
	}
	return t, err
}

// locked returns what the lock says of a version.
func (m *modules) locked(ref module.Ref) (l module.Locked, known bool) {
	if all := m.lock.Modules(); all != nil {
		l, known = all.Modules[ref.Path]
	}
	if l.Version != ref.Version || l.Source != ref.Source.String() {
		return module.Locked{}, false
	}
	return l, known
}

// folder returns a local folder.
func (m *modules) folder(src module.Source) (rmodule.Tree, error) {
	dir := filepath.FromSlash(src.Dir)
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(m.root, dir)
	}
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return rmodule.Tree{}, fmt.Errorf("no folder %s", m.show(dir))
	}
	return rmodule.Tree{Dir: real}, err
}

// fetch returns what downloads modules into the store.
func (m *modules) fetch() (*rmodule.Fetcher, error) {
	m.opening.Lock()
	defer m.opening.Unlock()
	if m.fetcher != nil {
		return m.fetcher, nil
	}
	if m.host.Store == nil {
		if err := m.host.openStore(); err != nil {
			return nil, err
		}
	}
	m.fetcher = &rmodule.Fetcher{Store: m.host.Store, Offline: m.host.Offline, Warn: m.host.warn}
	return m.fetcher, nil
}

// apply gives the project the trees of its modules.
func (m *modules) apply(ctx context.Context, p *eval.Project) error {
	p.Tree.Unknown = m.unknown
	if m.file == nil || m.graph == nil {
		return nil
	}
	p.AddSource(m.file.Name, m.file.Text())
	names := map[string]string{} // by path
	for _, r := range m.file.Requires {
		names[r.Path] = r.Name
	}
	trees := map[*module.Module]*eval.Tree{m.graph.Main: p.Tree}
	for _, sel := range m.graph.Modules {
		t, err := m.tree(ctx, sel.Ref)
		if err != nil {
			return err
		}
		dir, err := filepath.EvalSymlinks(t.Dir)
		if err != nil {
			return err
		}
		name := "@" + sel.Path
		if short, ok := names[sel.Path]; ok {
			name = "@" + short
		}
		if sel.Source.Local() {
			name = "" // its files are there to be opened
		}
		trees[sel] = &eval.Tree{Root: dir, Name: name, Unknown: func(string) string {
			return "the bake.mod of " + sel.Ref.String() + " does not require it"
		}}
	}
	for sel, t := range trees {
		t.Loads = map[string]*eval.Tree{}
		for name, required := range m.graph.Required(sel) {
			t.Loads[name] = trees[required]
		}
	}
	return nil
}

// unknown says what to do about a name that no module has.
func (m *modules) unknown(name string) string {
	if m.file == nil {
		return fmt.Sprintf("write a bake.mod with bake mod init, then bake mod add %s=SOURCE", name)
	}
	known := make([]string, 0, len(m.file.Requires))
	for _, n := range m.file.Names() {
		known = append(known, "@"+n)
	}
	return fmt.Sprintf("add it with bake mod add %s=SOURCE (there are: %s)", name, strings.Join(append(known, "@bake"), ", "))
}
