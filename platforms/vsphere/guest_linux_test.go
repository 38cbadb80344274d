package vsphere

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/vsphere/vspheretest"
)

// TestGuestOperations works in a machine without a network, by VMware Tools alone.
func TestGuestOperations(t *testing.T) {
	w, template := newFleet(t)
	w.server.NoNetwork = true
	d := w.open(launching(func(o *Options) { o.GuestUser, o.GuestPassword = vspheretest.GuestUser, "guest" }))
	m := w.boot(d, template)
	if m.address != "" {
		t.Fatalf("it is reached at %s", m.address)
	}
	begun := time.Now()
	if got := guestSays(t, m, "id -u; hostname"); got != "0\nmachine" {
		t.Errorf("a command says %q", got)
	}
	t.Logf("a command took %v", time.Since(begun))
	large := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB: several files each way
	var back bytes.Buffer
	err := m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", "tee /root/large"}, Stdin: strings.NewReader(large), Stdout: &back})
	if err != nil || back.String() != large {
		t.Errorf("%d bytes came back as %d, %v", len(large), back.Len(), err)
	}
	if got := guestSays(t, m, "sha256sum </root/large"); !strings.HasPrefix(got, fmt.Sprintf("%x", sha256.Sum256([]byte(large)))) {
		t.Errorf("the file is %s", got)
	}
	made, err := m.Commit(t.Context(), platforms.State{Key: strings.Repeat("ab", 32), Name: "step", Needed: true})
	if err != nil || made.Ref == "" {
		t.Errorf("commit: %+v, %v", made, err)
	}
	if got := guestSays(t, m, "ls /dev/shm | grep -c ^bake-; ls /tmp | grep ^bake- || true"); got != "1" {
		t.Errorf("%s directories of connections are there", got)
	}
	if _, err := w.open(launching(func(o *Options) { o.GuestUser, o.GuestPassword = vspheretest.GuestUser, "wrong" })).
		Boot(t.Context(), []platforms.Layer{{Ref: template}}, &platformtest.Log{}); err == nil || !strings.Contains(err.Error(), `VMware Tools refuse guest_user "root" or its password`) {
		t.Errorf("with another password: %v", err)
	}
}

// guestSays returns what a script says.
func guestSays(t *testing.T, m platforms.Machine, script string) string {
	t.Helper()
	var out strings.Builder
	if err := m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", script}, Stdout: &out}); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return strings.TrimSpace(out.String())
}
