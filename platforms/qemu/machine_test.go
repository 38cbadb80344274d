package qemu

import (
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/platforms"
)

// TestLife follows one machine: boot, steps, commits, parking, resuming from
// memory, and the disk that is made of it.
func TestLife(t *testing.T) {
	w := newWorld(t)
	m := w.boot(w.driver)
	boot := sh(t, m, "cat /proc/sys/kernel/random/boot_id")
	sh(t, m, "echo one >/one")
	one := w.commit(m, "1")
	sh(t, m, "echo two >/two")
	two := w.commit(m, "2")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("parked", func(t *testing.T) {
		m := w.boot(w.driver, one, two)
		if got := sh(t, m, "cat /one /two /proc/sys/kernel/random/boot_id"); got != "one\ntwo\n"+boot {
			t.Errorf("got %q", got)
		}
	})
	t.Run("resumed", func(t *testing.T) {
		other := w.open()
		m := w.boot(other, one)
		if got := sh(t, m, "cat /one /two /proc/sys/kernel/random/boot_id 2>/dev/null; true"); got != "one\n"+boot {
			t.Errorf("got %q", got)
		}
		sh(t, m, "echo branch >/branch")
		branch := w.commit(m, "branch")
		dst := filepath.Join(t.TempDir(), "disk.raw")
		if err := other.Disk(t.Context(), []platforms.Layer{w.first, one, branch}, dst, testSink{t}); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(dst)
		if err != nil || fi.Size() != 2<<30 {
			t.Errorf("the disk: %v, %v", fi, err)
		}
	})
}
