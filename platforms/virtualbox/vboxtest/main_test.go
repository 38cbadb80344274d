//go:build linux

package vboxtest

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if Called() {
		os.Exit(Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}
