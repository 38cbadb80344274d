// Package aws is the platform whose images are AMIs.
//
// # Publishing
//
// The disk of a layer that another platform made is written straight into an EBS
// snapshot (see the package ebs) and registered: no instance has a part in it.
// An image is named by its artifact and the beginning of its key, so that one
// that was not changed is found by its name, in one request a region, and not
// made again. The next image of the same artifact gets its snapshot on top of
// the last one's, so that only changed blocks travel. Copies to other regions are
// made by AWS.
//
// # What is left behind
//
// Every snapshot and image is written into the ledger before it is asked for, and
// bears the build's tags from its first moment: see gc.go for how they are found
// again.
package aws
