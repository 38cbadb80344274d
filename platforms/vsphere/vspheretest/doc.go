// Package vspheretest is a stand-in for vCenter, for tests: vcsim of govmomi, in this
// process, with what it lacks in front of it.
//
// Added are machines that can be logged in to, whose disks snapshots and clones keep (those
// of vcsim hold no bytes); addresses and the guest information that VMware Tools report;
// going back to a snapshot; the bytes of disks that are exported; keyboards; and faults in place of
// any answer. Everything else is vcsim's. It is for Linux, where its users run: vcsim takes
// a minute to compile.
package vspheretest
