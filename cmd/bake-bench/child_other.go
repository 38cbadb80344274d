//go:build !unix

package main

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd)  {}
func killGroup(*exec.Cmd) {}

// peakResident is unknown on this host.
func peakResident(*os.ProcessState) int64 { return 0 }
