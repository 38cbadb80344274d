package qemu

import (
	"os"
	"path/filepath"
	"testing"
	"time"

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
	t.Run("frozen by its agent", func(t *testing.T) {
		m := w.boot(w.open(), one)
		sh(t, m, "systemd-run --quiet --unit=agent /usr/sbin/qemu-ga -p /dev/virtio-ports/org.qemu.guest_agent.0")
		for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			open, err := m.vm.portOpen(t.Context(), "agent")
			if err != nil {
				t.Fatal(err)
			}
			if open {
				break
			}
			if time.Since(begin) > time.Minute {
				t.Fatal("the guest agent does not answer")
			}
		}
		frozen := w.commit(m, "frozen")
		if got := sh(t, m, "echo thawed >/thawed; sync; journalctl -b -t qemu-ga | grep -c 'guest-fsfreeze called'"); got != "1" {
			t.Errorf("file systems were frozen %s times", got)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		// The memory that was kept is that of frozen file systems.
		again := w.boot(w.open(), one, frozen)
		if got := sh(t, again, "echo thawed >/again; sync; cat /one /again; ls /thawed 2>/dev/null; cat /proc/sys/kernel/random/boot_id"); got != "one\nthawed\n"+boot {
			t.Errorf("got %q", got)
		}
		w.commit(again, "again")
	})
}
