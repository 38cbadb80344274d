package disk

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/runtime/disk/tree"
)

// kernelTrees are files of /boot and /usr/lib/modules as distributions have them, a
// link with its target after "->" and what a later upgrade brings after "+", with the
// kernel and the initial file system that
// have to boot.
var kernelTrees = map[string]struct{ files, kernel, initrd string }{
	"Debian": {
		"boot/vmlinuz-6.1.0-9-amd64 boot/initrd.img-6.1.0-9-amd64 boot/vmlinuz-6.1.0-10-amd64 boot/initrd.img-6.1.0-10-amd64 " +
			"vmlinuz->boot/vmlinuz-6.1.0-9-amd64 initrd.img->boot/initrd.img-6.1.0-9-amd64",
		"/vmlinuz", "/initrd.img", // the link's, although it is not the newest
	},
	"no links": {
		"boot/vmlinuz-6.1.0-9-amd64 boot/initrd.img-6.1.0-9-amd64 +boot/vmlinuz-6.1.0-10-amd64 +boot/initrd.img-6.1.0-10-amd64",
		"/boot/vmlinuz-6.1.0-10-amd64", "/boot/initrd.img-6.1.0-10-amd64",
	},
	"Fedora": {
		"boot/vmlinuz-0-rescue-0123 boot/initramfs-0-rescue-0123.img +boot/vmlinuz-6.5.12-300.fc39.x86_64 +boot/initramfs-6.5.12-300.fc39.x86_64.img " +
			"boot/vmlinuz-6.5.6-300.fc39.x86_64 boot/initramfs-6.5.6-300.fc39.x86_64.img usr/lib/modules/6.5.6-300.fc39.x86_64/vmlinuz " +
			"usr/lib/modules/6.5.12-300.fc39.x86_64/vmlinuz",
		"/boot/vmlinuz-6.5.12-300.fc39.x86_64", "/boot/initramfs-6.5.12-300.fc39.x86_64.img",
	},
	"kernels of modules": {
		"usr/lib/modules/5.14.0-427.el9/vmlinuz usr/lib/modules/5.14.0-427.el9/initramfs.img usr/lib/modules/5.14.0-70.el9/vmlinuz usr/lib/modules/5.14.0-70.el9/initramfs.img",
		"/usr/lib/modules/5.14.0-427.el9/vmlinuz", "/usr/lib/modules/5.14.0-427.el9/initramfs.img",
	},
	"Alpine": {"boot/vmlinuz-virt boot/initramfs-virt", "/boot/vmlinuz-virt", "/boot/initramfs-virt"},
	"SUSE": {
		"usr/lib/modules/6.4.0-150-default/vmlinuz boot/vmlinuz-6.4.0-150-default->../usr/lib/modules/6.4.0-150-default/vmlinuz " +
			"boot/initrd-6.4.0-150-default boot/vmlinuz->vmlinuz-6.4.0-150-default boot/initrd->initrd-6.4.0-150-default",
		"/boot/vmlinuz", "/boot/initrd",
	},
	"systemd":       {"boot/0123/6.9.1/linux boot/0123/6.9.1/initrd boot/0123/6.10.1/linux boot/0123/6.10.1/initrd", "/boot/0123/6.10.1/linux", "/boot/0123/6.10.1/initrd"},
	"no initrd":     {"boot/vmlinuz-6.1 boot/vmlinuz-6.10 boot/vmlinuz-6.9", "/boot/vmlinuz-6.10", ""},
	"failed initrd": {"boot/vmlinuz-6.1 boot/initrd.img-6.1 boot/vmlinuz-6.2", "/boot/vmlinuz-6.1", "/boot/initrd.img-6.1"},
	"flavours": {
		"boot/vmlinuz-6.1.0-9-amd64 boot/initrd.img-6.1.0-9-amd64 boot/vmlinuz-6.1.0-9-cloud-amd64 boot/initrd.img-6.1.0-9-cloud-amd64",
		"/boot/vmlinuz-6.1.0-9-amd64", "/boot/initrd.img-6.1.0-9-amd64",
	},
}

