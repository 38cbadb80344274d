package grub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Places in the boot image and in the first sector of the core image, as
// GRUB's include/grub/i386/pc/boot.h and offsets.h name them.
const (
	sectorSize    = 512
	bootCode      = 440  // bytes of the boot image; the partition table follows
	kernelSector  = 0x5c // GRUB_BOOT_MACHINE_KERNEL_SECTOR
	bootDrive     = 0x64 // GRUB_BOOT_MACHINE_BOOT_DRIVE
	driveCheck    = 0x66 // GRUB_BOOT_MACHINE_DRIVE_CHECK
	blockList     = sectorSize - 12
	kernelSegment = 0x800 // GRUB_BOOT_MACHINE_KERNEL_SEG
	maxCore       = 0x78000
)

var le = binary.LittleEndian

// Embed installs GRUB for BIOS: the boot image's code into sector 0 of w, and
// the core image into the sectors from first on, of which there are room. It
// does what setup() in GRUB's util/setup.c does for a BIOS boot partition: the
// boot image learns where the core image begins, and the first sector of the
// core image where the rest of it lies. The partition table in sector 0 stays.
func Embed(w io.WriterAt, boot, core []byte, first, room uint64) error {
	b, c, err := patch(boot, core, first, room)
	if err != nil {
		return fmt.Errorf("install GRUB: %w", err)
	}
	if _, err := w.WriteAt(c, int64(first)*sectorSize); err != nil {
		return fmt.Errorf("install GRUB: %w", err)
	}
	if _, err := w.WriteAt(b, 0); err != nil {
		return fmt.Errorf("install GRUB: %w", err)
	}
	return nil
}

func patch(boot, core []byte, first, room uint64) (b, c []byte, err error) {
	if len(boot) != sectorSize || le.Uint16(boot[510:]) != 0xaa55 {
		return nil, nil, errors.New("the boot image is not a boot sector")
	}
	sectors := (uint64(len(core)) + sectorSize - 1) / sectorSize
	switch {
	case sectors < 2:
		return nil, nil, errors.New("the core image is too small")
	case sectors > room || len(core) > maxCore:
		return nil, nil, fmt.Errorf("the core image of %d bytes is too large", len(core))
	}
	b = append([]byte(nil), boot[:bootCode]...)
	le.PutUint64(b[kernelSector:], first)
	b[bootDrive] = 0xff // the drive that the firmware booted from
	// Two no-operations in place of the jump that is for floppies: some
	// firmware hands over a wrong drive number, which the code after it mends.
	b[driveCheck], b[driveCheck+1] = 0x90, 0x90

	c = make([]byte, sectors*sectorSize)
	copy(c, core)
	// One block: the sectors after the first go right behind it in memory.
	le.PutUint64(c[blockList:], first+1)
	le.PutUint16(c[blockList+8:], uint16(sectors-1))
	le.PutUint16(c[blockList+10:], kernelSegment+sectorSize>>4)
	return b, c, nil
}
