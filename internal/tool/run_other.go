//go:build !linux

package tool

import "os/exec"

func run(cmd *exec.Cmd) error { return cmd.Run() }

func startAndWait(cmd *exec.Cmd, started chan<- error) error {
	err := cmd.Start()
	if started <- err; err != nil {
		return err
	}
	return cmd.Wait()
}

func group(*exec.Cmd) {}
