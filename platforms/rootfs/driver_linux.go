package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"bake.build/bake/internal/userns"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs/origin"
	"bake.build/bake/platforms/rootfs/overlay"
	"bake.build/bake/platforms/rootfs/sandbox"
)

type driver struct {
	host   platforms.Host
	limits limits
	userNS bool                     // machines have a user namespace, also where it cannot be had here and now
	self   func() (*os.File, error) // this program, as machines may see it
	groups *groups
	swept  sync.Once // of old caches
}

var (
	_ platforms.Driver    = (*driver)(nil)
	_ platforms.Treer     = (*driver)(nil)
	_ platforms.Checker   = (*driver)(nil)
	_ platforms.Describer = (*driver)(nil)
	_ platforms.Machine   = (*machine)(nil)
	_ platforms.Sheller   = (*machine)(nil)
)

func open(o Options, h platforms.Host) (platforms.Driver, error) {
	l, err := o.limits()
	if err != nil {
		return nil, err
	}
	d := &driver{host: h, limits: l, userNS: userns.Inside() || os.Geteuid() != 0, self: sync.OnceValues(openSelf)}
	d.groups = newGroups(l)
	return d, nil
}

// Child turns a process that bake started as the inside of a machine into it,
// and then does not return. Programs that open this platform, tests among
// them, call it first of all in main.
func Child() {
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case sandbox.Arg0:
		sandbox.Main()
	case enterArg0:
		enterMain()
	}
}

// Fingerprint implements platforms.Driver. Layers of an ordinary user are in
// another form, and lack device nodes. Another recipe makes other trees.
func (d *driver) Fingerprint() string {
	form := "trusted"
	if d.userNS {
		form = "user"
	}
	return fmt.Sprintf("rootfs/1 %s %s recipe:%s", runtime.GOARCH, form, origin.Recipe())
}

// Pin implements platforms.Driver.
func (d *driver) Pin(ctx context.Context, o platforms.Origin) (platforms.Origin, error) {
	return origin.Pin(ctx, o, d.host)
}

// PinName implements platforms.PinNamer.
func (d *driver) PinName(o platforms.Origin) string { return origin.PinName(o) }

// Import implements platforms.Driver.
func (d *driver) Import(ctx context.Context, o platforms.Origin, dir string, out platforms.Logger) (platforms.Made, error) {
	if err := origin.Import(ctx, o, dir, d.host, out); err != nil {
		return platforms.Made{}, err
	}
	traits, err := d.Describe(ctx, o)
	return platforms.Made{Traits: traits}, err
}

// Describe implements platforms.Describer. A tree has no boot mode.
func (d *driver) Describe(_ context.Context, o platforms.Origin) (platforms.Traits, error) {
	arch, err := origin.Arch(o)
	return platforms.Traits{Arch: arch}, err
}

// Boot implements platforms.Driver.
func (d *driver) Boot(ctx context.Context, chain []platforms.Layer, _ platforms.Logger) (platforms.Machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	layers, err := lowers(chain)
	if err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	dir, remove, err := d.host.TempDir("machine")
	if err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	m := newMachine(d, dir, remove, layers)
	m.traits = chain[len(chain)-1].Traits
	m.env, err = imageEnv(chain[0])
	if err == nil {
		m.epoch, err = origin.Epoch(chain[0].Dir)
	}
	if err == nil {
		err = m.prepare()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boot: %w", err), remove())
	}
	return m, nil
}

// Tree implements platforms.Treer.
func (d *driver) Tree(ctx context.Context, chain []platforms.Layer, use func(dir string) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	layers, err := lowers(chain)
	if err != nil {
		return fmt.Errorf("show tree: %w", err)
	}
	base, remove, err := d.host.TempDir("tree")
	if err != nil {
		return fmt.Errorf("show tree: %w", err)
	}
	defer func() { err = errors.Join(err, remove()) }()
	return overlay.Mount{Lowers: layers, UserXattr: d.userNS}.Use(base, use)
}

// imageEnv returns the environment of the container image that the layer comes
// from, if it does.
func imageEnv(l platforms.Layer) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(l.Dir, platforms.ImageConfigName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var config struct{ Env []string }
	if err == nil {
		err = json.Unmarshal(b, &config)
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration of the imported image: %w", err)
	}
	return config.Env, nil
}

// fsName is the name of the overlay directory in a layer's directory.
const fsName = "fs"

func lowers(chain []platforms.Layer) ([]string, error) {
	if len(chain) == 0 {
		return nil, errors.New("the chain has no layers")
	}
	dirs := make([]string, len(chain))
	for i, l := range chain {
		dirs[i] = filepath.Join(l.Dir, fsName)
		if fi, err := os.Stat(dirs[i]); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.Key, err)
		} else if !fi.IsDir() {
			return nil, fmt.Errorf("layer %s: %s is not a directory", l.Key, dirs[i])
		}
	}
	return dirs, nil
}
