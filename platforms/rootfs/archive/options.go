package archive

import (
	"strings"

	"bake.build/bake/internal/paxattr"
)

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

	// Whole says that the stream is a whole tree, or a layer of an image: names that
	// are absolute, or hold ".." and stay inside, are taken for what they mean below
	// the destination; an entry for a directory that is there clears the attributes
	// that the entry does not have; no file inherits an access control list.
	// Without it Unpack adds to a tree, as a step does.
	Whole bool

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
	// paxattr.Portable.
	Xattr func(name string) bool

	// Dropped, if not nil, is told of each attribute of the stream that Unpack does
	// not carry over.
	Dropped func(name string)

	// Name is the name of the top entry that Pack writes, "" for ".".
	Name string
}

func (o Options) wantsXattr(name string) bool {
	// No option may let an archive steer the overlay it becomes a layer of.
	if strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
		return false
	}
	if o.Xattr != nil {
		return o.Xattr(name)
	}
	return paxattr.Portable(name)
}

func (o Options) opaqueXattr() string {
	if o.UserXattr {
		return "user.overlay.opaque"
	}
	return "trusted.overlay.opaque"
}

// The names of OCI whiteouts, after the image specification's layer.md.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)
