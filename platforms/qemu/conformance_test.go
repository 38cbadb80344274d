package qemu

import (
	"context"
	"os"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// TestConformance runs the whole suite. Its first layer was committed by a
// machine, so that all others are resumed from there.
func TestConformance(t *testing.T) {
	w := newWorld(t)
	m := w.boot(w.driver)
	first := w.commit(m, "first")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	platformtest.Run(t, platformtest.Harness{
		Driver: onTop{w.driver, w.first},
		First:  first,
		Dir: func(t *testing.T) string {
			dir, err := os.MkdirTemp(w.host.dir, "layer")
			if err != nil {
				t.Fatal(err)
			}
			return dir
		},
		Shared: true,
	})
}

// onTop is a driver whose chains all lie on one more layer.
type onTop struct {
	*driver
	base platforms.Layer
}

func (d onTop) under(chain []platforms.Layer) []platforms.Layer {
	return append([]platforms.Layer{d.base}, chain...)
}

func (d onTop) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
	return d.driver.Boot(ctx, d.under(chain), out)
}

func (d onTop) Disk(ctx context.Context, chain []platforms.Layer, dst string, out platforms.Logger) error {
	return d.driver.Disk(ctx, d.under(chain), dst, out)
}

func (d onTop) Tree(ctx context.Context, chain []platforms.Layer, use func(dir string) error) error {
	return d.driver.Tree(ctx, d.under(chain), use)
}
