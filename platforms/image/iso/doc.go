// Package iso writes ISO 9660 images for guests to read: seeds of cloud-init and
// CDs with the files that an installer asks for.
//
// An image has two directory trees over the same files: one with short names
// that any reader knows (ECMA-119, level 1), and one with the names as they are
// (Joliet), which Linux, the BSDs, macOS and Windows prefer. It holds no time and
// no owner, so that the same files always make the same image.
package iso
