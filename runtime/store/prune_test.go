package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

func TestPrune(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	// base ← mid ← leaf, base ← side, lone; used is their age in hours.
	ages := map[string]int{"base": 50, "mid": 40, "leaf": 1, "side": 30, "lone": 20}
	tests := map[string]struct {
		options PruneOptions
		lease   []string
		want    string
		kept    int
	}{
		"nothing asked":         {},
		"all":                   {options: PruneOptions{All: true}, want: "side lone leaf mid base"},
		"all but leased":        {options: PruneOptions{All: true}, lease: []string{"mid"}, want: "side lone leaf", kept: 2},
		"age":                   {options: PruneOptions{MaxAge: 25 * time.Hour}, want: "side"},
		"age spares leased":     {options: PruneOptions{MaxAge: 10 * time.Hour}, lease: []string{"lone"}, want: "side", kept: 1},
		"size":                  {options: PruneOptions{MaxSize: 400_000}, want: "side lone"},
		"size, oldest leased":   {options: PruneOptions{MaxSize: 400_000}, lease: []string{"side"}, want: "lone leaf", kept: 1},
		"size enough":           {options: PruneOptions{MaxSize: 10 << 20}},
		"leased before it came": {options: PruneOptions{All: true}, lease: []string{"leaf", "not there"}, want: "side lone", kept: 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t, t.TempDir())
			for _, l := range [][2]string{{"base", ""}, {"mid", "base"}, {"leaf", "mid"}, {"side", "base"}, {"lone", ""}} {
				put(t, s, l[0], l[1], map[string]string{"f": big})
				used := time.Now().Add(-time.Duration(ages[l[0]]) * time.Hour)
				if err := os.Chtimes(filepath.Join(s.layerDir(key(l[0])), metaName), used, used); err != nil {
					t.Fatal(err)
				}
			}
			var keys []plan.Key
			for _, l := range test.lease {
				keys = append(keys, key(l))
			}
			release, err := s.Lease(keys...)
			if err != nil {
				t.Fatal(err)
			}
			test.options.DryRun = true
			dry := prune(t, s, test.options)
			if list, err := s.List(); err != nil || len(list) != 5 {
				t.Errorf("a dry run left %d layers, %v", len(list), err)
			}
			test.options.DryRun = false
			p := prune(t, s, test.options)
			if got := names(p); got != test.want || p.Kept != test.kept || names(dry) != got || dry.Bytes != p.Bytes {
				t.Errorf("pruned %q, kept %d; the dry run told %q; want %q, %d", got, p.Kept, names(dry), test.want, test.kept)
			}
			for _, e := range p.Layers {
				if s.Has(e.Key) {
					t.Errorf("%s is still there", e.Name)
				}
				if _, err := s.Get(context.Background(), e.Key); !errors.Is(err, ErrMissing) {
					t.Errorf("get of pruned %s: %v", e.Name, err)
				}
			}
			whole(t, s)
			if err := release(); err != nil {
				t.Fatal(err)
			}
			if p := prune(t, s, PruneOptions{All: true}); p.Kept != 0 {
				t.Errorf("kept %d after the release", p.Kept)
			}
			if list, err := s.List(); err != nil || len(list) != 0 {
				t.Errorf("%d layers are left, %v", len(list), err)
			}
		})
	}
}

