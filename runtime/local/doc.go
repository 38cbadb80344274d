// Package local runs programs of this host that change a machine from outside of it,
// as configuration management does: they reach the machine by SSH, whatever the
// platform is.
//
// The server is bake's own, on the loopback, for the time of one program, with keys
// that no one else has. What a client asks it to run, it runs by platforms.Machine.Run.
// So a machine needs neither a network nor an SSH server of its own, and the keys by
// which bake reaches it never leave bake.
//
// Invariants: commands of several connections take turns, since a Machine's methods are
// called by one goroutine at a time; when Run returns, no command runs and no
// connection is open. Ports are not forwarded, in either direction.
package local
