// Package installer is what every hypervisor needs to have a system installed from
// the CD of an installer: the options of source(…, iso = …), the language of boot
// commands, the keys of the keyboard, the HTTP server, and the second CD.
//
// A hypervisor is a Machine: it starts, sends keys to the guest and tells when the
// guest has shut down. It sends what a Stroke is to it: names of QEMU, scan codes
// of set 1 of a PC keyboard, or usages of a USB keyboard.
package installer
