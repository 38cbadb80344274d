package root

import "testing"

// TestMissingLoader looks for boot loaders on EFI system partitions.
func TestMissingLoader(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"the distribution's own": {map[string]string{"EFI/debian/grubx64.efi": "GRUB"}, `\EFI\BOOT\BOOTX64.EFI`},
		"another architecture's": {map[string]string{"EFI/BOOT/BOOTAA64.EFI": "GRUB"}, `\EFI\BOOT\BOOTX64.EFI`},
		"both, in lower case":    {map[string]string{"EFI/debian/grubx64.efi": "GRUB", "efi/boot/bootx64.efi": "GRUB"}, ""},
		"none: BIOS boots it":    {map[string]string{"EFI/debian/grub.cfg": "text"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			disk := makeDisk(t, []part{{table: "1: type=uefi, ", at: 2048, mib: 8, label: "ESP", fat: c.files}})
			if got, err := MissingLoader(disk, "amd64"); got != c.want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}
