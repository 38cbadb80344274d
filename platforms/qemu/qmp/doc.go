// Package qmp speaks QEMU's machine protocol (QMP): JSON objects, one a line,
// over a Unix socket. See the "QEMU QMP Reference Manual" for commands and
// events.
package qmp
