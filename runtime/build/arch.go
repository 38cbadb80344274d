package build

import (
	"encoding/json"

	"bake.build/bake/runtime/plan"
)

// archOf returns the architecture of the layer that n is or is made from, as Go
// names it, or "" when neither a source nor its platform says, which means the host's.
func archOf(n *plan.Node) string {
	for ; n != nil; n = firstDep(n) {
		src, ok := n.Op.(plan.Source)
		if !ok {
			continue
		}
		said := []json.RawMessage{src.Origin().Options}
		if n.Platform != nil {
			said = append(said, n.Platform.Options)
		}
		for _, text := range said {
			var options struct {
				Arch string `json:"arch"`
			}
			// Options that say nothing of it have none.
			if json.Unmarshal(text, &options) == nil && options.Arch != "" {
				return goArch(options.Arch)
			}
		}
	}
	return ""
}

func firstDep(n *plan.Node) *plan.Node {
	if len(n.Deps) == 0 {
		return nil
	}
	return n.Deps[0]
}

// goArch translates Debian's name of an architecture.
func goArch(debian string) string {
	switch debian {
	case "armhf":
		return "arm"
	case "i386":
		return "386"
	case "ppc64el":
		return "ppc64le"
	}
	return debian
}
