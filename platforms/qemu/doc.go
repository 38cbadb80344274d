// Package qemu is the platform whose machines are virtual machines of QEMU on
// this host, reached over SSH.
//
// # Layers
//
// The directory of a layer holds one qcow2 image for each disk of the machine.
// The images of the first layer are whole disks; those above it are overlays
// that name no backing file: the order of the chain is given to QEMU and to
// qemu-img each time, so that a layer can lie anywhere. A machine with UEFI
// keeps its variable store beside them.
//
// Committing makes the guest write what it holds (sync, or a freeze by the guest
// agent), stops the virtual CPUs for some milliseconds, puts new empty overlays
// on top, and moves the sealed ones into the layer. The machine goes on.
//
// # Memory
//
// The guest's memory is a memfd that bake makes. At a commit the state of the
// devices, which is small, and a copy of the memory go to the driver's cache,
// named by the layer's reference; a machine that is asked for from this layer
// is resumed from there, with new overlays, instead of booted. The newest
// dozen of a machine's are kept, within 8 GiB for all; nothing is kept of a machine that
// ran a command with a secret, and a state of another QEMU, other options or
// an earlier start of the host is not used. When resuming fails, the machine
// boots.
//
// A machine that is closed just after a commit stays for a while: who asks for
// one on the same layer gets it.
//
// # Login
//
// Each process of bake has its own key, in memory. It reaches a machine that
// boots by a credential of systemd in the SMBIOS tables and by a cloud-init
// seed on a disk of its own; both place the public key below /run and link to
// it. A machine that is resumed learns it by a virtio port, where a shell
// listens that was started at the boot. Where the image's own SSH server does not
// let bake in, one of the build's own behind another virtio port does. Before a disk is exported, what is left
// of the login is removed: see the package seed.
//
// # Processes
//
// QEMU is started with all that it talks through as inherited sockets, so that
// there is no file or port that could outlive it, and the kernel ends it when
// bake ends. What a machine writes lies in a temporary directory of the host
// until it is committed.
package qemu
