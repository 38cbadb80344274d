package store

// A stat is what the file system says of a file without opening it.
type stat struct {
	typ          Type
	mode         uint32 // as File.Mode
	uid, gid     uint32
	size         int64 // of regular files
	mtime, ctime Stamp
	major, minor uint32
	dev, ino     uint64 // both zero where files have no such identity
	nlink        uint64
	blocks       int64 // bytes on the disk
}

// A fact is what shows cheaply that a file was not changed since it was last
// hashed. It holds on this machine only.
type fact struct {
	ino   uint64
	ctime Stamp
}

func (st *stat) fact() fact { return fact{st.ino, st.ctime} }

// An inode identifies a file that may have several names.
type inode struct{ dev, ino uint64 }

func (st *stat) inode() inode { return inode{st.dev, st.ino} }
