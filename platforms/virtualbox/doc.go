// Package virtualbox is the platform whose machines are those of Oracle VirtualBox on this
// host, by VBoxManage.
//
// # Registry
//
// Each machine has a VBOX_USER_HOME and a VBOX_IPC_SOCKETID of its own, and so a VBoxSVC
// of its own, in which no UUID, no name and no lock meets another's, and which knows
// nothing of the user's machines. Both follow from the machine's directory, as its UUID
// does, so that whoever knows the directory can end the machine.
//
// # Media
//
// A layer's media are opened by showmediuminfo, the oldest first: it opens them for
// reading, while other commands write to the header of a medium that they do not know.
// The machine has a medium of differences on top. A snapshot of the running machine
// seals it; the memory that VirtualBox saves with it is removed, as nobody goes back to it.
package virtualbox
