package origin

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"bake.build/bake/internal/need"
)

// The packages that a machine boots from.
var bootable = []string{"linux-image-cloud-amd64", "openssh-server", "systemd", "systemd-sysv", "ifupdown"}

func TestDebianBootable(t *testing.T) {
	need.Slow(t)
	need.Root(t)
	need.Tool(t, "mmdebstrap", "gpgv")
	h := newHost(t)
	for _, round := range []string{"cold", "from the cache"} {
		start := time.Now()
		o, err := Pin(t.Context(), originOf(t, "debian", Options{Debian: "bookworm", Packages: bootable}, nil), h)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: pin %v in %v", round, *o.Pin, time.Since(start))
		tree, out, err := importNew(t, o, h)
		if err != nil {
			t.Fatalf("%v\n%s", err, out.log.String())
		}
		t.Logf("%s: %v, %v", round, time.Since(start), out.told)
	}
}
