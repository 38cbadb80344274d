package disk

import (
	"strings"
	"testing"

	"bake.build/bake/runtime/disk/tree"
)

// memoryTree makes a tree of files in memory, each with its text.
func memoryTree(t *testing.T, files map[string]string) *tree.Tree {
	t.Helper()
	tr := &tree.Tree{Root: &tree.Entry{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}}}
	for name, text := range files {
		if err := tr.Add(name, 0o644, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func TestFstab(t *testing.T) {
	const (
		root = "PARTUUID=root / ext4 defaults,errors=remount-ro 0 1\n"
		own  = "# " + header + "\n" + root
	)
	o := Options{Boot: BootBoth, Seed: [32]byte{1}}
	esp := "PARTUUID=" + o.espID().String()
	for name, c := range map[string]struct {
		text, want string
		boot       string
		files      map[string]string
		told       string // in what is warned, or noted with a "note: " before it
	}{
		"missing":      {want: own},
		"comments":     {text: "# UNCONFIGURED\n\n", want: own},
		"growing":      {want: "# " + header + "\nPARTUUID=root / ext4 defaults,errors=remount-ro,x-systemd.growfs 0 1\n", files: map[string]string{"usr/lib/systemd/systemd-growfs": ""}},
		"without root": {text: "tmpfs /tmp tmpfs defaults 0 0\n", want: own + "tmpfs /tmp tmpfs defaults 0 0\n"},
		"cloud image": {
			files: map[string]string{"boot/vmlinuz-1": ""},
			text:  "LABEL=cloudimg-rootfs\t/\text4\tdiscard,commit=30 0 1\nLABEL=BOOT\t/boot\text4\tdefaults\t0 2\nLABEL=UEFI /boot/efi vfat umask=0077 0 1\n",
			want:  "PARTUUID=root / ext4 discard,commit=30 0 1\n# Not on this disk: LABEL=BOOT\t/boot\text4\tdefaults\t0 2\n" + esp + " /boot/efi vfat umask=0077 0 1\n",
			told:  "note: /etc/fstab: LABEL=BOOT is not on this disk",
		},
		"no ESP": {
			text: "UUID=1 / ext4 defaults 0 1\nUUID=2 /boot/efi vfat defaults 0 1\n", boot: BootBIOS,
			want: "PARTUUID=root / ext4 defaults 0 1\n# Not on this disk: UUID=2 /boot/efi vfat defaults 0 1\n",
			told: "note: /etc/fstab: UUID=2 is not on this disk",
		},
		"other root": {
			text: "UUID=x / btrfs subvol=root,compress=zstd:1 0 0\nUUID=x /home btrfs subvol=home 0 0\n",
			want: "PARTUUID=root / ext4 defaults 0 0\nUUID=x /home btrfs subvol=home,nofail 0 0\n",
			told: "/etc/fstab: UUID=x for /home is not on this disk: it got the option nofail",
		},
		"volumes": {
			text:  "/dev/mapper/vg-root / xfs defaults 0 0\n/dev/mapper/vg-var /var xfs defaults 0 0\n/dev/mapper/vg-swap none swap defaults 0 0\n",
			files: map[string]string{"var/lib/x": ""},
			want:  "PARTUUID=root / ext4 defaults 0 0\n# Not on this disk: /dev/mapper/vg-var /var xfs defaults 0 0\n# Not on this disk: /dev/mapper/vg-swap none swap defaults 0 0\n",
			told:  "note: /etc/fstab: /dev/mapper/vg-swap is not on this disk",
		},
		"the user's own": {
			text: root + "LABEL=data /data ext4 nofail 0 2\n/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n/swap none swap sw 0 0\nnas:/x /mnt nfs defaults 0 0\n/srv /data/srv none bind 0 0\n",
			want: root + "LABEL=data /data ext4 nofail 0 2\n/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n/swap none swap sw 0 0\nnas:/x /mnt nfs defaults 0 0\n/srv /data/srv none bind 0 0\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := o
			if c.boot != "" {
				o.Boot = c.boot
			}
			var told strings.Builder
			o.Note = func(s string) { told.WriteString("note: " + s + "\n") }
			o.Warn = func(s string) { told.WriteString("warning: " + s + "\n") }
			tr := memoryTree(t, c.files)
			if err := tr.Add("etc/fstab", 0o644, []byte(c.text), 0); err != nil {
				t.Fatal(err)
			}
			if err := o.writeFstab(tr, "PARTUUID=root", 0); err != nil {
				t.Fatal(err)
			}
			if got := string(tr.Lookup("etc/fstab").Data); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if !strings.Contains(told.String(), c.told) || (told.Len() > 0) != (c.told != "") {
				t.Errorf("told %q, want %q", told.String(), c.told)
			}
		})
	}
}
