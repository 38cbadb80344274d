package disk

import (
	"bytes"
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
	"bake.build/bake/runtime/disk/ext4"
	"bake.build/bake/runtime/disk/gpt"
)

// fakeTree makes a tree that looks bootable to Build. Its files are made in
// the order that reverse says, so that the host may list them differently.
func fakeTree(t *testing.T, reverse bool) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: disks are made there only")
	}
	dir := t.TempDir()
	files := []string{"boot/vmlinuz-6.1.0-9-amd64", "boot/vmlinuz-6.1.0-10-amd64", "boot/initrd.img-6.1.0-10-amd64", "usr/sbin/init", "etc/fstab", "etc/hostname"}
	for i := range 200 {
		files = append(files, fmt.Sprintf("usr/share/f%03d", i))
	}
	for i := range files {
		name := files[i]
		if reverse {
			name = files[len(files)-1-i]
		}
		write(t, dir, name, name)
	}
	write(t, dir, "etc/fstab", "# nothing here\n")
	sameTimes(t, dir)
	return dir
}

func write(t *testing.T, dir, name, data string) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sameTimes gives every file the same time.
func sameTimes(t *testing.T, dir string) {
	t.Helper()
	at := time.Unix(1700000000, 0)
	err := filepath.Walk(dir, func(p string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(p, at, at)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func needTools(t *testing.T, boot string) {
	t.Helper()
	need.Tool(t, "mke2fs")
	need.Tool(t, "e2fsck")
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: GRUB of the tests is for PCs")
	}
	o := Options{Boot: boot}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	for _, target := range o.targets() {
		need.Tool(t, "grub-mkimage")
		need.File(t, "/usr/lib/grub/"+target.Format+"/moddep.lst")
	}
}

func makeDisk(t *testing.T, dir string, o Options) (string, error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "disk")
	return out, Build(context.Background(), dir, o, out)
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	p, err := ext4.Tool(name)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(p, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func rootOf(t *testing.T, path string) (fsSpec string, root gpt.Partition, table *gpt.Table) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err = gpt.Read(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	root = table.Partitions[0]
	return fmt.Sprintf("%s?offset=%d", path, root.First*gpt.SectorSize), root, table
}

func TestBuild(t *testing.T) {
	for boot, partitions := range map[string]int{BootBoth: 3, BootBIOS: 2, BootUEFI: 2, BootNone: 1} {
		t.Run(boot, func(t *testing.T) {
			needTools(t, boot)
			src := fakeTree(t, false)
			path, err := makeDisk(t, src, Options{Boot: boot, KernelArgs: "quiet splash", Size: 512 << 20, Seed: [32]byte{1}})
			if err != nil {
				t.Fatal(err)
			}
			spec, root, table := rootOf(t, path)
			if len(table.Partitions) != partitions || root.Number != 1 {
				t.Errorf("partitions %+v", table.Partitions)
			}
			tool(t, "e2fsck", "-fn", spec)
			cfg := tool(t, "debugfs", "-R", "cat /boot/grub/grub.cfg", spec)
			tab := tool(t, "debugfs", "-R", "cat /etc/fstab", spec)
			if boot == BootNone {
				if !strings.Contains(cfg, "not found") || !strings.Contains(tab, "nothing here") {
					t.Errorf("a disk that does not boot got files:\n%s\n%s", cfg, tab)
				}
				return
			}
			id := "PARTUUID=" + root.ID.String()
			for _, want := range []string{id, "'quiet' 'splash'", "console=ttyS0,115200", "consider '/boot/vmlinuz-6.1.0-10-amd64' '6.1.0-10-amd64' '/boot'"} {
				if !strings.Contains(cfg, want) {
					t.Errorf("grub.cfg lacks %q:\n%s", want, cfg)
				}
			}
			if !strings.Contains(tab, id+" / ext4") {
				t.Errorf("fstab:\n%s", tab)
			}
			if b, err := os.ReadFile(filepath.Join(src, "etc/fstab")); err != nil || string(b) != "# nothing here\n" {
				t.Errorf("the tree was changed: %q, %v", b, err)
			}
		})
	}
}

func TestEqualTreesGiveEqualBits(t *testing.T) {
	needTools(t, BootBoth)
	var disks [][]byte
	for _, reverse := range []bool{false, true} {
		path, err := makeDisk(t, fakeTree(t, reverse), Options{Size: 256 << 20, Seed: [32]byte{1}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		disks = append(disks, b)
	}
	if !bytes.Equal(disks[0], disks[1]) {
		t.Error("the disks differ")
	}
}

func TestOtherKeyGivesOtherIdentifiers(t *testing.T) {
	needTools(t, BootNone)
	seen := map[gpt.GUID]bool{}
	for i := range byte(2) {
		path, err := makeDisk(t, fakeTree(t, false), Options{Size: 64 << 20, Boot: BootNone, Seed: [32]byte{i}})
		if err != nil {
			t.Fatal(err)
		}
		_, root, table := rootOf(t, path)
		if seen[root.ID] || seen[table.Disk] || root.ID == table.Disk {
			t.Error("an identifier was used twice")
		}
		seen[root.ID], seen[table.Disk] = true, true
	}
}

func TestSizes(t *testing.T) {
	needTools(t, BootNone)
	for give, want := range map[int64]int64{0: 1 << 30, 64<<20 + 1: 65 << 20, 2 << 30: 2 << 30} {
		path, err := makeDisk(t, fakeTree(t, false), Options{Size: give, Boot: BootNone})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Size() != want {
			t.Errorf("size %d gives %d, want %d (%v)", give, info.Size(), want, err)
		}
	}
}

func TestErrors(t *testing.T) {
	needTools(t, BootBoth)
	full := fakeTree(t, false)
	without := func(name string) string {
		dir := fakeTree(t, false)
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	big := fakeTree(t, false)
	write(t, big, "usr/big", strings.Repeat("x", 80<<20))
	for name, c := range map[string]struct {
		dir  string
		o    Options
		want string
	}{
		"no kernel":   {without("boot"), Options{}, `no kernel in /boot or /usr/lib/modules: add linux-image-cloud-amd64 to packages, or give boot = "none"`},
		"no init":     {without("usr/sbin"), Options{}, "systemd-sysv"},
		"boot":        {full, Options{Boot: "floppy"}, "want one of bios+uefi"},
		"arch":        {full, Options{Arch: "riscv64"}, "amd64 and arm64"},
		"arm bios":    {full, Options{Arch: "arm64", Boot: BootBIOS}, "no BIOS"},
		"fs":          {full, Options{FS: "xfs"}, "only ext4"},
		"kernel args": {full, Options{KernelArgs: `a="`}, "not closed"},
		"too small":   {full, Options{Size: 1 << 20}, `give size = "51M" or more`},
		"no space":    {big, Options{Size: 110 << 20}, `give size = "1G" or more`},
		"no tree":     {filepath.Join(full, "missing"), Options{}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			path, err := makeDisk(t, c.dir, c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("a broken disk was left")
			}
		})
	}
}

func TestCancel(t *testing.T) {
	needTools(t, BootNone)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	out := filepath.Join(t.TempDir(), "disk")
	if err := Build(ctx, fakeTree(t, false), Options{Boot: BootNone}, out); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a broken disk was left")
	}
}
