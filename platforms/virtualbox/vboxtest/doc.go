// Package vboxtest is a stand-in for VirtualBox's VBoxManage in tests: what a real
// VirtualBox 7.0.10 prints and does, as testdata has it recorded, with state of its own
// in VBOX_USER_HOME and machines that QEMU runs beneath.
//
// Base media and media of differences are true VDI files. A running machine writes to
// a file of QEMU's, over a raw copy of its media; the medium is brought up to date when it
// is frozen by a snapshot, and when the machine has ended.
//
// Programs that know VirtualBox drive it in tests: Vagrant's provider, and builders of
// Packer.
//
// What is otherwise than in VirtualBox: calls in one VBOX_USER_HOME wait for each other,
// there is no VBoxSVC behind them, media of differences are VDI whatever their parent is,
// the files *.vbox hold JSON, and ports of rules without an address are on 127.0.0.1 alone.
package vboxtest
