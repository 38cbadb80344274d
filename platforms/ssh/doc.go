// Package ssh is the machine that is reached over SSH, which the platforms with
// virtual machines share. A platform starts the machine, connects, and adds
// what only it can do: commits, and the end of the machine.
//
// # What the machine needs
//
// An SSH server and a POSIX shell. For transfers tar is used, or else SFTP. Who
// is not root uses sudo. What a command is to do, and with which variables,
// files and secrets, comes to the shell by its standard input, so that no
// command line holds it.
//
// # Connections
//
// A Machine keeps one connection and, on it, a shell that tidies up after
// commands and ends those that are to stop. A connection that breaks while
// nothing runs is made anew without a word; one that breaks under a command
// fails it. The host key of the first connection is that of all later ones.
package ssh
