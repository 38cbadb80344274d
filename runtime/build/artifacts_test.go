package build

import (
	"path/filepath"
	"testing"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
)

// TestArtifactDirs holds that artifacts of one name on several platforms lie beside
// each other, and that a publication, which has no files, changes no directory.
func TestArtifactDirs(t *testing.T) {
	web := func() *plan.Node { return &plan.Node{Op: &export.Op{Name: "web"}} }
	local, vm, cloud := web(), web(), &plan.Node{Op: &export.Publish{}}
	notes := &plan.Node{Op: &export.Output{Name: "notes"}}
	for _, c := range []struct {
		artifacts []builtins.Target
		want      map[*plan.Node]string
	}{
		{[]builtins.Target{{Name: "web", Node: local}, {Name: "notes", Node: notes}}, map[*plan.Node]string{local: "web", notes: "notes"}},
		{[]builtins.Target{{Name: "web@rootfs", Node: local}, {Name: "web@aws", Node: cloud}}, map[*plan.Node]string{local: "web"}},
		{[]builtins.Target{{Name: "web@rootfs", Node: local}, {Name: "web@qemu", Node: vm}}, map[*plan.Node]string{local: "web@rootfs", vm: "web@qemu"}},
	} {
		e := &exporter{b: &Build{Definition: &builtins.Definition{Artifacts: c.artifacts}}, out: "out"}
		for n, want := range c.want {
			if dir, err := e.dir(n); err != nil || dir != filepath.Join("out", want) {
				t.Errorf("%v: got %q, %v, want out/%s", c.artifacts, dir, err, want)
			}
		}
	}
}
