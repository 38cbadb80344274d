// Package overlay mounts chains of layers with overlayfs in the mount
// namespace of the calling thread.
//
// A layer is a directory in the form that overlayfs keeps its upper directory
// in: whiteouts are 0/0 character devices and opaque directories bear an
// extended attribute. The features that make a layer depend on the one below
// it by more than its names (redirect_dir, metacopy, index) are off.
package overlay
