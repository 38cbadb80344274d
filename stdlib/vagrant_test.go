package stdlib

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// TestVagrantUser runs the script for Vagrant's user where it can do no harm.
func TestVagrantUser(t *testing.T) {
	r := new(recorder)
	if err := r.run(t, "vagrant.star", `vagrant.user(base, timeout = "5m")`); err != nil {
		t.Fatal(err)
	}
	if len(r.scripts) != 2 || !strings.Contains(r.scripts[0], "vagrant insecure public key") || !strings.Contains(r.scripts[0], "NOPASSWD") {
		t.Fatalf("%q", r.scripts)
	}
	need.Tool(t, "sh")
	dir := t.TempDir()
	for _, name := range []string{"sudo", "chpasswd"} {
		script := "#!/bin/sh\nwhile read -r line; do echo \"$line\" >>" + dir + "/said; done\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(r.scripts[1], "/etc/", dir+"/etc/"))
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range map[string]string{"said": "vagrant:vagrant\n", "etc/ssh/sshd_config.d/50-vagrant.conf": "UseDNS no\n"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s is %q, %v", name, b, err)
		}
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
	text, err := FS.ReadFile("vagrant.star")
	if err != nil || !strings.Contains(string(text), strings.TrimSpace(string(key))) {
		t.Errorf("the key of the library is not %q: %v", key, err)
	}
}
