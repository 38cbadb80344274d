package drivers

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"bake.build/bake/internal/need"
	"bake.build/bake/runtime/disk/grub"
	"bake.build/bake/runtime/disk/tree"
)

// cpio has the program cpio make an archive of empty files.
func cpio(t *testing.T, names ...string) []byte {
	t.Helper()
	need.Tool(t, "cpio")
	dir := t.TempDir()
	for _, n := range names {
		p := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("content of "+n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("cpio", "--quiet", "-o", "-H", "newc")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(strings.Join(names, "\n")+"\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestArchiveModules(t *testing.T) {
	micro := cpio(t, "kernel/x86/microcode/AuthenticAMD.bin")
	main := cpio(t, "init", "usr/lib/modules/6.1/kernel/drivers/ata/ahci.ko", "lib/modules/6.1/xen-blkfront.ko.xz", "x.kox")
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"ahci", "xen_blkfront"}
	for name, c := range map[string]struct {
		b    []byte
		want []string // nil for what is not known
	}{
		"plain":       {main, want},
		"padded":      {slices.Concat(main, make([]byte, 700)), want},
		"two":         {slices.Concat(micro, main), want},
		"gzip":        {gzipped(t, main), want},
		"behind":      {slices.Concat(micro, gzipped(t, main)), want},
		"zstd":        {slices.Concat(micro, make([]byte, 512), encoder.EncodeAll(main, nil)), want},
		"two in gzip": {gzipped(t, slices.Concat(micro, main)), want},
		"lz4":         {[]byte("\x02\x21\x4c\x18xxxxxxxx"), nil},
		"empty":       {nil, []string{}},
	} {
		got, err := archiveModules(bytes.NewReader(c.b))
		if err != nil || (got == nil) != (c.want == nil) || len(got) != len(c.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		for _, m := range c.want {
			if !got[m] {
				t.Errorf("%s: no %s in %v", name, m, got)
			}
		}
	}
	for name, b := range map[string][]byte{"cut": main[:len(main)/2], "damaged": bytes.Replace(main, []byte("070701"), []byte("07070x"), 2), "cut gzip": gzipped(t, main)[:90]} {
		if name == "damaged" {
			copy(b, "070701")
		}
		if got, err := archiveModules(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzArchive(f *testing.F) {
	f.Add([]byte("070701" + strings.Repeat("00000000", 11) + "0000000b" + "00000000" + "TRAILER!!!\x00\x00\x00\x00"))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := archiveModules(bytes.NewReader(b)); err != nil && s != nil {
			t.Error("both modules and an error")
		}
	})
}

// kernelTree is a tree with a kernel whose lists name modules.
func kernelTree(t *testing.T, builtin, modules string, early ...string) *tree.Tree {
	t.Helper()
	tr := &tree.Tree{Root: &tree.Entry{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}}}
	lines := func(list, end string) (s string) {
		for m := range strings.FieldsSeq(list) {
			s += "kernel/drivers/" + m + ".ko" + end + "\n"
		}
		return s
	}
	for i := range early {
		early[i] = "lib/modules/6.1/" + early[i] + ".ko"
	}
	for name, text := range map[string]string{
		"usr/lib/modules/6.1/modules.builtin": lines(builtin, ""),
		"usr/lib/modules/6.1/modules.dep":     lines(modules, ".xz: kernel/lib/other.ko.xz"),
		"boot/initrd.img-6.1":                 string(cpio(t, append(early, "init")...)),
	} {
		if err := tr.Add(name, 0o644, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func TestCheck(t *testing.T) {
	const (
		debian = "virtio_pci virtio_blk virtio_scsi sd_mod ahci mptspi vmw_pvscsi nvme virtio_net e1000 vmxnet3"
		cloud  = "virtio_pci virtio_blk virtio_scsi sd_mod vmw_pvscsi virtio_net vmxnet3"
	)
	k := grub.Kernel{Image: "/boot/vmlinuz-6.1", Initrd: "/boot/initrd.img-6.1", Version: "6.1"}
	for name, c := range map[string]struct {
		tree *tree.Tree
		on   Hypervisor
		want []string
	}{
		"all":      {kernelTree(t, "", debian, "ahci", "sd-mod"), VirtualBox, nil},
		"built in": {kernelTree(t, "ahci sd_mod e1000", ""), VirtualBox, nil},
		"cloud kernel": {kernelTree(t, "nvme", cloud, "sd_mod", "virtio_pci", "virtio_scsi"), VirtualBox, []string{
			"VirtualBox attaches a disk by SATA, and the kernel 6.1 has no driver for that (ahci): install a kernel that has it, such as linux-image-amd64 in place of Debian's cloud kernel, or choose virtio-scsi or NVMe there",
			"VirtualBox attaches a network card by e1000, and the kernel 6.1 has no driver for that (e1000): install a kernel that has it, such as linux-image-amd64 in place of Debian's cloud kernel, or choose virtio there",
		}},
		"slim initramfs": {kernelTree(t, "", debian, "sd_mod", "vmw_pvscsi"), VMware, []string{
			"VMware attaches a disk by LSI Logic SCSI, and /boot/initrd.img-6.1 has no driver for that (mptspi): have it made with more drivers, or choose paravirtual SCSI there",
		}},
		"no lists": {&tree.Tree{Root: &tree.Entry{Inode: &tree.Inode{Mode: tree.TypeDir}}}, VMware, nil},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := Read(c.tree, k)
			if err != nil {
				t.Fatal(err)
			}
			if found == nil {
				if c.want != nil || name != "no lists" {
					t.Error("nothing is known")
				}
				return
			}
			got, err := found.Check(c.on)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%v\ngot  %s\nwant %s", err, strings.Join(got, "\n     "), strings.Join(c.want, "\n     "))
			}
		})
	}
}
