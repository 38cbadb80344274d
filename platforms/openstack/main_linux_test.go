package openstack

import (
	"fmt"
	"os"
	"testing"

	"bake.build/bake/internal/testopenstack"
)

// cloud is the OpenStack of all tests that need a real one.
var cloud testopenstack.Shared

func TestMain(m *testing.M) {
	code := m.Run()
	if err := cloud.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
