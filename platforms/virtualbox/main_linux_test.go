package virtualbox

import (
	"os"
	"testing"

	"bake.build/bake/platforms/virtualbox/vboxtest"
)

// TestMain is VBoxManage where the test binary is called by that name.
func TestMain(m *testing.M) {
	if vboxtest.Called() {
		os.Exit(vboxtest.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}
