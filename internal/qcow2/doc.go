// Package qcow2 writes QEMU's disk images as streams: a writer who cannot seek, such as an
// upload, gets a compressed image of a raw disk, and nothing of it is stored before.
//
// The tables of a qcow2 image say where each cluster lies, and the header says where the
// tables are, so that they have to be written first. The disk is therefore compressed
// twice: Plan learns how long each cluster becomes, and Image.Write has the same lengths
// again.
package qcow2
