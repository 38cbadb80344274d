package solve

import (
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// TestImageConfigStays: a chain that begins on a layer, or on an artifact, has the
// run configuration of the image that the chain below began with, unless it began
// with an image itself.
func TestImageConfigStays(t *testing.T) {
	w := newWorld(t)
	w.exports.dir = t.TempDir()
	image := w.step(w.source("image one"), "a")
	onLayer := w.source("flat", image)
	twice := w.source("twice", w.step(onLayer, "b"))
	onArtifact := w.source("vm", w.export(image, "disk"))
	own := w.source("image two", image)
	plain := w.source("plain", w.source("scratch"))
	w.must(onLayer, twice, onArtifact, own, plain)
	for n, want := range map[*plan.Node]string{onLayer: "one", twice: "one", onArtifact: "of disk", own: "two", plain: ""} {
		e, err := w.store.Get(t.Context(), n.Key)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(e.Layer().Dir, platforms.ImageConfigName))
		if err != nil && !os.IsNotExist(err) || string(b) != want {
			t.Errorf("%s has %q, %v, want %q", n.Name, b, err, want)
		}
	}
}
