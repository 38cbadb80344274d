// Package sandbox is the inside of a rootfs machine: what runs in the new
// namespaces between bake and the command of a step.
//
// bake starts itself again, in new mount, pid, ipc, uts and maybe net
// namespaces, as the init of one command. The init reads a Job from
// descriptor JobFD, mounts the layers and what a command expects around them,
// makes them its root, and starts the command with few capabilities and a
// seccomp filter. It reaps what is orphaned and ends with the command; the
// kernel then kills all that the command left and drops every mount.
//
// Order matters: nothing of the layers is trusted. Every path in them is
// resolved by the kernel inside of them, and the host's files are out of reach
// before the first byte of the layers is run.
package sandbox
