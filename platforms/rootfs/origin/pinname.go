package origin

import (
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/fetch"
)

// PinName names what the pin of o depends on, or returns "" for an origin that
// has none. What is installed from a suite does not change which release files
// it has: sources that differ only in their packages share a pin.
func PinName(o platforms.Origin) string {
	var opts Options
	if err := o.Decode(&opts); err != nil {
		return ""
	}
	var parts []string
	switch o.Kind {
	case debian.name, ubuntu.name:
		_, suite := opts.distro()
		parts = []string{suite, fetch.Redacted(opts.Mirror), fetch.Redacted(opts.SecurityMirror), opts.Snapshot}
	case "oci":
		parts = []string{opts.OCI, opts.Arch}
	case "tar":
		parts = []string{fetch.Redacted(opts.Tar)}
	case "disk":
		parts = []string{fetch.Redacted(opts.Disk)}
	}
	name := o.Kind
	for _, p := range parts {
		if p != "" {
			name += " " + p
		}
	}
	if name == o.Kind {
		return ""
	}
	return name
}
