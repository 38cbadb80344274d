//go:build !linux

package tool

import "os/exec"

func run(cmd *exec.Cmd) error { return cmd.Run() }
