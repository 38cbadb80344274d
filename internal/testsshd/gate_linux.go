package testsshd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Gate starts a machine that others are reached by, which the configuration of OpenSSH of
// the test's home directory calls "gate".
func Gate(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", "")
	key := filepath.Join(home, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pub, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.85.%d.1", os.Getpid()%250+1)
	s := &Server{Dir: t.TempDir(), Address: address + ":2222", AuthorizedKeys: string(pub)}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	hostKey, err := os.ReadFile(s.Path("host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"config":      "Host gate\n  HostName " + address + "\n  Port 2222\n  User root\n  IdentityFile " + key + "\n",
		"known_hosts": "[" + address + "]:2222 " + string(hostKey),
	} {
		if err := errors.Join(os.MkdirAll(filepath.Join(home, ".ssh"), 0o700), os.WriteFile(filepath.Join(home, ".ssh", name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
