// Package ebs writes disks into EBS snapshots, and reads them back, by the EBS
// direct APIs: no instance, no bucket and no import task has a part in it.
//
// A disk is sent in blocks of 512 KiB, many at once, each with its SHA-256.
// Blocks of zeros are left out. A snapshot that has a parent gets only the blocks
// that differ from the parent's, which a Map tells: the digests of all blocks of
// a disk, as it was sent.
//
// An upload is one that can be resumed: a Journal on disk knows the snapshot and
// the blocks that it has. See "Amazon EBS direct APIs" in the EBS User Guide.
package ebs
