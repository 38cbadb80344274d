// Package testqemu runs the machines of stand-ins for programs of other hypervisors with
// QEMU, by software emulation. It is for tests.
package testqemu
