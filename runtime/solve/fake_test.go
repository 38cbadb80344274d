package solve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/store"
)

// memStore is a Store without a disk: what drivers return as ref is the content.
type memStore struct {
	dir string

	mu      sync.Mutex
	layers  map[plan.Key]*store.Entry
	records map[string][]byte
	bad     map[plan.Key]bool // found damaged by Get
	locks   map[plan.Key]chan struct{}
	leased  int
}

func newStore(t interface{ TempDir() string }) *memStore {
	return &memStore{
		dir:     t.TempDir(),
		layers:  map[plan.Key]*store.Entry{},
		records: map[string][]byte{},
		bad:     map[plan.Key]bool{},
		locks:   map[plan.Key]chan struct{}{},
	}
}

func (s *memStore) Get(_ context.Context, k plan.Key) (*store.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bad[k] {
		delete(s.bad, k)
		delete(s.layers, k)
	}
	if e := s.layers[k]; e != nil {
		return e, nil
	}
	return nil, store.ErrMissing
}

func (s *memStore) Peek(k plan.Key) (*store.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.layers[k]; e != nil {
		return e, nil
	}
	return nil, store.ErrMissing
}

func (s *memStore) Chain(context.Context, plan.Key) ([]*store.Entry, error) {
	return nil, errors.New("no run asks for that")
}

func (s *memStore) Lock(ctx context.Context, k plan.Key, waiting func()) (unlock func() error, err error) {
	s.mu.Lock()
	lock := s.locks[k]
	if lock == nil {
		lock = make(chan struct{}, 1)
		s.locks[k] = lock
	}
	s.mu.Unlock()
	select {
	case lock <- struct{}{}:
	default:
		waiting()
		select {
		case lock <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return func() error { <-lock; return nil }, nil
}

func (s *memStore) Put(ctx context.Context, meta store.Meta, waiting func(), fill func(dir string) (platforms.Made, error)) (*store.Entry, bool, error) {
	unlock, err := s.Lock(ctx, meta.Key, waiting)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = unlock() }() // never fails
	if e, err := s.Get(ctx, meta.Key); err == nil {
		return e, false, nil
	}
	if meta.Preimage.Key() != meta.Key {
		return nil, false, errors.New("key is not that of the preimage")
	}
	dir, err := os.MkdirTemp(s.dir, "fill")
	if err != nil {
		return nil, false, err
	}
	made, err := fill(dir)
	if err != nil {
		return nil, true, fmt.Errorf("put layer: %w", err)
	} else if made.Dropped {
		return nil, true, nil
	}
	meta.Ref, meta.Traits = made.Ref, made.Traits
	e := &store.Entry{Meta: meta, Dir: dir}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.layers[meta.Key] = e
	return e, true, nil
}

func (s *memStore) GetRecord(kind, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.records[kind+name]; ok {
		return v, nil
	}
	return nil, store.ErrMissing
}

func (s *memStore) PutRecord(kind, name string, v []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[kind+name] = v
	return nil
}

func (s *memStore) Lease(...plan.Key) (func() error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leased++
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leased--
		return nil
	}, nil
}

// driver is a platforms.Driver whose machines hold a string that commands add to.
type driver struct {
	max     int // of machines
	imports atomic.Int32
	boots   atomic.Int32
	open    atomic.Int32
	most    atomic.Int32 // machines open at once
}

func (d *driver) Fingerprint() string { return "fake" }
func (d *driver) MaxMachines() int    { return d.max }

func (d *driver) Pin(ctx context.Context, o platforms.Origin) (platforms.Origin, error) {
	return o, nil
}

func (d *driver) Import(ctx context.Context, o platforms.Origin, dir string, out platforms.Logger) (platforms.Made, error) {
	d.imports.Add(1)
	ref := string(o.Options)
	if config, ok := strings.CutPrefix(ref, `"image `); ok {
		if err := os.WriteFile(filepath.Join(dir, platforms.ImageConfigName), []byte(strings.TrimSuffix(config, `"`)), 0o600); err != nil {
			return platforms.Made{}, err
		}
	}
	for _, option := range []string{"layer", "disk"} {
		if p := o.Paths[option]; p != "" {
			b, err := os.ReadFile(p)
			if err != nil {
				return platforms.Made{}, err
			}
			ref += "(" + string(b) + ")"
		}
	}
	return platforms.Made{Ref: ref}, ctx.Err()
}

// Describe says more of layers than machines do.
func (d *driver) Describe(context.Context, platforms.Origin) (platforms.Traits, error) {
	return platforms.Traits{Arch: "riscv64"}, nil
}

func (d *driver) Tree(ctx context.Context, chain []platforms.Layer, use func(dir string) error) error {
	f, err := os.CreateTemp(chain[len(chain)-1].Dir, "tree")
	if err != nil {
		return err
	}
	_, err = f.WriteString(chain[len(chain)-1].Ref)
	if err = errors.Join(err, f.Close()); err == nil {
		err = use(f.Name())
	}
	return errors.Join(err, os.Remove(f.Name()))
}

func (d *driver) Launch(_ context.Context, i platforms.Image, _ platforms.Logger) (platforms.Machine, error) {
	d.boots.Add(1)
	d.open.Add(1)
	data, err := os.ReadFile(i.Path)
	return &machine{d: d, state: i.Format + " " + string(data), gone: make(chan struct{})}, err
}

func (d *driver) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
	for i := 1; i < len(chain); i++ {
		if !strings.HasPrefix(chain[i].Ref, chain[i-1].Ref) {
			return nil, fmt.Errorf("chain %v does not build up", chain)
		}
	}
	d.boots.Add(1)
	n := d.open.Add(1)
	for most := d.most.Load(); n > most && !d.most.CompareAndSwap(most, n); most = d.most.Load() {
	}
	return &machine{d: d, state: chain[len(chain)-1].Ref, gone: make(chan struct{})}, nil
}

