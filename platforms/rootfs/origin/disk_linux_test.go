package origin

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
)

func runTool(t testing.TB, stdin, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// ext4Disk makes a raw disk with the tree in its second and larger partition;
// the first holds an ext4 without a system.
func ext4Disk(t testing.TB, dir, tree, label string) string {
	t.Helper()
	raw := filepath.Join(dir, "source-"+label+".raw")
	if err := os.WriteFile(raw, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(raw, 64<<20); err != nil {
		t.Fatal(err)
	}
	runTool(t, "label: "+label+"\nstart=2048, size=80000\nstart=83968, size=40000\n", "sfdisk", "--quiet", raw)
	none := filepath.Join(dir, "none")
	if err := os.MkdirAll(none, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		offset, blocks int
		from           string
	}{{2048 * 512, 40000, none}, {83968 * 512, 20000, tree}} {
		runTool(t, "", "mke2fs", "-q", "-F", "-t", "ext4", "-d", p.from, "-E", fmt.Sprintf("offset=%d", p.offset), raw, fmt.Sprintf("%dk", p.blocks))
	}
	return raw
}

func TestDisk(t *testing.T) {
	need.Root(t)
	need.Tool(t, "qemu-img", "mke2fs", "sfdisk", "gzip", "tar")
	h := newHost(t)
	tree := filepath.Join(h.dir, "tree")
	for _, d := range []string{"etc", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(tree, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(tree, "usr/bin/su")
	if err := os.WriteFile(file, []byte("su"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(file, "user.note", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{"gpt", "dos"} {
		raw := ext4Disk(t, h.dir, tree, label)
		for format, write := range map[string]string{
			"raw": "qemu-img convert -O raw $1 $2", "qcow2": "qemu-img convert -O qcow2 $1 $2", "vmdk": "qemu-img convert -O vmdk $1 $2",
			"raw.gz": "gzip -c $1 >$2",
			"vmwarevm": `mkdir $2 && qemu-img convert -O vmdk $1 $2/disk.vmdk && cat >$2/web.vmx <<'END'
.encoding = "UTF-8"
config.version = "8"
virtualHW.version = "19"
displayName = "web"
guestOS = "debian12-64"
sata0.present = "TRUE"
sata0:0.present = "TRUE"
sata0:0.fileName = "disk.vmdk"
END`,
			"box": `d=$2.d && mkdir $d && qemu-img convert -O qcow2 $1 $d/box.img && echo '{"provider": "libvirt", "format": "qcow2", "virtual_size": 1}' >$d/metadata.json && tar -czf $2 -C $d .`,
		} {
			image := filepath.Join(h.dir, label+"."+format)
			runTool(t, "", "sh", "-ec", write, "sh", raw, image)
			got, _, err := importNew(t, originOf(t, "disk", Options{}, map[string]string{"disk": image}), h)
			if err != nil {
				t.Errorf("%s: %v", image, err)
				continue
			}
			info, err := os.Stat(filepath.Join(got, "usr/bin/su"))
			if err != nil || info.Mode()&os.ModeSetuid == 0 {
				t.Errorf("%s: %v, %v", image, info, err)
			}
			value := make([]byte, 8)
			if n, err := unix.Getxattr(filepath.Join(got, "usr/bin/su"), "user.note", value); err != nil || n != 1 {
				t.Errorf("%s: attribute: %v", image, err)
			}
			if _, err := os.Stat(filepath.Join(got, "lost+found")); err == nil {
				t.Errorf("%s: lost+found was copied", image)
			}
		}
	}
	checkNothingLeft(t, h)
	noLoops(t, h.dir)
}

// noLoops wants no loop device to have a file below dir. The kernel lets one go a
// moment after the mount namespace that used it has ended.
func noLoops(t *testing.T, dir string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		loops, err := exec.Command("losetup", "--list", "--noheadings", "--output", "BACK-FILE").Output()
		if err == nil && !strings.Contains(string(loops), dir) {
			return
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("loop devices are left: %s, %v", loops, err)
		}
	}
}

func TestDiskRefuses(t *testing.T) {
	need.Root(t)
	need.Tool(t, "qemu-img", "mke2fs", "sfdisk")
	h := newHost(t)
	raw := filepath.Join(h.dir, "secret.raw")
	if err := os.WriteFile(raw, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(h.dir, "overlay.qcow2")
	runTool(t, "", "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw, overlay)
	vmdk := filepath.Join(h.dir, "sub", "x.vmdk")
	if err := os.Mkdir(filepath.Dir(vmdk), 0o755); err != nil {
		t.Fatal(err)
	}
	descriptor := "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\nRW 2048 FLAT \"" + raw + "\" 0\n"
	if err := os.WriteFile(vmdk, []byte(descriptor), 0o644); err != nil {
		t.Fatal(err)
	}
	split := filepath.Join(h.dir, "split.vmdk")
	runTool(t, "", "qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", split, "1M")
	none := filepath.Join(h.dir, "none")
	if err := os.Mkdir(none, 0o755); err != nil {
		t.Fatal(err)
	}
	rootless := ext4Disk(t, h.dir, none, "gpt")
	lvm := filepath.Join(h.dir, "lvm.raw")
	data := make([]byte, 1<<20)
	copy(data[512+24:], "LVM2 001")
	if err := os.WriteFile(lvm, data, 0o644); err != nil {
		t.Fatal(err)
	}
	lone := filepath.Join(h.dir, "lone.vmx")
	if err := os.WriteFile(lone, []byte("config.version = \"8\"\nvirtualHW.version = \"19\"\ndisplayName = \"web\"\nguestOS = \"debian12-64\"\nide0:0.present = \"TRUE\"\nide0:0.fileName = \"source.vmdk\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		lone:     "the VMX file names others",
		overlay:  "is not whole without the file \"" + raw,
		vmdk:     "is not whole without the file \"" + raw,
		split:    "is not whole without the file \"split-s001.vmdk",
		raw:      "no partition of it holds a file system",
		rootless: "has no /etc and /usr",
		lvm:      "inside of LVM",
		"/none":  "/none",
	} {
		_, _, err := importNew(t, originOf(t, "disk", Options{}, map[string]string{"disk": file}), h)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", file, err, want)
		}
	}
	o := originOf(t, "disk", Options{SHA256: strings.Repeat("0", 64)}, map[string]string{"disk": raw})
	if _, _, err := importNew(t, o, h); err == nil || !strings.Contains(err.Error(), "wanted sha256:0000") {
		t.Errorf("got %v", err)
	}
	checkNothingLeft(t, h)
}