func prune(t *testing.T, s *Store, o PruneOptions) Pruned {
	t.Helper()
	p, err := s.Prune(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func names(p Pruned) string {
	var list []string
	for _, e := range p.Layers {
		list = append(list, e.Name)
	}
	return strings.Join(list, " ")
}

func TestPruneTakesUnreadableLayers(t *testing.T) {
	s, _ := open(t, t.TempDir())
	put(t, s, "a", "", nil)
	if err := os.Truncate(filepath.Join(s.layerDir(key("a")), metaName), 0); err != nil {
		t.Fatal(err)
	}
	if p := prune(t, s, PruneOptions{All: true}); len(p.Layers) != 1 || p.Layers[0].Key != key("a") {
		t.Errorf("pruned %+v", p)
	}
}

func TestPruneCaches(t *testing.T) {
	dir := t.TempDir()
	user, _ := open(t, dir)
	cache, err := user.CacheDir("apt")
	if err != nil {
		t.Fatal(err)
	}
	if err := tree(cache, map[string]string{"a.deb": strings.Repeat("x", 50_000)}); err != nil {
		t.Fatal(err)
	}
	s, warned := open(t, dir)
	u, err := s.Usage(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if u.Caches < 50_000 || u.ByCache["apt"] != u.Caches || u.Total() < u.Caches {
		t.Errorf("usage is %+v", u)
	}
	if p := prune(t, s, PruneOptions{Caches: true}); len(p.Caches) != 0 || warned() == "" {
		t.Errorf("pruned caches in use: %v", p.Caches)
	}
	if err := user.Close(); err != nil {
		t.Fatal(err)
	}
	if p := prune(t, s, PruneOptions{Caches: true}); len(p.Caches) != 1 || p.Bytes < 50_000 {
		t.Errorf("pruned %+v", p)
	}
	if _, err := os.Stat(cache); !os.IsNotExist(err) {
		t.Errorf("the cache is still there: %v", err)
	}
	for _, name := range []string{"", ".", "..", "a/b", ".x", "a b"} {
		if _, err := s.CacheDir(name); err == nil {
			t.Errorf("cache name %q is taken", name)
		}
	}
}

func TestUsageCountsLinksOnce(t *testing.T) {
	s, _ := open(t, t.TempDir())
	big := strings.Repeat("x", 1<<20)
	a := put(t, s, "a", "", map[string]string{"f": big})
	_, _, err := s.Put(context.Background(), Meta{Key: key("b")}, nil, func(dir string) (platforms.Made, error) {
		return platforms.Made{}, errors.Join(os.Link(filepath.Join(a.Dir, "f"), filepath.Join(dir, "f")), os.Link(filepath.Join(a.Dir, "f"), filepath.Join(dir, "g")))
	})
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.Usage(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if u.Layers < 1<<20 || u.Layers > 3<<19 {
		t.Errorf("layers take %d bytes", u.Layers)
	}
	if e, err := s.Get(context.Background(), key("b")); err != nil || e.Size != 1<<20 {
		t.Errorf("size with a hard link is %d, %v", e.Size, err)
	}
}

// TestLeaseAndPrune races leases against prunes: a layer that is found after
// it was leased must stay.
func TestLeaseAndPrune(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	pruner, _ := open(t, dir)
	stop := make(chan struct{})
	done := make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := pruner.Prune(context.Background(), PruneOptions{All: true}); err != nil {
				done <- err
				return
			}
		}
	}()
	fill := func(dir string) (platforms.Made, error) {
		return platforms.Made{}, tree(dir, map[string]string{"f": "x"})
	}
	for range 100 {
		release, err := s.Lease(key("a"))
		if err != nil {
			t.Fatal(err)
		}
		e, _, err := s.Put(context.Background(), Meta{Key: key("a")}, nil, fill)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		if _, err := os.ReadFile(filepath.Join(e.Dir, "f")); err != nil {
			t.Fatalf("a leased layer was pruned: %v", err)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestPruneSparesNewChains has a layer that was put after the measuring: what
// it was made on stays with it.
func TestPruneSparesNewChains(t *testing.T) {
	s, _ := open(t, t.TempDir())
	put(t, s, "base", "", nil)
	put(t, s, "lone", "", nil)
	u, err := s.Usage(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "new", "base", nil)
	var p Pruned
	if err := s.pruneLayers(PruneOptions{All: true}, u, &p); err != nil {
		t.Fatal(err)
	}
	if names(p) != "lone" || !s.Has(key("base")) || !s.Has(key("new")) {
		t.Errorf("pruned %q", names(p))
	}
}

// TestPruneRecords removes records that nobody has asked for, and what a process that
// was killed has left between them.
func TestPruneRecords(t *testing.T) {
	for what, c := range map[string]struct {
		options PruneOptions
		want    string
	}{
		"nothing asked": {want: "month used"},
		"a dry run":     {options: PruneOptions{DryRun: true, MaxAge: time.Hour}, want: "month used year"},
		"age":           {options: PruneOptions{MaxAge: 7 * 24 * time.Hour}, want: "used"},
	} {
		t.Run(what, func(t *testing.T) {
			s, _ := open(t, t.TempDir())
			for name, days := range map[string]int{"used": 400, "month": 30, "year": 400} {
				if err := s.PutRecord("test", name, []byte("true")); err != nil {
					t.Fatal(err)
				}
				path, err := s.recordPath("test", name)
				if err != nil {
					t.Fatal(err)
				}
				last := time.Now().AddDate(0, 0, -days)
				if err := os.Chtimes(path, last, last); err != nil {
					t.Fatal(err)
				}
			}
			rest := filepath.Join(s.dir, recordsName, "test", ".new-123")
			if err := os.WriteFile(rest, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.GetRecord("test", "used"); err != nil {
				t.Fatal(err)
			}
			prune(t, s, c.options)
			var left []string
			for _, name := range []string{"month", "used", "year"} {
				if _, err := s.GetRecord("test", name); err == nil {
					left = append(left, name)
				} else if !errors.Is(err, ErrMissing) {
					t.Error(err)
				}
			}
			if got := strings.Join(left, " "); got != c.want {
				t.Errorf("%q are left, want %q", got, c.want)
			}
			if _, err := os.Stat(rest); c.options.DryRun != (err == nil) {
				t.Errorf("a file that was never finished: %v", err)
			}
		})
	}
}

// TestNothingIsLeftOfWrites has a process die while it writes a record: what it wrote is
// in its staging directory, which the next one removes.
func TestNothingIsLeftOfWrites(t *testing.T) {
	s, _ := open(t, t.TempDir())
	if err := s.PutRecord("test", "a", []byte("true")); err != nil {
		t.Fatal(err)
	}
	if s.session == nil {
		t.Fatal("a record was not written by way of the staging directory")
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, recordsName, "test"))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the record: %v, %v", entries, err)
	}
}
