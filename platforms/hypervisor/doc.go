// Package hypervisor is what drivers of hypervisors on this host share: whether a machine
// can still be used and the connections that end with it, ports of this host that lead
// into it, the guest agent, and why a program has ended.
package hypervisor
