package root

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// A part is a partition of a test's disk.
type part struct {
	table string // its line for sfdisk
	at    int    // first sector
	mib   int
	files map[string]string // of an ext4
	fat   map[string]string
	label string
}

// makeDisk makes a disk of 64 MiB.
func makeDisk(t *testing.T, parts []part) string {
	t.Helper()
	need.Root(t)
	need.Tool(t, "sfdisk", "mke2fs", "mkfs.vfat", "mcopy", "mount")
	disk := filepath.Join(t.TempDir(), "disk")
	table := "label: gpt\n"
	for _, p := range parts {
		table += fmt.Sprintf("%sstart=%d, size=%d\n", p.table, p.at, p.mib*2048)
	}
	run(t, "truncate", "-s", "64M", disk)
	run(t, "sh", "-c", `printf %s "$2" | sfdisk --quiet "$1"`, "sh", disk, table)
	for _, p := range parts {
		dir := filepath.Join(t.TempDir(), "files")
		for _, files := range []map[string]string{p.files, p.fat} {
			for name, text := range files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				var err error
				if target, link := strings.CutPrefix(text, "-> "); link {
					err = os.Symlink(target, path)
				} else {
					err = os.WriteFile(path, []byte(text), 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if p.files != nil {
			run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-L", p.label, "-d", dir, "-E", fmt.Sprintf("offset=%d", p.at*512), disk, fmt.Sprintf("%dM", p.mib))
		}
		if p.fat != nil {
			run(t, "mkfs.vfat", "-n", p.label, "--offset", fmt.Sprint(p.at), disk, fmt.Sprint(p.mib*1024))
			run(t, "sh", "-c", `exec mcopy -s -i "$1" "$2"/* ::/`, "sh", fmt.Sprintf("%s@@%d", disk, p.at*512), dir)
		}
	}
	return disk
}

// shown lists the regular files that Open shows, with what is in them.
func shown(t *testing.T, disk string) (string, error) {
	t.Helper()
	var out []byte
	err := Open(context.Background(), disk, t.TempDir(), func(dir string) (err error) {
		cmd := exec.Command("sh", "-c", `find . -type f | sort | while read -r f; do echo "${f#.} $(cat "$f")"; done`)
		cmd.Dir = dir
		out, err = cmd.CombinedOutput()
		return err
	})
	return string(out), err
}

// ubuntu is the layout of a cloud image of Ubuntu 24.04, with a partition for /home
// that nothing but its type names.
func ubuntu(table string) []part {
	return []part{
		{table: "1: ", at: 67584, mib: 28, label: "cloudimg-rootfs", files: map[string]string{
			"etc/fstab": table, "usr/bin/x": "x", "boot/efi/.keep": "", "home/.keep": "", "efi": "-> boot/efi", "out": "-> ../../../../../..",
		}},
		{table: "15: type=uefi, ", at: 2048, mib: 8, label: "UEFI", fat: map[string]string{"EFI/ubuntu/grub-settings.cfg": "esp"}},
		{table: "16: type=BC13C2FF-59E6-4262-A352-B275FD6F7172, ", at: 18432, mib: 12, label: "BOOT", files: map[string]string{"vmlinuz-6": "kernel", "efi/.keep": ""}},
		{table: "17: type=933AC7E1-2EB4-4F13-B844-0E14E2AEF915, ", at: 43008, mib: 12, label: "HOME", files: map[string]string{"ann/mail": "home"}},
	}
}

func TestOpenFollowsFstab(t *testing.T) {
	parts := ubuntu("LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=BOOT /boot ext4 defaults 0 2\nLABEL=UEFI /boot/efi vfat umask=0077 0 1\n")
	delete(parts[0].files, "home/.keep")
	parts[0].files["home"] = "-> srv" // whose directory is found inside of the root
	parts[0].files["srv/.keep"] = ""
	disk := makeDisk(t, parts)
	got, err := shown(t, disk)
	for _, want := range []string{"/boot/vmlinuz-6 kernel\n", "/boot/efi/EFI/ubuntu/grub-settings.cfg esp\n", "/usr/bin/x x\n", "/srv/.keep"} {
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("no %q, %v, in\n%s", want, err, got)
		}
	}
	if strings.Contains(got, "/boot/efi/.keep") {
		t.Errorf("what the machine does not see is shown:\n%s", got)
	}
}

func TestOpenFollowsTypes(t *testing.T) {
	parts := ubuntu("")
	delete(parts[0].files, "home/.keep")
	delete(parts[0].files, "boot/efi/.keep")
	parts[0].files["etc/x"] = ""
	disk := makeDisk(t, parts)
	// The mount points are empty directories.
	at := fmt.Sprintf("%s?offset=%d", disk, parts[0].at*512)
	for _, dir := range []string{"/boot", "/home"} {
		run(t, "debugfs", "-w", "-R", "mkdir "+dir, at)
	}
	got, err := shown(t, disk)
	for _, want := range []string{"/boot/vmlinuz-6 kernel\n", "/home/ann/mail home\n"} {
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("no %q, %v, in\n%s", want, err, got)
		}
	}
}

// TestOpenStaysInside mounts nothing over a directory of the host, whatever the
// disk's links say.
func TestOpenStaysInside(t *testing.T) {
	parts := ubuntu("LABEL=HOME /out/etc ext4 defaults 0 2\n")
	disk := makeDisk(t, parts)
	before, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	err = Open(context.Background(), disk, t.TempDir(), func(dir string) error {
		now, err := os.ReadFile("/etc/passwd")
		if err != nil || string(now) != string(before) {
			t.Errorf("the host's /etc is another: %v", err)
		}
		if b, err := os.ReadFile(dir + "/etc/ann/mail"); err != nil || string(b) != "home" {
			t.Errorf("%q, %v", b, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	disk := makeDisk(t, ubuntu("LABEL=BOOT /boot ext4 defaults 0 2\n"))
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The blocks of /boot, but not its magic number, are damaged.
	if _, err := f.WriteAt(make([]byte, 40), 18432*512+1024); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := shown(t, disk); err == nil || !strings.Contains(err.Error(), "read partition 16 (ext4), which is /boot of its machine") {
		t.Errorf("got %v", err)
	}
}
