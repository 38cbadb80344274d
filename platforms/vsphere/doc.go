// Package vsphere is the platform of VMware vCenter and ESXi.
//
// # Machines and layers
//
// A machine is a virtual machine in a folder of bake's own, cloned from a template, a
// virtual machine or a layer: linked where there is a snapshot to link to, whole
// otherwise. A layer is a snapshot of such a machine, bears the layer's key as its name,
// and is found by that. A machine with layers stays when it is closed, powered off; it is
// the cache of its chain. One without goes.
//
// # Marks
//
// What bake knows of a virtual machine is in its extra configuration ("bake.build", …),
// which vCenter and ESXi have alike and which needs no privilege beyond that of
// reconfiguring it. A clone takes the extra configuration of its source along, so that
// each clone sets or clears all marks.
//
// # Sessions and tasks
//
// All requests go through a session that is renewed when it has ended. Tasks are asked
// for how they are, instead of being watched, since a watch ends with its session.
// Requests that only read are sent again when the network fails; of others it is said
// that their outcome is unclear.
package vsphere
