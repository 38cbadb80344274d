package qemu

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// TestLife follows one machine: boot, steps, commits, parking, resuming from
// memory, and the disk that is made of it.
func TestLife(t *testing.T) {
	vmware := func(o *Options) { o.DiskBus, o.NIC = "pvscsi", "vmxnet3" }
	w := newWorld(t, vmware)
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
		other := w.open(vmware)
		m := w.boot(other, one)
		if got := sh(t, m, "cat /one /two /proc/sys/kernel/random/boot_id 2>/dev/null; true"); got != "one\n"+boot {
			t.Errorf("got %q", got)
		}
		sh(t, m, "echo branch >/branch")
		w.commit(m, "branch")
	})
	t.Run("frozen by its agent", func(t *testing.T) {
		m := w.boot(w.open(vmware), one)
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
		again := w.boot(w.open(vmware), one, frozen)
		if got := sh(t, again, "echo thawed >/again; sync; cat /one /again; ls /thawed 2>/dev/null; cat /proc/sys/kernel/random/boot_id"); got != "one\nthawed\n"+boot {
			t.Errorf("got %q", got)
		}
		w.commit(again, "again")
	})
	t.Run("hardened", func(t *testing.T) { testHardened(t, w, one) })
}

// testHardened shuts everybody out of a machine, by all that a hardening script
// does to an SSH server and a network. The layer boots again and leaves as a disk, without
// a trace of the door.
func testHardened(t *testing.T, w *world, one platforms.Layer) {
	m := w.boot(w.open(), one)
	sh(t, m, `cat >/etc/ssh/sshd_config.d/00-hard.conf <<'END'
PermitRootLogin no
Port 2222
AllowUsers nobody
AuthorizedKeysFile none
END
systemctl -q disable ssh.service
systemctl -q mask systemd-networkd.service systemd-networkd.socket
passwd -q -l root; rm -f /etc/ssh/ssh_host_*; echo hard >/hard`)
	hard := w.commit(m, "hard")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	d := w.open(func(o *Options) { o.Resume = "boot" })
	again := w.boot(d, one, hard)
	if got := sh(t, again, "id -un; cat /one /hard; grep -c 00 /proc/net/route || true"); got != "root\none\nhard\n0" {
		t.Errorf("in the machine that lets nobody in: %q", got)
	}
	if got := sh(t, again, "find / -xdev -newer /hard -name '*bake*' -not -path '/run/*'"); got != "" {
		t.Errorf("the door left %s", got)
	}
	cold := w.commit(again, "cold") // so that the disk is made by this machine
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(t.TempDir(), "disk.raw")
	if err := d.Disk(t.Context(), []platforms.Layer{w.first, one, hard, cold}, dst, platformtest.TestLog{T: t}); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(dst)
	if err != nil || fi.Size() != 2<<30 {
		t.Errorf("the disk: %v, %v", fi, err)
	}
}
