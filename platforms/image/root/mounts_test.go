package root

import (
	"fmt"
	"path"
	"strings"
	"testing"
)

func TestMounts(t *testing.T) {
	at := func(n int, v volume) volume {
		v.number, v.start = n, int64(n)
		return v
	}
	root := at(1, volume{fs: "ext4", uuid: "aaaa", label: "cloudimg-rootfs"})
	boot := at(16, volume{fs: "ext4", label: "BOOT", partition: partition{kind: "bc13c2ff-59e6-4262-a352-b275fd6f7172"}})
	esp := at(15, volume{fs: "vfat", uuid: "1234-ABCD", label: "UEFI", partition: partition{kind: espType}})
	data := at(3, volume{fs: "xfs", uuid: "bbbb", partition: partition{id: "0a-03", name: "my data"}})
	luks := at(4, volume{fs: "LUKS", uuid: "cccc"})
	odd := at(5, volume{partition: partition{id: "odd"}})
	for name, c := range map[string]struct {
		all   []volume
		table string
		want  string // mounts, or an error
	}{
		"nothing": {all: []volume{root}},
		"Ubuntu": {
			all:   []volume{root, esp, boot},
			table: "LABEL=cloudimg-rootfs / ext4 discard 0 1\nLABEL=UEFI /boot/efi vfat umask=0077 0 1\nLABEL=BOOT /boot ext4 defaults 0 2\n",
			want:  "16 /boot; 15 /boot/efi 77",
		},
		"by type": {all: []volume{root, esp, boot}, want: "16 /boot auto; 15 /efi 77 auto; 15 /boot 77 auto; 15 /boot/efi 77 auto"},
		"by every name": {
			all:   []volume{root, data},
			table: "PARTUUID=0A-03 /a auto\nPARTLABEL=\"my\\040data\" /b auto\n/dev/vda3 /c auto\n/dev/nvme0n1p3 /d auto\n/dev/disk/by-uuid/bbbb /e auto\n/dev/sdb3 /f auto\n",
			want:  "3 /a; 3 /b; 3 /c; 3 /d; 3 /e",
		},
		"subvolume":      {all: []volume{at(1, volume{fs: "btrfs", uuid: "x"})}, table: "UUID=x / btrfs subvol=root\nUUID=x /home btrfs subvol=home,compress=zstd:1\n", want: "1 /home subvol=home"},
		"not of a disk":  {all: []volume{root}, table: "tmpfs /tmp tmpfs\nnas:/x /mnt nfs\nproc /proc proc\nUUID=aaaa none swap sw\n/a /b none bind\n"},
		"not at boot":    {all: []volume{root, data}, table: "UUID=bbbb /data xfs noauto\nUUID=bbbb /boot/x xfs noauto\nUUID=bbbb /auto xfs noauto,x-systemd.automount\n", want: "3 /auto; 3 /boot/x"},
		"another disk":   {all: []volume{root, odd}, table: "UUID=eeee /data ext4\n"},
		"optional":       {all: []volume{root, luks}, table: "UUID=eeee /data ext4 nofail\n"},
		"in a container": {all: []volume{root, luks}, table: "/dev/mapper/vg-var /var xfs\n", want: "error: /dev/mapper/vg-var at /var, which may be inside of what bake does not open: partition 4 (LUKS)"},
		"a container":    {all: []volume{root, luks}, table: "UUID=cccc /var xfs nofail\n", want: "error: bake cannot read partition 4 (LUKS)"},
		"unknown":        {all: []volume{root, odd}, table: "PARTUUID=odd /var zfs\n", want: "error: bake cannot read partition 5 (unknown)"},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := mounts(c.all, c.all[0], c.table)
			if want, ok := strings.CutPrefix(c.want, "error: "); ok {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
				return
			}
			var got []string
			for _, m := range list {
				s := fmt.Sprintf("%d %s", m.number, m.dir)
				if m.subvol != "" {
					s += " subvol=" + m.subvol
				}
				if m.fs == "vfat" {
					s += fmt.Sprintf(" %o", m.umask)
				}
				if m.auto {
					s += " auto"
				}
				got = append(got, s)
			}
			if s := strings.Join(got, "; "); err != nil || s != c.want {
				t.Errorf("got %q, %v, want %q", s, err, c.want)
			}
		})
	}
}

// FuzzMounts has tables of images name no place but one below the root.
func FuzzMounts(f *testing.F) {
	f.Add("UUID=bbbb /data/../.. vfat umask=7777\nPARTUUID=\"0A-03\" /boot/ x noauto\n/dev/vda99999999999999999999 /c\n")
	f.Add("/dev/disk/by-uuid/aaaa / btrfs subvol=../x\nUUID=cccc /l ext4 nofail\n")
	root := volume{fs: "btrfs", uuid: "aaaa", partition: partition{number: 1}}
	all := []volume{
		root,
		{fs: "vfat", uuid: "bbbb", label: "X", partition: partition{number: 2, id: "0a-03", name: "n", kind: espType}},
		{fs: "LUKS", uuid: "cccc", partition: partition{number: 3}},
	}
	f.Fuzz(func(t *testing.T, table string) {
		list, err := mounts(all, root, table)
		if err != nil {
			return
		}
		for _, m := range list {
			if !path.IsAbs(m.dir) || path.Clean(m.dir) != m.dir || m.dir == "/" {
				t.Errorf("%q is mounted at %q", m.volume, m.dir)
			}
			if m.umask > 0o777 {
				t.Errorf("%q has the umask %o", m.dir, m.umask)
			}
		}
	})
}
