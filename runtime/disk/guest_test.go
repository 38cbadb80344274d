package disk

import (
	"testing"

	"bake.build/bake/runtime/disk/tree"
)

func TestGrowth(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		want  bool
	}{
		"nothing":    {nil, false},
		"repart":     {[]string{"usr/bin/systemd-repart"}, true},
		"cloud-init": {[]string{"usr/bin/systemd-repart", "usr/bin/cloud-init"}, false},
		"own repart": {[]string{"usr/bin/systemd-repart", "etc/repart.d/10-x.conf"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := &tree.Tree{Root: &tree.Entry{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}}}
			for _, f := range c.files {
				if err := tr.Add(f, 0o755, []byte("x"), 0); err != nil {
					t.Fatal(err)
				}
			}
			if err := addGrowth(tr, 0); err != nil {
				t.Fatal(err)
			}
			if got := tr.Lookup("etc/repart.d/50-root.conf") != nil; got != c.want {
				t.Errorf("repart.d: %v, want %v", got, c.want)
			}
		})
	}
}
