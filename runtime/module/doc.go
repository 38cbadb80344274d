// Package module fetches modules, trees of files that teams share, from git
// repositories, registries of OCI artifacts, archives and folders, and publishes them.
//
// # Trees
//
// A tree is a set of files: their paths, whether they are executable, and their
// content; and of symbolic links, with their targets. Directories are there where a
// file is in them. Owners, times and other permissions belong to no tree, and neither
// does anything named .git. So a git checkout, an artifact in a registry, an archive
// and a folder with the same files are the same tree. A file system that ignores case
// and one of Windows can hold every tree: see checkName.
//
// # Digest
//
// The digest of a tree is the SHA-256 of this text: the line "bake module tree 1",
// and a line for each file, in the order of the bytes of their paths:
//
//	TYPE SHA-256 PATH
//
// TYPE is f for a file, x for an executable one and l for a link; the SHA-256 is that
// of the content or of the link's target, in small hexadecimal digits; the path has
// slashes and no newline. Each line ends in a newline. For a tree without links
//
//	(echo bake module tree 1; find . -type f -perm -u+x -printf 'x %P\n' -o -type f -printf 'f %P\n' …)
//
// with sha256sum gives the same, as the tests do.
//
// # In the store
//
// The store's cache "modules" has each tree under its digest. A tree is unpacked in
// the staging directory of the process and moved there whole; nothing is left of a
// download that breaks off. A tree is compared with its digest before it is used, once
// per process: the store remembers the digests of files that did not change. Records
// of the store say which tree a commit, an artifact or an archive was. One process at
// a time fetches a version.
package module
