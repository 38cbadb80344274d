package module

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/runtime/store"
	"bake.build/bake/starlark/module"
)

// TestDiskFull fetches into a store on a file system that is too small, from each kind
// of source: the error says so, and nothing is left. Afterwards what fits is fetched.
func TestDiskFull(t *testing.T) {
	need.Root(t)
	f := newForge(t)
	big := map[string]string{"bake.mod": "", "big": string(noise(t, 2<<20))}
	r := newRegistry(t)
	r.publish("big", "main", big)
	f.commit("big", big)
	sources := map[string]module.Source{"archive": serve(t, "a.tar", tarOf(t, "", big)), "oci": r.source("big"), "git": f.source("big")}
	for name, src := range sources {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			}()
			s, err := store.Open(filepath.Join(dir, "store"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			fetcher := &Fetcher{Store: s}
			_, err = fetcher.Fetch(t.Context(), src, "main", "")
			if err == nil || !errors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), "No space left") {
				t.Errorf("error %v, want that the disk is full", err)
			}
			nothingKept(t, fetcher)
			if got, err := fetcher.Fetch(t.Context(), serve(t, "b.tar", tarOf(t, "", golden)), "main", ""); err != nil {
				t.Errorf("Fetch of what fits = %+v, %v", got, err)
			}
		})
	}
}
