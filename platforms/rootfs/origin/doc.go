// Package origin is what a source on the rootfs platform starts from: a Debian
// suite, an OCI image, a tar archive, the root file system of a disk image, a
// layer of another source, or nothing.
//
// Pin turns the loose ones into immutable ones; Import fills <dir>/fs with the
// file tree of exactly what was pinned, or fails.
//
// # Trust
//
// Everything comes from outside and is checked before it is used: release
// files by gpgv against a keyring, packages by apt against the release files,
// OCI blobs and archives by their SHA-256. Archives are unpacked confined to
// the tree. Programs that run code of the origin (maintainer scripts) or that
// mount run in pid and mount namespaces of their own and die with bake, so
// that neither a mount nor a process is left.
//
// # Caches
//
// Downloads are kept below Host.CacheDir by content or with the digest of
// their content, which is checked each time they are used.
package origin
