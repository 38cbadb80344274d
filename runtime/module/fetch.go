package module

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/semaphore"

	"bake.build/bake/platforms/image/fetch"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
	"bake.build/bake/runtime/store/lockfile"
	"bake.build/bake/starlark/module"
)

// cacheName is the store's cache that has the trees, and the kind of the records
// about them.
const cacheName = "modules"

// How many versions are downloaded at once, and how many of them by git: an SSH server
// refuses the eleventh connection that has not logged in.
const (
	maxFetches = 64
	maxGit     = 8
)

// A Fetcher gets modules into a store. Its methods may be called by many goroutines at
// once; its fields are set before.
type Fetcher struct {
	Store   *store.Store
	Offline bool              // take what the store has, and ask nobody
	Warn    func(text string) // told of trees that are damaged; may be nil

	once   sync.Once
	limit  *semaphore.Weighted
	git    *semaphore.Weighted
	client *fetch.Client
	all    registries

	mu    sync.Mutex
	calls map[call]func() (Tree, error)
	sound map[string]bool // directories of trees that were compared with their digests
}

// A call is what is asked of Fetch.
type call struct {
	src     module.Source
	version string
	want    module.Digest
}

// A Tree is a module on this machine.
type Tree struct {
	Dir    string // absolute; not to be written to
	Digest module.Digest
	Commit string // of a git repository; "" where the digest alone was asked for and was there
}

// An origin is one module in one place.
type origin interface {
	// versions lists the versions that there are.
	versions(ctx context.Context) ([]string, error)

	// resolve finds a version. It downloads little or nothing.
	resolve(ctx context.Context, version string) (found, error)

	// write writes the files of what resolve has found. temp is an empty directory that
	// is removed later.
	write(ctx context.Context, what found, w *writer, temp string) error
}

// A found is a version that was found.
type found struct {
	id     string // what never names other files; "" if there is no such thing
	commit string
	ref    string // how the origin asks for it
}

// ErrOffline says that what was asked for is not in the store, and nobody may be asked.
var ErrOffline = errors.New("it is not in the store, and bake is offline")

// A MismatchError says that a version is not the tree that it was.
type MismatchError struct {
	Source    module.Source
	Version   string
	Want, Got module.Digest
	Commit    string // that the version is now
}

// Error implements error.
func (e *MismatchError) Error() string {
	text := fmt.Sprintf("%s %s: its files are not those of bake.lock: want %s, got %s", e.Source, e.Version, e.Want, e.Got)
	if e.Commit != "" {
		text += ", commit " + e.Commit
	}
	return text
}

// Hint says what may have happened.
func (e *MismatchError) Hint() string {
	return "somebody has moved the version to other files, or changed them on their way: ask its team; bake mod update NAME takes it as it is now"
}

// Versions lists the versions that a source has, in no order: tags.
func (f *Fetcher) Versions(ctx context.Context, src module.Source) ([]string, error) {
	f.once.Do(f.begin)
	if f.Offline {
		return nil, fmt.Errorf("versions of %s: bake is offline", src)
	}
	o, err := f.origin(src)
	if err != nil {
		return nil, err
	}
	leave, err := f.enter(ctx, src)
	if err != nil {
		return nil, err
	}
	defer leave()
	versions, err := o.versions(ctx)
	if err != nil {
		return nil, fmt.Errorf("versions of %s: %w", src, err)
	}
	return versions, nil
}

// Fetch returns the tree of a version of a module, which it downloads if it is not in
// the store. want, if not "", is the digest that the tree has to have: a MismatchError
// says that it has not, and nothing is kept. A version is a tag, for git also a branch
// or a whole commit, and for a registry also the digest of a manifest.
func (f *Fetcher) Fetch(ctx context.Context, src module.Source, version string, want module.Digest) (Tree, error) {
	f.once.Do(f.begin)
	key := call{src, version, want}
	f.mu.Lock()
	do, ok := f.calls[key]
	if !ok {
		do = sync.OnceValues(func() (Tree, error) { return f.get(ctx, key) })
		f.calls[key] = do
	}
	f.mu.Unlock()
	t, err := do()
	if err != nil {
		f.mu.Lock()
		delete(f.calls, key) // the next call may fare better
		f.mu.Unlock()
		if m := (*MismatchError)(nil); !errors.As(err, &m) {
			err = fmt.Errorf("fetch %s %s: %w", src, version, err)
		}
	}
	return t, err
}

