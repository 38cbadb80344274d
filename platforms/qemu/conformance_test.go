package qemu

import (
	"context"
	"errors"
	"os"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// TestMachines boots once. All tests go on from the layer that was committed then,
// and so from its memory, which is to survive all of them.
func TestMachines(t *testing.T) {
	w := newWorld(t)
	m := w.boot(w.driver)
	sh(t, m, "echo whole >/state; printf %s enough >/root/of-it")
	base := w.commit(m, "base")
	if err := errors.Join(m.Close(), w.driver.Close()); err != nil {
		t.Fatal(err)
	}
	t.Run("conformance", func(t *testing.T) { testConformance(t, w.on(t, base), base) })
	t.Run("mishaps", func(t *testing.T) { testMishaps(t, w.on(t, base)) })
}

// testConformance runs the whole suite.
func testConformance(t *testing.T, w *world, base platforms.Layer) {
	platformtest.Run(t, platformtest.Harness{
		Driver: onTop{w.driver, w.first},
		First:  base,
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
