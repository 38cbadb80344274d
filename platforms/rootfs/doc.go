// Package rootfs is the platform whose machines are file trees of this host:
// steps run in namespaces on an overlay, without a kernel or a disk of their
// own.
//
// # Layers
//
// The directory of a layer holds fs, an upper directory of overlayfs as the
// kernel left it; see the package overlay. Committing is a rename, and the
// machine goes on with a new upper directory on top of the layer.
//
// # Machines
//
// A machine is two directories. No process and no mount outlives a call: each
// command gets new namespaces, in which bake starts itself as init (see Child
// and the package sandbox), and which end with the command, with bake, or with
// the machine, whichever is first. Mounts are only ever made in such
// namespaces, so that there is nothing to unmount after a crash.
//
// # What a step sees
//
// The layers are the root directory. /dev, /proc, /sys, /run and /dev/shm are
// the machine's own and never part of a layer. Over the layers lies a cover, see
// the package cover: /etc/resolv.conf and /etc/hosts with what the host has, which
// a step may change, replace or remove like any file, and answers for programs
// that look for a running system. Steps with a
// network share the host's, loopback included.
//
// # Without root
//
// Enter starts bake again in a user namespace in which it is root, with the
// uids that /etc/subuid gives to the user. All else is the same, but for device
// nodes, which cannot be made, and marks of overlayfs, which are kept in other
// extended attributes: such layers are not those of root, and have other keys.
package rootfs
