package disk

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testdisk"
	"bake.build/bake/runtime/disk/drivers"
)

const helloUnit = `[Unit]
After=systemd-growfs-root.service systemd-growfs@-.service
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/ttyS0
ExecStart=/bin/sh -c 'echo; echo size $(df --output=size -m / | tail -1); echo it booted; systemctl --no-block poweroff'
`

// TestBoot boots a disk of a Debian system by each firmware, on a larger
// device than it was made for.
func TestBoot(t *testing.T) {
	need.Slow(t)
	need.Root(t)
	need.Tool(t, "qemu-system-x86_64")
	need.Tool(t, "qemu-img")
	need.File(t, "/usr/share/OVMF/OVMF_CODE.fd")
	needTools(t, BootBoth)
	tree := filepath.Join(t.TempDir(), "tree")
	testdisk.Tree(t, tree)
	// Other tests do without what grows the partition.
	if err := os.Remove(filepath.Join(tree, "etc/systemd/system/systemd-repart.service")); err != nil {
		t.Fatal(err)
	}
	write(t, tree, "etc/systemd/system/hello.service", helloUnit)
	wants := filepath.Join(tree, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../hello.service", filepath.Join(wants, "hello.service")); err != nil {
		t.Fatal(err)
	}
	var warned, told []string
	disk, err := makeDisk(t, tree, Options{
		Seed: [32]byte{9}, KernelArgs: "quiet " + testdisk.KernelArgs,
		Warn: func(s string) { told = append(told, s) },
	})
	if err != nil || len(told) > 0 {
		t.Fatal(err, told)
	}
	uses := []Use{{"qcow2", drivers.KVM}, {"vhd", drivers.HyperV}, {"vdi", drivers.VirtualBox}}
	if err := CheckTree(tree, uses, func(s string) { warned = append(warned, s) }); err != nil {
		t.Fatal(err)
	}
	// The cloud kernel has neither SATA nor an Intel card.
	if len(warned) != 2 || !strings.Contains(warned[0], "(ahci)") || !strings.Contains(warned[1], "(e1000)") {
		t.Errorf("warned of %q", warned)
	}
	for name, firmware := range map[string][]string{
		"SeaBIOS": nil,
		"OVMF":    {"-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd"},
	} {
		t.Run(name, func(t *testing.T) { bootOnce(t, disk, firmware) })
	}
}

func bootOnce(t *testing.T, disk string, firmware []string) {
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", "raw", overlay, "5G")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append([]string{
		"-accel", "tcg", "-cpu", "max,la57=off", "-smp", "2", "-m", "1024", "-display", "none", "-no-reboot",
		"-nic", "none", "-monitor", "none", "-serial", "stdio", "-drive", "file=" + overlay + ",if=virtio,format=qcow2",
	}, firmware...)...)
	out, err := cmd.CombinedOutput()
	console := string(out)
	if err != nil || !strings.Contains(console, "it booted") {
		t.Fatalf("no sign of life: %v\n%s", err, console[max(0, len(console)-3000):])
	}
	_, after, _ := strings.Cut(console, "size ")
	size, _, _ := strings.Cut(after, "\r")
	if len(strings.TrimSpace(size)) != 4 || size[0] != '4' {
		t.Errorf("the root file system has %q MiB, it did not grow into 5 GiB", size)
	}
}
