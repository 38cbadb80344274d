// Package paxattr keeps extended attributes and access control lists in the
// PAX records of tar archives, in all the forms that archivers give them:
//
//   - SCHILY.xattr.NAME, of star, GNU tar and container tools: the bytes;
//   - LIBARCHIVE.xattr.NAME, of bsdtar: NAME encoded as in a URL, base64;
//   - SCHILY.acl.access and SCHILY.acl.default, of star, GNU tar and bsdtar:
//     ACLs as text, with names or numbers.
//
// An ACL as an attribute has the form of version 2 that the kernel gives and
// takes, as of acl(5) and the kernel's posix_acl_xattr.h.
package paxattr
