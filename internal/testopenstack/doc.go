// Package testopenstack runs an OpenStack for tests: Keystone, two Glances, Placement,
// Neutron, Nova and Cinder, as Debian packages them, in a root directory that
// .ci/openstack makes. They listen on the loopback alone, on free ports, and end with the
// test.
//
// The ports of Neutron, the volumes of Cinder and Nova's usual host are emulated: a server is
// a machine of package testsshd, at the address that Neutron has given it, and its disk is
// what that machine has changed of this host's files. A second host, RealHost, has Nova's own
// driver of libvirt, and QEMU that emulates the processor: its servers are virtual machines,
// without a network.
package testopenstack
