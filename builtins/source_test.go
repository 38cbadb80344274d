package builtins

import (
	"strings"
	"testing"
)

// TestSourceNameHoldsNoPassword displays a source whose address has one.
func TestSourceNameHoldsNoPassword(t *testing.T) {
	d, _, err := evaluate(t, "", `source(rootfs(), disk = "https://user:s3cret@example.org/disk.qcow2")`, nil)
	if err != nil {
		t.Fatal(err)
	}
	name := d.Plan.Nodes[0].Name
	if strings.Contains(name, "s3cret") || !strings.Contains(name, "example.org/disk.qcow2") {
		t.Errorf("name %q", name)
	}
}
