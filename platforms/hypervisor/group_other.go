//go:build !unix

package hypervisor

import "os"

// endGroup ends a process.
func endGroup(p *os.Process) error { return p.Kill() }
