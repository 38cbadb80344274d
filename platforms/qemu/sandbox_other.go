//go:build !linux

package qemu

// sandbox keeps QEMU from system calls that a machine does not need; its filter
// is one of Linux.
func (hw hardware) sandbox(*arguments) {}
