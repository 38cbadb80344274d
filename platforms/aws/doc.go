// Package aws is the platform of EC2: its machines are instances, its layers EBS
// snapshots, its images AMIs.
//
// # Instances
//
// A chain begins on an AMI (origin.go). The first step that has to run launches an
// instance (launch.go, network.go), and all steps after it run there over SSH
// (machine.go), or over SSH by Session Manager (session.go). What was worth it is kept
// as a layer: a snapshot, or an AMI where product codes have to stay. Layers are found
// by their keys, which are tags (base.go), and registered as they are (native.go).
//
// # Images without an instance
//
// The disk of a layer that another platform made is written straight into an EBS
// snapshot (upload.go; see the package ebs) and registered (publish.go, finish.go). An
// image is named by its artifact and the beginning of its key, so that one that was
// not changed is found by its name, in one request a region, and not made again. The
// next image of the same artifact gets its snapshot on top of the last one's, so that
// only changed blocks travel. Copies to other regions are made by AWS.
//
// # What is left behind
//
// Everything is written into the ledger before it is asked for, and bears the build's
// tags from its first moment: see gc.go for how it is found again.
package aws
