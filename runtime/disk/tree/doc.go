// Package tree reads the metadata of a file tree once, so that writers of
// disks and archives see the same files in the same order whatever the order
// in which the host's file system lists them.
//
// Terms: an Entry is one name in a directory. Entries that are hard links of
// one file share one Inode.
//
// Invariants: children are sorted by the bytes of their names; an Inode's
// extended attributes are sorted by name; content is not read before Open.
package tree
