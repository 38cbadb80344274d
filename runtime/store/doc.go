// Package store is the local content-addressed layer cache.
//
// A layer is filed under its key, the hash of everything that can change it.
// The only write is Put, which fills a layer aside and moves it into place in
// one rename; so a layer is there wholly or not at all, whenever a process is
// killed. What Get returns was checked against what Put recorded.
//
// # Format
//
// This is the directory of a store, format 1:
//
//	version                    "bake store 1\n"; a store of another version is refused
//	lock                       the global lock, flock'ed for milliseconds
//	layers/<2 hex>/<64 hex>/   one layer, by its key
//	    meta.json              {"sum": SHA-256 of record, "record": {format, key, boot, Meta…}};
//	                           its modification time is the time of the layer's last use
//	    manifest.zst           the manifest, zstd
//	    facts                  inode number and change time of each file of the manifest
//	    durable                empty; there once the layer is known to be on the disk
//	    data/                  the content: Entry.Dir
//	staging/<random>/          one process's layers and files in the making, and temporary
//	                           directories; the process locks the file owner in it
//	locks/<64 hex>             locked by the one that fills the key
//	locks/caches-<random>      locked by a process that may be using caches
//	leases/<random>.keys       keys in use, one a line; .lock beside it is locked
//	                           by the process that uses them
//	trash/<label>.<random>     what is being removed; the label of a layer is its key
//	records/<kind>/<hash>.json {"name", "sum", "value"}; the hash is that of the name; its
//	                           modification time is that of the last use, to a day
//	cache/<name>/              a driver's cache
//	statcache                  digests of input files
//
// The directory ledger, beside these, belongs to package ledger.
//
// Binary files begin with a line that names their format and version. Numbers
// are varints as of encoding/binary in their shortest form, signed ones in
// zigzag form; a string is its length and its bytes.
//
// The manifest is the line "bake manifest 1", the number of files, and for
// each file, the root "." first and the others sorted by path: path, one byte
// for the type (f d l c b p s), mode, uid, gid, seconds and nanoseconds of the
// modification time, and the path of the first hard link or ""; for a regular
// file its size and the 32 bytes of the SHA-256 of its content, of which one of
// 1 GiB or more has only the pieces of 64 KiB that are not all zeros, each after
// its number in 8 bytes, big-endian, from 0 on; for a symbolic link its target; for
// a device major and minor; then the number of extended attributes and the name and
// value of each, sorted. An entry that is a hard link repeats size, digest and
// attributes, so that each can be read alone.
// The digest of a layer is the SHA-256 of these bytes before compression. It
// says nothing of where the layer lies: facts are kept apart from it.
//
// The facts are the line "bake facts 1", the mapping of user and group ids of
// the process that wrote them, and for each file of the manifest its inode
// number and the seconds and nanoseconds of its change time.
//
// The statcache is the line "bake statcache 1", the number of entries, for
// each the path, device, inode, size, modification and change time, day of the
// last use and the 32 bytes of the SHA-256, and at the end a CRC-32 (IEEE) of
// all that.
//
// # Checks
//
// Get looks at each file of a layer once per process. A file whose type, mode,
// size and times are those of the manifest and whose inode and change time are
// those of the facts has not been changed, since no program can set the change
// time. Any other is read again: if its content and attributes are what the
// manifest says, the facts are renewed (as after the store was copied), and
// otherwise the layer is damaged. A file too many shows in the times of its
// directory. A damaged layer is moved to the trash, told to warn and reported
// as missing, so that it is built again.
//
// Bits that rot on the disk change no times. Verify with all set reads
// everything and finds them.
//
// A layer records the digest of its parent. If a parent had to be built again
// and came out differently, the layers made on the old one are dropped when
// they are asked for: a difference is worth nothing on another ground.
//
// # Loss of power
//
// A rename orders nothing on the disk: after a loss of power a layer may be in
// place with files that are empty. To fsync each of ten thousand files before
// the rename would stall every step for seconds. Instead each layer records
// the boot of the machine that wrote it, and Sync, called at a build's end and
// soon after a big layer was put, writes the whole file system out once and
// then marks the layers as durable. Get trusts a layer that is marked, or that
// was written since the machine started, since then no power was lost. Any
// other is read and hashed in full first. So a killed process loses nothing,
// and a loss of power costs at worst the building of a layer again.
//
// # Processes
//
// All locks are files that the kernel unlocks when their holder dies. A holder
// removes the lock file of a key while it holds it; whoever gets the lock of a
// removed file notices, since the path names another one, and tries again (see
// package lockfile).
//
// Two things are done under the global lock only: a staging directory is made
// together with its locked owner file, so that Open never takes a new one for
// that of a dead process; and a lease is written, or Prune reads the leases
// and moves layers to the trash. So a layer that was leased and then found by
// Get stays until the release, and one that Prune took first is missing to
// Get. The slow part, the removal of the trash, comes after. A damaged layer
// that another process has leased stays in the trash for as long as that.
//
// Prune removes a layer only after all that are made on it, so that no chain
// loses its beginning. It removes the records that were not used for long, too.
package store
