// Package overlay mounts chains of layers with overlayfs in the mount
// namespace of the calling thread.
//
// A layer is a directory in the form that overlayfs keeps its upper directory
// in: whiteouts are 0/0 character devices and opaque directories bear an
// extended attribute. A layer depends on those below it by names alone.
//
// While a tree can be written to, overlayfs keeps the names of one file together
// (index) and renames directories of lower layers by a reference to where they
// were (redirect_dir), so that a step sees what links and renames do on any
// other file system. Both leave notes that only this mount could follow: Settle
// puts in their place what they stand for, and has to be called before an upper
// directory becomes a layer.
// In a user namespace the kernel offers neither: a file's names come apart there
// when it is changed under one, and rename(2) of such a directory gives EXDEV.
package overlay
