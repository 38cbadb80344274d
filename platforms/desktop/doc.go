// Package desktop is what drivers of desktop hypervisors share, which make machines on
// this host by programs of their own: origins, layers, the machine in use, disks,
// launches, installers, and what becomes of all that when bake is killed.
//
// Terms: a medium is a file with a disk, or with the difference to another medium, in the
// hypervisor's format. The media of a disk are a chain, the oldest first.
//
// # Layers
//
// The directory of a layer holds one medium for each disk of the machine: whole ones in
// the first layer, and in those above it the differences. Beside the first ones lies what
// the machine is made of. A medium is never written to once it is in a layer: machines
// have it by a hard link, below a medium of their own.
//
// # Machines
//
// Each machine has a directory in the store's temporary one, with all that the
// hypervisor knows of it. It is recorded in the ledger before it is made: when bake is
// killed, the hypervisor goes on, and bake gc ends the machine.
package desktop
