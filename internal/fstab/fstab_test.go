package fstab

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bake.build/bake/internal/need"
)

const sample = "# comment\n\n" +
	"LABEL=cloudimg-rootfs\t/\text4\tdiscard,errors=remount-ro\t0\t1\r\n" +
	"PARTUUID=\"ab-01\" /a\\040b vfat umask=0077\n" +
	"/dev/disk/by-uuid/1234-ABCD /boot/efi\n" +
	"alone\n" +
	"/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n" +
	"/swapfile none swap sw 0 0\n" +
	"tmpfs /dev/shm tmpfs nosuid 0 0\n" +
	"/dev/vg/x /bound none bind 0 0\n"

func TestParse(t *testing.T) {
	want := []*Entry{
		{"LABEL=cloudimg-rootfs", "/", "ext4", []string{"discard", "errors=remount-ro"}, "0 1"},
		{`PARTUUID="ab-01"`, "/a b", "vfat", []string{"umask=0077"}, ""},
		{"/dev/disk/by-uuid/1234-ABCD", "/boot/efi", "auto", []string{"defaults"}, ""},
		{"/dev/sr0", "/media/cdrom0", "udf,iso9660", []string{"user", "noauto"}, "0 0"},
		{"/swapfile", "none", "swap", []string{"sw"}, "0 0"},
		{"tmpfs", "/dev/shm", "tmpfs", []string{"nosuid"}, "0 0"},
		{"/dev/vg/x", "/bound", "none", []string{"bind"}, "0 0"},
	}
	got := Entries(sample)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	var again strings.Builder
	for _, e := range got {
		again.WriteString(e.String() + "\n")
	}
	if diff := cmp.Diff(want, Entries(again.String())); diff != "" {
		t.Errorf("written and read again: %s", diff)
	}
	for i, onDevice := range []bool{true, true, true, true, false, false, false} {
		if got[i].OnDevice() != onDevice {
			t.Errorf("%s: on a device: %v", got[i].Spec, !onDevice)
		}
	}
	for i, tag := range [][2]string{{"LABEL", "cloudimg-rootfs"}, {"PARTUUID", "ab-01"}, {"UUID", "1234-ABCD"}, {}} {
		if name, value, _ := got[i].Tag(); name != tag[0] || value != tag[1] {
			t.Errorf("%s: tag %q %q", got[i].Spec, name, value)
		}
	}
	if v, ok := got[0].Value("errors"); v != "remount-ro" || !ok || got[0].Has("errors") || !got[0].Has("discard") {
		t.Errorf("options of %v", got[0])
	}
}

// TestFindmntAgrees has util-linux read what is read and written here.
func TestFindmntAgrees(t *testing.T) {
	need.Tool(t, "findmnt")
	path := filepath.Join(t.TempDir(), "fstab")
	var text strings.Builder
	entries := Entries(sample)
	for _, e := range entries {
		text.WriteString(e.String() + "\n")
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("findmnt", "--tab-file", path, "--json", "--list", "--output", "TARGET,FSTYPE,OPTIONS").Output()
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Filesystems []struct{ Target, FSType, Options string }
	}
	if err := json.Unmarshal(out, &read); err != nil {
		t.Fatal(err)
	}
	if len(read.Filesystems) != len(entries) {
		t.Fatalf("findmnt reads %d of %d entries:\n%s", len(read.Filesystems), len(entries), out)
	}
	for i, e := range entries {
		if f := read.Filesystems[i]; f.Target != e.Dir || f.FSType != e.Type || f.Options != strings.Join(e.Options, ",") {
			t.Errorf("findmnt reads %+v, not %+v", f, e)
		}
	}
}

// FuzzParse has no table end in a crash, and an entry that is written again is the
// same one.
func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("LABEL=a\u00a0b /x\n\\043 /y\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range Entries(text) {
			e.Tag()
			again := Entries(e.String())
			if len(again) != 1 {
				t.Fatalf("%q is %d entries when it is read again", e, len(again))
			}
			if diff := cmp.Diff(e, again[0]); diff != "" {
				t.Errorf("%q is another when it is read again: %s", e, diff)
			}
		}
	})
}
