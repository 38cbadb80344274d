//go:build !linux

package tool

import "os/exec"

func guard(*exec.Cmd) (release func(), err error) { return func() {}, nil }
