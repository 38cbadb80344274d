// Package vmx reads and writes VMX files, the settings of a machine of VMware's desktop
// programs: lines of a key and a value in quotes.
//
// The keys are those that Workstation, Fusion and Player write and that libvirt's driver
// for them knows; there is no specification. What is read comes from anywhere: the
// number and length of lines are bounded, and names of disks that lead out of the file's
// folder are refused.
package vmx
