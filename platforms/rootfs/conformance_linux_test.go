package rootfs_test

import (
	"testing"

	"bake.build/bake/platforms/platformtest"
)

func TestConformance(t *testing.T) {
	f := newFixture(t, "")
	platformtest.Run(t, platformtest.Harness{
		Driver: f.driver,
		First:  f.base,
		Dir:    func(t *testing.T) string { return f.layerDir(t) },
	})
}
