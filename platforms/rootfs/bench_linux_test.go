package rootfs_test

import (
	"context"
	"fmt"
	"testing"

	"bake.build/bake/platforms"
)

func BenchmarkRun(b *testing.B) {
	f := newFixture(b, "")
	m := f.boot(b)
	var layers []platforms.Layer
	for i := range 10 {
		if _, err := sh(m, fmt.Sprintf("echo %d > /file%d", i, i)); err != nil {
			b.Fatal(err)
		}
		layers = append(layers, f.commit(b, m, fmt.Sprint(i)))
	}
	m = f.boot(b, layers...)
	for b.Loop() {
		if err := m.Run(context.Background(), platforms.Cmd{Args: []string{"/bin/true"}}); err != nil {
			b.Fatal(err)
		}
	}
}
