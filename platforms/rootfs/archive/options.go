package archive

import "strings"

// Whiteouts says what deletions look like in a stream and in a tree.
type Whiteouts int

const (
	// WhiteoutKeep treats ".wh." names and 0/0 devices as what they are.
	WhiteoutKeep Whiteouts = iota
	// WhiteoutDelete makes Unpack delete what an OCI whiteout names, unless the
	// same stream made it. It means nothing to Pack.
	WhiteoutDelete
	// WhiteoutOverlay translates between OCI whiteouts in the stream and those
	// of overlayfs in the tree, in both directions.
	WhiteoutOverlay
)

// Links says where a link in the destination leads that is a parent of an entry.
type Links int

const (
	// LinksInRoot takes the destination for the root directory: an absolute
	// link and ".." in a link start and end there, as after chroot.
	LinksInRoot Links = iota
	// LinksBeneath makes it an error when a link leads out of the destination,
	// as every absolute link does.
	LinksBeneath
)

// Options says how Unpack and Pack treat what not every tree can hold. The
// zero value is what root wants for the first layer of a machine.
type Options struct {
	Whiteouts Whiteouts
	Links     Links // of Unpack

	// UserXattr makes overlay whiteouts use user.overlay.* rather than
	// trusted.overlay.*, as overlayfs does when mounted with userxattr.
	UserXattr bool

	// NoOwners leaves new files to the calling user and group.
	NoOwners bool

	// NoDevices passes over block and character devices, which only the
	// kernel's own root can make.
	NoDevices bool

	// KeepDirLinks keeps a link to a directory where the stream has a
	// directory, so that unpacking "lib/x" onto a machine whose /lib is a link
	// leaves that link alone.
	KeepDirLinks bool

	// KeepDirs makes it a *platforms.DirError when something else than a directory
	// would replace a directory, or a file the link to one.
	KeepDirs bool

	// Xattr says whether an extended attribute is carried over. Nil means
	// PortableXattr.
	Xattr func(name string) bool

	// Name is the name of the top entry that Pack writes, "" for ".".
	Name string
}

// PortableXattr reports whether the extended attribute has a meaning outside
// of the file system and the host that it was read on: file capabilities, ACLs
// and what users set. Those of overlayfs and of security modules have none.
func PortableXattr(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

func (o Options) wantsXattr(name string) bool {
	// No option may let an archive steer the overlay it becomes a layer of.
	if strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
		return false
	}
	if o.Xattr != nil {
		return o.Xattr(name)
	}
	return PortableXattr(name)
}

func (o Options) opaqueXattr() string {
	if o.UserXattr {
		return "user.overlay.opaque"
	}
	return "trusted.overlay.opaque"
}

// paxXattr is the prefix of the PAX records that hold extended attributes.
const paxXattr = "SCHILY.xattr."

// The names of OCI whiteouts, after the image specification's layer.md.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)
