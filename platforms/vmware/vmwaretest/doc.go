// Package vmwaretest stands in for VMware Workstation in tests: a vmrun that keeps what it
// knows in the files that VMware has beside a machine, and runs machines by QEMU. What it
// prints is what VMware's manual "Using vmrun to Control Virtual Machines" and the sources
// of programs that read it say.
//
// A machine has an address of this host's loopback of its own, at which some of its ports
// are: vmrun getGuestIPAddress tells it, and the file of leases that VMWARETEST_LEASES
// names.
package vmwaretest
