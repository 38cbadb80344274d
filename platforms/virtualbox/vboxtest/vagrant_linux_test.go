package vboxtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

const vagrantfile = `Vagrant.configure("2") do |c|
  c.vm.box = "recorded"
  c.vm.boot_timeout = 1
  c.vm.synced_folder ".", "/vagrant", disabled: true
  c.vm.provider("virtualbox") { |v| v.memory = 64; v.check_guest_additions = false }
end
`

// TestVagrant has Vagrant, which knows VirtualBox and not the stand-in, run a box of what
// VirtualBox exported. Its disk is empty, so that nothing answers by SSH.
func TestVagrant(t *testing.T) {
	need.Slow(t)
	need.Tool(t, "vagrant", "tar")
	r := newReplay(t)
	for key, value := range map[string]string{"VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_NO_PLUGINS": "1", "VAGRANT_HOME": filepath.Join(r.home, "vagrant")} {
		t.Setenv(key, value)
	}
	ova, err := filepath.Abs(filepath.Join("..", "..", "..", "internal", "ovf", "testdata", "vbox-ovf10.ova"))
	if err != nil {
		t.Fatal(err)
	}
	project := filepath.Join(r.home, "project")
	if err := errors.Join(os.Mkdir(project, 0o755), os.WriteFile(filepath.Join(project, "Vagrantfile"), []byte(vagrantfile), 0o600)); err != nil {
		t.Fatal(err)
	}
	r.must("mkdir box && cd box && tar xf "+ova+" --no-same-owner && mv *.ovf box.ovf && rm *.mf && echo '{\"provider\": \"virtualbox\"}' >metadata.json && tar czf ../recorded.box *",
		"vagrant box add --name recorded recorded.box")
	vagrant := func(args ...string) (string, error) {
		cmd := exec.Command("vagrant", args...)
		cmd.Dir = project
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := vagrant("up"); err == nil || !strings.Contains(out, "Timed out while waiting for the machine to boot") {
		t.Fatalf("up: %v:\n%s", err, out)
	}
	for _, c := range []struct{ command, says string }{
		{"snapshot save one", "Snapshot saved!"}, {"halt -f", "Forcing shutdown"}, {"snapshot delete one", "Snapshot deleted!"}, {"destroy -f", "Destroying VM"},
	} {
		if out, err := vagrant(strings.Fields(c.command)...); err != nil || !strings.Contains(out, c.says) {
			t.Fatalf("%s: %v:\n%s", c.command, err, out)
		}
	}
	if left, _, _ := r.run("VBoxManage list vms; VBoxManage list hdds"); left != "" {
		t.Errorf("it leaves\n%s", left)
	}
}