func (f *Fetcher) begin() {
	f.limit, f.git = semaphore.NewWeighted(maxFetches), semaphore.NewWeighted(maxGit)
	f.client = fetch.NewClient()
	f.client.RefuseDowngrade()
	f.all.transport = f.client.Transport()
	f.calls = map[call]func() (Tree, error){}
	f.sound = map[string]bool{}
}

// enter waits until fewer than the limit are downloaded.
func (f *Fetcher) enter(ctx context.Context, src module.Source) (leave func(), err error) {
	limit := f.limit
	if src.Kind == module.Git {
		limit = f.git
	}
	return func() { limit.Release(1) }, limit.Acquire(ctx, 1)
}

func (f *Fetcher) origin(src module.Source) (origin, error) {
	switch src.Kind {
	case module.OCI:
		return &artifact{src: src, all: &f.all, client: f.client}, nil
	case module.Git:
		return &repository{src: src, most: maxRepository}, nil
	case module.Archive:
		return &archive{src, f.client}, nil
	}
	return nil, fmt.Errorf("source %q: a %s is not fetched", src, cmp.Or(src.Kind, "nothing"))
}

// get is Fetch, once in this process.
func (f *Fetcher) get(ctx context.Context, c call) (t Tree, err error) {
	if c.want != "" {
		if t, ok, err := f.kept(ctx, Tree{Digest: c.want}); ok || err != nil {
			return t, err
		}
	}
	if f.Offline {
		if t, ok, err := f.recorded(ctx, versionRecord(c), c.want); ok || err != nil {
			return t, err
		}
		return Tree{}, ErrOffline
	}
	leave, err := f.enter(ctx, c.src)
	if err != nil {
		return Tree{}, err
	}
	defer leave()
	cache, err := f.Store.CacheDir(cacheName)
	if err != nil {
		return Tree{}, err
	}
	name := sha256.Sum256([]byte(versionRecord(c)))
	lock, err := lockfile.Acquire(ctx, filepath.Join(cache, ".lock-"+hex.EncodeToString(name[:])), nil)
	if err != nil {
		return Tree{}, err
	}
	defer func() { err = errors.Join(err, lock.Remove()) }()
	if c.want != "" { // another process may have got it meanwhile
		if t, ok, err := f.kept(ctx, Tree{Digest: c.want}); ok || err != nil {
			return t, err
		}
	}
	return f.download(ctx, c)
}

// download asks the origin.
func (f *Fetcher) download(ctx context.Context, c call) (Tree, error) {
	o, err := f.origin(c.src)
	if err != nil {
		return Tree{}, err
	}
	what, err := o.resolve(ctx, c.version)
	if err != nil {
		return Tree{}, err
	}
	t, ok := Tree{}, false
	if what.id != "" {
		t, ok, err = f.recorded(ctx, what.id, "")
	}
	if err == nil && !ok {
		t, err = f.fill(ctx, o, what, c)
	}
	if err != nil {
		return Tree{}, err
	}
	t.Commit = what.commit
	if c.want != "" && t.Digest != c.want {
		return Tree{}, &MismatchError{c.src, c.version, c.want, t.Digest, t.Commit}
	}
	if what.id != "" {
		if err := f.record(what.id, t); err != nil {
			return Tree{}, err
		}
	}
	return t, f.record(versionRecord(c), t)
}

