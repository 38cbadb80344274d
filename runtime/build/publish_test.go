package build

import (
	"runtime"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
)

// TestPublicationIsWhatItsLayerIs has images registered of layers of several kinds.
func TestPublicationIsWhatItsLayerIs(t *testing.T) {
	b := &Build{Host: &Host{Config: Config{Platforms: []platforms.Spec{{Name: "tree"}, {Name: "vm", Boots: true}, {Name: "cloud", Boots: true, Publishes: true}}}}}
	cloud := &plan.Platform{Name: "cloud"}
	for what, c := range map[string]struct {
		from       *plan.Platform
		boot       string // of the export
		traits     platforms.Traits
		arch, want string
	}{
		"a tree":             {&plan.Platform{Name: "tree"}, "", platforms.Traits{Arch: "amd64"}, "amd64", "bios+uefi"},
		"a tree for BIOS":    {&plan.Platform{Name: "tree"}, "bios", platforms.Traits{Arch: "amd64"}, "amd64", "bios"},
		"a tree of nobody":   {&plan.Platform{Name: "tree"}, "uefi", platforms.Traits{}, runtime.GOARCH, "uefi"},
		"a machine of UEFI":  {&plan.Platform{Name: "vm"}, "", platforms.Traits{Arch: "arm64", Boot: "uefi"}, "arm64", "uefi"},
		"a machine of BIOS":  {&plan.Platform{Name: "vm"}, "", platforms.Traits{Arch: "amd64", Boot: "bios"}, "amd64", ""},
		"of another account": {&plan.Platform{Name: "cloud", Options: []byte(`{"role":"x"}`)}, "", platforms.Traits{Arch: "arm64", Boot: "uefi"}, "arm64", "uefi"},
		"the platform's own": {cloud, "", platforms.Traits{Arch: "arm64", Boot: "uefi"}, "", ""},
	} {
		n := &plan.Node{Platform: cloud, Deps: []*plan.Node{{Platform: c.from}}}
		p, err := b.publication(n, &export.Publish{Name: "web", Boot: c.boot}, plan.Key{1}, plan.Key{2}, c.traits)
		if err != nil || p.Arch != c.arch || p.Boot != c.want {
			t.Errorf("%s: %q, boot %q, %v; want %q, boot %q", what, p.Arch, p.Boot, err, c.arch, c.want)
		}
	}
}
