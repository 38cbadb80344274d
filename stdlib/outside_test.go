package stdlib_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/runtime/build"
)

// testOutside has the kernel read what a step may not give it: the layer's own nft loads
// the firewall into a network of its own, twice.
func testOutside(t *testing.T, project, storeDir string, params []string) {
	need.Tool(t, "unshare", "chroot")
	err := build.Use(t.Context(), config(project, storeDir, params...), "golden.star", func(b *build.Build) error {
		layer, err := b.Layer(t.Context(), "golden", build.Options{})
		if err != nil {
			return err
		}
		// The tree is seen by this goroutine and what it starts, and by no other.
		return layer.Tree(t.Context(), func(dir string) error {
			rules, err := outside(t, `for i in 1 2; do nft -f /etc/nftables.conf; done; nft list ruleset`, "--net", "chroot", dir)
			if err != nil {
				return err
			}
			for _, want := range []string{"policy drop;", "tcp dport 22 accept", "udp dport 60000-61000 accept", "ip saddr 10.0.0.0/8 tcp dport 9100 accept", "ip6 saddr fd00::/8 tcp dport 9100 accept"} {
				if n := strings.Count(rules, want); n == 0 || want == "tcp dport 22 accept" && n != 1 {
					t.Errorf("the kernel has %q %d times:\n%s", want, n, rules)
				}
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// outside runs a script by unshare with the arguments.
func outside(t *testing.T, script string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "unshare", append(args, "/bin/sh", "-euc", "PATH=/usr/sbin:/usr/bin:/sbin:/bin; "+script)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return string(out), err
}
