// Package disk makes a bootable raw disk from a file tree, without mounting
// anything and without loop devices.
//
// A disk has a GUID partition table with the root file system as partition 1
// (the last on the disk, so that it can grow), a BIOS boot partition as 14 and
// an EFI system partition as 15. GRUB is installed for the firmware that
// Options.Boot names; its configuration finds the kernel at each boot, so
// kernels may be upgraded on the running machine. Files that a disk needs and
// the tree lacks go into the disk only: the tree is never changed.
//
// Invariants: equal trees and equal options give equal bits, given the same
// versions of mke2fs and GRUB; partitions begin at whole MiB; blocks of zeros
// are holes in the file.
package disk