// fill downloads a tree and moves it to its place.
func (f *Fetcher) fill(ctx context.Context, o origin, what found, c call) (t Tree, err error) {
	temp, remove, err := f.Store.TempDir("module")
	if err != nil {
		return Tree{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	files, work := filepath.Join(temp, "tree"), filepath.Join(temp, "work")
	for _, dir := range []string{files, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return Tree{}, err
		}
	}
	w, err := newWriter(files)
	if err != nil {
		return Tree{}, err
	}
	dir := ""
	if err = o.write(ctx, what, w, work); err == nil {
		dir, t.Digest, err = w.finish()
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return Tree{}, err
	}
	if c.want != "" && t.Digest != c.want {
		return Tree{}, &MismatchError{c.src, c.version, c.want, t.Digest, what.commit}
	}
	t.Dir, err = f.place(dir, t.Digest)
	return t, err
}

// place moves a tree to its place, unless another process was first: then that tree
// is the same.
func (f *Fetcher) place(dir string, d module.Digest) (string, error) {
	cache, err := f.Store.CacheDir(cacheName)
	if err != nil {
		return "", err
	}
	at := filepath.Join(cache, d.Hex())
	// The top directory was made with the umask of the process.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(dir, at); err != nil && !isDir(at) {
		return "", fmt.Errorf("keep the module: %w", err)
	} else if err == nil {
		f.mu.Lock()
		f.sound[at] = true // its digest is that of what was just written
		f.mu.Unlock()
	}
	return at, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// kept returns the tree with the digest of t if the store has it, whole. One that is
// damaged is removed.
func (f *Fetcher) kept(ctx context.Context, t Tree) (Tree, bool, error) {
	if err := t.Digest.Check(); err != nil {
		return Tree{}, false, err
	}
	cache, err := f.Store.CacheDir(cacheName)
	if err != nil {
		return Tree{}, false, err
	}
	t.Dir = filepath.Join(cache, t.Digest.Hex())
	f.mu.Lock()
	sound := f.sound[t.Dir]
	f.mu.Unlock()
	if sound {
		return t, true, nil
	}
	if _, err := os.Lstat(t.Dir); errors.Is(err, fs.ErrNotExist) {
		return Tree{}, false, nil
	} else if err != nil {
		return Tree{}, false, err
	}
	got, err := HashDir(ctx, t.Dir, f.Store.StatCache())
	if ctx.Err() != nil {
		return Tree{}, false, ctx.Err()
	}
	if err != nil || got != t.Digest {
		if f.Warn != nil {
			f.Warn(fmt.Sprintf("the module in %s was changed since it was downloaded: it is downloaded again", t.Dir))
		}
		return Tree{}, false, f.drop(t.Dir)
	}
	f.mu.Lock()
	f.sound[t.Dir] = true
	f.mu.Unlock()
	return t, true, nil
}

// drop moves a tree out of the way, in one step, and removes it.
func (f *Fetcher) drop(dir string) (err error) {
	temp, remove, err := f.Store.TempDir("damaged-module")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := os.Rename(dir, filepath.Join(temp, "tree")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a damaged module: %w", err)
	}
	return nil
}

// A record is what the store remembers of a version.
type record struct {
	Digest module.Digest `json:"digest"`
	Commit string        `json:"commit,omitempty"`
}

func versionRecord(c call) string { return c.src.String() + " " + c.version }

func (f *Fetcher) record(name string, t Tree) error {
	b, err := json.Marshal(record{t.Digest, t.Commit})
	if err != nil {
		return err
	}
	return f.Store.PutRecord(cacheName, name, b)
}

// recorded returns the tree that is recorded under a name, if the store has it and it
// is the one that is wanted.
func (f *Fetcher) recorded(ctx context.Context, name string, want module.Digest) (Tree, bool, error) {
	b, err := f.Store.GetRecord(cacheName, name)
	if errors.Is(err, store.ErrMissing) {
		return Tree{}, false, nil
	} else if err != nil {
		return Tree{}, false, err
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil || r.Digest.Check() != nil || want != "" && r.Digest != want {
		return Tree{}, false, nil // a record of another version of bake
	}
	return f.kept(ctx, Tree{Digest: r.Digest, Commit: r.Commit})
}

// Verify compares the files of every tree that is asked for with its digest, and reads
// all of them. It returns the digest that the directory has.
func Verify(ctx context.Context, dir string) (module.Digest, error) {
	return HashDir(ctx, dir, plan.HashFile{})
}
