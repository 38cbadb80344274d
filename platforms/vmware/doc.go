// Package vmware is the platform whose machines are those of VMware Workstation Pro or
// Fusion Pro on this host, by vmrun.
//
// # Machines
//
// A machine is a VMX file with its disks in a directory of its own, in no library of the
// user's. What vmrun starts for it inherits a variable that names the directory, by which
// it can be ended when vmrun cannot.
//
// # Media
//
// A layer's media are VMware's growing disks. Each but the first names the one below by a
// file name, and by a content identifier that no longer changes once nothing writes to
// it. A machine's directory has them by hard links, below the names that they ask for;
// a snapshot makes the disk on top that the machine writes to, and seals it when a layer
// is kept. The memory that VMware saves with a snapshot is removed, as nobody goes back
// to it.
//
// # Network
//
// Machines are in VMware's NAT network, vmnet8, which this host reaches. Their addresses
// are those that its DHCP server has leased, else those that VMware Tools tell.
package vmware
