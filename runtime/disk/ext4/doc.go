// Package ext4 writes a file tree into a new ext4 file system inside of a disk
// image, without mounting it.
//
// Format lets mke2fs lay out an empty file system. Populate then fills it: inodes
// from the first free one on, in the order that the caller gives or in that of the
// tree; the blocks of directories; those of files, in the order of their inodes.
// mke2fs -d could fill it too, but takes files in the order in
// which the host lists them and keeps the host's access and change times, so
// that one tree gives other bits on every host; here the bits follow from the
// tree and the options alone.
//
// The layout on disk is that of the kernel's Documentation/filesystems/ext4.
//
// Invariants: blocks of 4 KiB, inodes of 256 bytes, group descriptors of 64
// bytes, metadata checksums; every block of zeros in a file is a hole; access,
// change and creation times are the modification time.
package ext4
