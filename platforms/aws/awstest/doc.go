// Package awstest is a stand-in for AWS, for tests: one server on the loopback
// that answers for the EBS direct APIs, EC2, SSM and STS in all regions.
//
// It is stricter than other stand-ins where uploads go wrong in practice:
// checksums of blocks and of snapshots are verified, tokens are remembered,
// parents have to be complete, names of images are unique, a snapshot that an
// image uses cannot be deleted, what is made is pending for a while. Faults can
// be put in place of every answer, and latency and bandwidth can be set.
//
// It knows what the package aws asks for, and refuses everything else.
package awstest
