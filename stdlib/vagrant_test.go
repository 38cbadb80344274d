package stdlib_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/stdlib"
)

// TestVagrantPassword holds that the hash is that of the password which Vagrant knows.
func TestVagrantPassword(t *testing.T) {
	need.Tool(t, "openssl")
	hash, err := exec.Command("openssl", "passwd", "-6", "-salt", "vagrant", "vagrant").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := stdlib.FS.ReadFile("vagrant.star")
	if err != nil || !strings.Contains(string(text), `"`+strings.TrimSpace(string(hash))+`"`) {
		t.Errorf("the library does not have %q: %v", hash, err)
	}
}

// TestVagrantKey holds that the key is Vagrant's own.
func TestVagrantKey(t *testing.T) {
	const path = "/usr/share/rubygems-integration/all/gems/vagrant-2.3.4/keys/vagrant.pub" // of Debian 12
	need.File(t, path)
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := stdlib.FS.ReadFile("vagrant.star")
	if err != nil || !strings.Contains(string(text), strings.TrimSpace(string(key))) {
		t.Errorf("the key of the library is not %q: %v", key, err)
	}
}
