// Package root finds the file systems of a disk's machine, and shows its files.
//
// Terms: a volume is a partition and what it holds; a mount is a volume that the
// machine has below its root, by its /etc/fstab or by the Discoverable Partitions
// Specification (uapi-group.org/specifications).
//
// Invariants: nothing on the disk changes; a link on the disk never leads a mount out
// of the disk's root; what the machine would see and cannot be read is an error.
package root
