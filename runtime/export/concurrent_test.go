package export

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"bake.build/bake/runtime/plan"
)

// TestWritersAtOnce has builds of one definition and of another write one
// artifact at the same time: equal ones take over what the first has made, and
// what stands in the end is of one build alone.
func TestWritersAtOnce(t *testing.T) {
	tree := sampleTree(t)
	r := request(t, tree, "tar", "oci")
	var g sync.WaitGroup
	for i := range 8 {
		mine := r
		mine.Key = plan.Key{byte(i % 2)}
		if i%2 == 1 {
			mine.Op = &Op{Name: "web", Formats: []string{"tar", "tar.gz"}}
		}
		g.Go(func() {
			if _, err := Run(t.Context(), mine); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	m, err := ReadManifest(r.OutDir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := plan.ParseKey(m.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, why, err := Current(r.OutDir, key, plan.HashFile{}); why != "" || err != nil {
		t.Errorf("not whole: %s, %v", why, err)
	}
	want := []string{"SHA256SUMS", "manifest.json", "web.oci", "web.tar"}
	if key != (plan.Key{0}) {
		want = []string{"SHA256SUMS", "manifest.json", "web.tar", "web.tar.gz"}
	}
	if got := names(t, r.OutDir); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if got := names(t, filepath.Dir(r.OutDir)); !slices.Equal(got, []string{"web"}) {
		t.Errorf("left behind: %q", got)
	}
}

// TestEqualWritersAdopt holds that of builds that make the same artifact at
// once, one writes it.
func TestEqualWritersAdopt(t *testing.T) {
	r := request(t, sampleTree(t), "tar")
	var trees atomic.Int32
	tree := r.Tree
	r.Tree = func(ctx context.Context, use func(string) error) error {
		trees.Add(1)
		return tree(ctx, use)
	}
	results := make([]*Result, 8)
	var g sync.WaitGroup
	for i := range results {
		g.Go(func() {
			var err error
			if results[i], err = Run(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if n := trees.Load(); n != 1 {
		t.Errorf("the tree was read %d times, want once", n)
	}
	for _, res := range results {
		if res != nil && !res.Manifest.Finished.Equal(results[0].Manifest.Finished) {
			t.Error("results of different runs")
		}
	}
}
