// Package ledger is the crash-safe record of the resources that builds make
// outside of the store: instances, snapshots, uploads, mounts.
//
// A resource is recorded before it is asked for and forgotten once it is gone
// or handed on to the user. What a build leaves in the ledger when its process
// dies is therefore all that may have to be cleaned up: Dead finds it.
//
// # Format
//
//	<dir>/ledger/<build id>/owner          locked by the build's process for its life
//	<dir>/ledger/<build id>/<random>.json  one resource
//
// The build's id is escaped as a path segment of a URL. A resource's file is
// written under another name, flushed, renamed and its directory flushed, so
// that it is whole or not there even after a loss of power. Removals are
// flushed too: a record that came back would have something deleted that was
// handed on.
//
// A build's directory is made and removed under the lock of its owner file.
// Whoever gets the lock of a removed file tries again (see package lockfile).
package ledger
