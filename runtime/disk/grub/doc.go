// Package grub makes GRUB boot a disk on the firmware of PCs and of UEFI
// machines, without GRUB in the disk's file tree and without running anything
// as root: it lets grub-mkimage of the host make the core image and puts it
// where the firmware looks.
//
// Terms: the boot image is the code in the first sector of a disk. The core
// image is GRUB itself with the modules that it needs; it lies in the BIOS boot
// partition or, as an EFI program, on the EFI system partition. The
// configuration is /boot/grub/grub.cfg of the root file system.
//
// Invariants: a core image does not depend on the disk it is for, so it can be
// cached: it finds the configuration on partition 1 of the disk that it was
// loaded from.
package grub