type machine struct {
	d     *driver
	state string
	once  sync.Once
	gone  chan struct{}
}

func (m *machine) Run(ctx context.Context, c platforms.Cmd) error {
	m.state += "/" + strings.Join(c.Args, " ")
	return ctx.Err()
}
func (m *machine) Write(context.Context, string, io.Reader) error { return nil }
func (m *machine) Read(context.Context, string, io.Writer) error  { return nil }
func (m *machine) Commit(context.Context, platforms.State) (platforms.Made, error) {
	return platforms.Made{Ref: m.state}, nil
}
func (m *machine) Close() error {
	m.once.Do(func() {
		m.d.open.Add(-1)
		close(m.gone)
	})
	return nil
}

type sourceOp struct {
	Options json.RawMessage `key:"options"`
	Made    map[string]int  `key:"-"`
}

func (*sourceOp) Kind() string { return "source" }
func (o *sourceOp) Origin() platforms.Origin {
	origin := platforms.Origin{Options: o.Options}
	for option := range o.Made {
		origin.Kind = option
	}
	return origin
}
func (o *sourceOp) Links() map[string]int { return o.Made }

type stepOp struct {
	Text string                                                             `key:"text"`
	Uses []string                                                           `key:"uses"`
	Do   func(ctx context.Context, m platforms.Machine, env plan.Env) error `key:"-"`
	Ran  *atomic.Int32                                                      `key:"-"`
}

func (*stepOp) Kind() string            { return "shell" }
func (o *stepOp) SecretNames() []string { return o.Uses }

func (o *stepOp) Apply(ctx context.Context, m platforms.Machine, env plan.Env) error {
	o.Ran.Add(1)
	if err := m.Run(ctx, platforms.Cmd{Args: []string{o.Text}}); err != nil {
		return err
	}
	if o.Do != nil {
		return o.Do(ctx, m, env)
	}
	return nil
}

type checkOp struct {
	Text string                                        `key:"text"`
	Do   func(ctx context.Context, state string) error `key:"-"`
	Ran  *atomic.Int32                                 `key:"-"`
}

func (*checkOp) Kind() string        { return "test" }
func (*checkOp) Launch() plan.Launch { return plan.Launch{} }

func (o *checkOp) Check(ctx context.Context, m platforms.Machine, env plan.Env) error {
	o.Ran.Add(1)
	if o.Do != nil {
		return o.Do(ctx, m.(*machine).state)
	}
	return nil
}

type exportOp struct {
	Name string        `key:"name"`
	Ran  *atomic.Int32 `key:"-"`
}

func (*exportOp) Kind() string { return "export" }

// A diskOp is what exports are made with.
type diskOp struct {
	Name string `key:"name"`
}

func (*diskOp) Kind() string  { return "disk" }
func (*diskOp) Intermediate() {}

// exports keeps artifacts in memory, or in dir when that is set.
type exports struct {
	mu   sync.Mutex
	dir  string
	made map[string]string // name → key and content

	fail    map[string]error // of exports by name
	life    []string         // of the disks, and who used them
	settled []string         // "name passed" or "name failed"
	traits  platforms.Traits // of the layer that was exported last
}

func (x *exports) Settle(_ context.Context, n *plan.Node, k plan.Key, passed bool) ([]File, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	name, how := n.Op.(*exportOp).Name, "failed"
	if passed {
		how = "passed"
	}
	if !strings.HasPrefix(x.made[name], k.String()) {
		return nil, errors.New("settled before it was made")
	}
	x.settled = append(x.settled, name+" "+how)
	if err := os.Rename(filepath.Join(x.dir, name), filepath.Join(x.dir, name+"."+how)); err != nil {
		return nil, err
	}
	return []File{{Path: filepath.Join(x.dir, name+"."+how), Format: "raw", Size: 1}}, nil
}

// ImageConfig says of each artifact which one it is.
func (x *exports) ImageConfig(n *plan.Node, key plan.Key) ([]byte, error) {
	return []byte("of " + n.Op.(*exportOp).Name), nil
}

func (x *exports) Current(ctx context.Context, n *plan.Node, k plan.Key) ([]File, string, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := n.Op.(*diskOp); ok {
		return nil, "not kept", nil
	}
	name := n.Op.(*exportOp).Name
	if !strings.HasPrefix(x.made[name], k.String()) {
		return nil, "no file yet", nil
	}
	return x.files(name), "", nil
}

func (x *exports) files(name string) []File {
	return []File{{Path: filepath.Join(x.dir, name), Format: "raw", Size: int64(len(x.made[name]))}}
}

func (x *exports) Export(ctx context.Context, j Job) ([]File, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if d, ok := j.Node.Op.(*diskOp); ok {
		x.life = append(x.life, "make "+d.Name)
		return []File{{Path: d.Name}}, ctx.Err()
	}
	op := j.Node.Op.(*exportOp)
	op.Ran.Add(1)
	for _, u := range j.Used {
		x.life = append(x.life, op.Name+" uses "+u.Files[0].Path)
	}
	if err := x.fail[op.Name]; err != nil {
		return nil, err
	}
	x.traits = j.Traits
	content := j.Chain[len(j.Chain)-1].Ref
	x.made[op.Name] = j.Key.String() + " " + content
	if x.dir != "" {
		if err := os.WriteFile(filepath.Join(x.dir, op.Name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	return x.files(op.Name), ctx.Err()
}

func (x *exports) Release(n *plan.Node, _ plan.Key) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.life = append(x.life, "release "+n.Op.(*diskOp).Name)
	return nil
}
