package origin

import (
	"encoding/json"
	"testing"

	"bake.build/bake/platforms"
)

func TestPinName(t *testing.T) {
	for _, c := range []struct {
		kind string
		opts Options
		want string
	}{
		{"debian", Options{Debian: "bookworm", Packages: []string{"ssh"}, Docs: true}, "debian bookworm"},
		{"debian", Options{Debian: "bookworm"}, "debian bookworm"},
		{"debian", Options{Debian: "bookworm", Mirror: "http://user:word@mirror.test/debian"}, "debian bookworm http://user:xxxxx@mirror.test/debian"},
		{"oci", Options{OCI: "debian:12", Arch: "arm64"}, "oci debian:12 arm64"},
		{"oci", Options{OCI: "127.0.0.1:5000/base:1"}, "oci 127.0.0.1:5000/base:1"},
		{"tar", Options{Tar: "https://a:b@host.test/x.tar"}, "tar https://a:xxxxx@host.test/x.tar"},
		{"tar", Options{}, ""},
		{"scratch", Options{Scratch: true}, ""},
	} {
		text, err := json.Marshal(c.opts)
		if err != nil {
			t.Fatal(err)
		}
		if got := PinName(platforms.Origin{Kind: c.kind, Options: text}); got != c.want {
			t.Errorf("%s: %q, want %q", c.kind, got, c.want)
		}
	}
}
