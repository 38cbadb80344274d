// Package ovf reads and writes packages of the Open Virtualization Format: the
// descriptor, an XML document; the manifest with digests of all files; and the OVA, a
// tar archive of them.
//
// It follows DMTF's DSP0243, versions 1.0 to 2.1, reads what VMware's programs wrote of
// version 0.9, and knows the extensions vmw: and vbox: that say what the standard does
// not, such as the firmware. Terms: an envelope is what a descriptor says; a system is a
// machine in it; a member is a file of the package.
//
// What is read comes from anywhere: sizes, depths and counts are bounded, entities and
// names that lead out of the package are refused, and digests are compared while data
// is read.
package ovf
