// Package testopenstack runs an OpenStack for tests: Keystone, two Glances, Placement,
// Neutron, Nova and Cinder, as Debian packages them, in a root directory that
// .ci/openstack makes. They listen on the loopback alone, on free ports, and end with the
// test.
//
// The hypervisor of Nova, the ports of Neutron and the volumes of Cinder are emulated: a
// server is a machine of package testsshd, at the address that Neutron has given it, and
// its disk is what that machine has changed of this host's files.
package testopenstack
