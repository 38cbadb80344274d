package root

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Magic numbers of what a partition may hold, at their offsets.
var magics = []struct {
	name   string
	offset int64
	bytes  string
}{
	{"ext4", 1024 + 56, "\x53\xef"}, // of ext2 and ext3 too, which ext4 mounts
	{"xfs", 0, "XFSB"},
	{"btrfs", 0x10040, "_BHRfS_M"},
	{"f2fs", 1024, "\x10\x20\xf5\xf2"},
	{"squashfs", 0, "hsqs"},
	{"erofs", 1024, "\xe2\xe1\xf5\xe0"},
	{"LVM", sector + 24, "LVM2 001"},
	{"LUKS", 0, "LUKS\xba\xbe"},
	{"RAID", 4096, "\xfc\x4e\x2b\xa9"}, // of Linux, version 1.2
	{"vfat", 82, "FAT32   "},
	{"vfat", 54, "FAT1"}, // FAT12 and FAT16
}

// fileSystem returns the kind of what p holds, or "" when it is unknown.
func fileSystem(disk io.ReaderAt, p partition) (string, error) {
	for _, m := range magics {
		if b, err := p.read(disk, m.offset, len(m.bytes)); err != nil {
			return "", err
		} else if string(b) == m.bytes {
			return m.name, nil
		}
	}
	return "", nil
}

// read returns n bytes of the partition, or nil where it is too small.
func (p partition) read(disk io.ReaderAt, offset int64, n int) ([]byte, error) {
	if offset+int64(n) > p.size {
		return nil, nil
	}
	b := make([]byte, n)
	if _, err := disk.ReadAt(b, p.start+offset); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return b, nil
}

// Where file systems keep their UUID and their label.
var identities = map[string]struct{ uuid, label, length int64 }{
	"ext4":  {1024 + 0x68, 1024 + 0x78, 16},
	"xfs":   {32, 108, 12},
	"btrfs": {0x10020, 0x1012b, 256},
	"f2fs":  {1024 + 0x6c, 0, 0}, // its label is of another encoding
	"erofs": {1024 + 48, 1024 + 64, 16},
}

// identify returns what names a file system in /etc/fstab, each "" where there is
// none.
func identify(disk io.ReaderAt, p partition, fs string) (uuid, label string, err error) {
	if fs == "vfat" {
		return identifyFAT(disk, p)
	}
	at, ok := identities[fs]
	if !ok {
		return "", "", nil
	}
	b, err := p.read(disk, at.uuid, 16)
	if err != nil || b == nil {
		return "", "", err
	}
	name, err := p.read(disk, at.label, int(at.length))
	name, _, _ = bytes.Cut(name, []byte{0})
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), string(name), err
}

// identifyFAT reads the serial number and the label of the boot sector, whose
// places depend on the width of the table.
func identifyFAT(disk io.ReaderAt, p partition) (uuid, label string, err error) {
	b, err := p.read(disk, 0, sector)
	if err != nil || b == nil {
		return "", "", err
	}
	at := 39
	if string(b[82:90]) == "FAT32   " {
		at = 67
	}
	serial := binary.LittleEndian.Uint32(b[at:])
	label = strings.TrimRight(string(b[at+4:at+15]), " ")
	if label == "NO NAME" {
		label = ""
	}
	return fmt.Sprintf("%04X-%04X", serial>>16, serial&0xffff), label, nil
}
