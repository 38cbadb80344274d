package tool

import "os/exec"

// terminate does nothing: there is no way to ask.
func terminate(*exec.Cmd) {}

func kill(cmd *exec.Cmd) { _ = cmd.Process.Kill() } // it may have ended
