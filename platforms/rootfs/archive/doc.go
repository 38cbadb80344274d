// Package archive turns tar streams into file trees and file trees into tar
// streams, without loss: owners, modes, times, hard links, device nodes,
// extended attributes with capabilities and ACLs, and sparse files.
//
// # Trust
//
// Archives come from outside. Unpack writes below its destination only: names
// that are absolute or hold ".." are errors, every directory on the way to an
// entry is resolved by the kernel inside the destination (openat2), and the
// last element of a name is never followed when it is a link. Extended
// attributes through which an archive could steer an overlay are dropped.
//
// # Whiteouts
//
// An OCI layer says that a file of the layers below is gone by an empty file
// ".wh.NAME", and that a directory hides all that is below by ".wh..wh..opq".
// Overlayfs says the same by a 0/0 character device NAME and by an extended
// attribute. Whiteouts tells the two forms apart.
package archive
