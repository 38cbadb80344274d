// Package vdi writes and reads VirtualBox's disks, as its VDICore.h describes them: whole
// ones that grow, and chains of those that hold what differs from another.
//
// Terms: a disk is cut into blocks, of a mebibyte each where bake writes. The map of a
// medium says where it has each block. A medium of differences leaves a block that it
// does not have to its parent.
package vdi