// kernelTree makes the files of one of kernelTrees, perhaps with the upgrade.
func kernelTree(t *testing.T, files string, upgraded bool) string {
	t.Helper()
	dir := t.TempDir()
	for f := range strings.FieldsSeq("usr/sbin/init " + files) {
		f, upgrade := strings.CutPrefix(f, "+")
		if upgrade && !upgraded {
			continue
		}
		name, target, link := strings.Cut(f, "->")
		if !link {
			write(t, dir, name, name)
			continue
		}
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, p); err != nil {
			t.Fatal(err)
		}
	}
	sameTimes(t, dir)
	return dir
}

func TestFindKernel(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: file trees are read there only")
	}
	for name, c := range kernelTrees {
		t.Run(name, func(t *testing.T) {
			tr, err := tree.Scan(kernelTree(t, c.files, true))
			if err != nil {
				t.Fatal(err)
			}
			got, ok := findKernel(tr)
			real := func(p string) string {
				at, _ := tr.Follow(p)
				return at
			}
			if !ok || real(got.Image) != real(c.kernel) || (got.Initrd == "") != (c.initrd == "") || c.initrd != "" && real(got.Initrd) != real(c.initrd) {
				t.Errorf("got %+v, want %s %s", got, c.kernel, c.initrd)
			}
			if got.Version == "" || !strings.Contains(c.files, got.Version) {
				t.Errorf("version %q", got.Version)
			}
		})
	}
}

// TestGRUBPicksKernels has GRUB itself read the configuration of each tree, in one
// machine: what a later upgrade brings is found without the configuration changing.
func TestGRUBPicksKernels(t *testing.T) {
	need.Slow(t)
	need.Tool(t, "qemu-system-x86_64", "debugfs")
	needTools(t, BootBIOS)
	args := []string{"-accel", "tcg", "-m", "256", "-display", "none", "-no-reboot", "-nic", "none", "-monitor", "none", "-serial", "stdio",
		"-device", "virtio-scsi-pci"}
	control := "serial --unit=0\nterminal_output serial\n"
	attach := func(path string, n int) {
		args = append(args, "-drive", fmt.Sprintf("file=%s,format=raw,snapshot=on,if=none,id=d%d", path, n), "-device", fmt.Sprintf("scsi-hd,drive=d%d,bootindex=%d", n, n+1))
	}
	makeOne := func(files string) string {
		path, err := makeDisk(t, kernelTree(t, files, false), Options{Boot: BootBIOS, Size: 24 << 20})
		if err != nil {
			t.Fatal(err)
		}
		spec, _, _ := rootOf(t, path)
		for f := range strings.FieldsSeq(files) {
			if f, upgrade := strings.CutPrefix(f, "+"); upgrade {
				tool(t, "debugfs", "-w", "-R", "write /etc/hostname /"+f, spec)
			}
		}
		return path
	}
	// The first disk has the others' configurations read.
	first := makeOne("boot/vmlinuz-1")
	attach(first, 0)
	want := map[string]string{}
	for name, c := range kernelTrees {
		n := len(want) + 1
		attach(makeOne(c.files), n)
		control += fmt.Sprintf("set root=hd%d,gpt1\nsource /boot/grub/grub.cfg\necho \"picked:%d=$kernel,$initrd.\"\n", n, n)
		want[fmt.Sprintf("picked:%d=%s,%s.", n, c.kernel, c.initrd)] = name
	}
	script := filepath.Join(t.TempDir(), "grub.cfg")
	if err := os.WriteFile(script, []byte(control+"halt\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec, _, _ := rootOf(t, first)
	tool(t, "debugfs", "-w", "-R", "rm /boot/grub/grub.cfg", spec)
	tool(t, "debugfs", "-w", "-R", "write "+script+" /boot/grub/grub.cfg", spec)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", args...).CombinedOutput()
	console := strings.Join(strings.Fields(string(out)), "") // lines are broken at column 80
	for line, name := range want {
		if !strings.Contains(console, line) {
			t.Errorf("%s: no %q", name, line)
		}
	}
	if err != nil || t.Failed() || strings.Contains(console, "error:") {
		t.Errorf("%v\n%s", err, out)
	}
}
