package vboxtest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/ovf"
)

// recordedDisk is the SHA-256 of the disk in the OVAs that VirtualBox 7.0.10 wrote.
const recordedDisk = "7a20e67268e2a8594b3f9d67ae5df411f8856d701518a900d7cf65a37e7192d7"

// TestAppliances imports OVAs that VirtualBox 7.0.10 wrote, and exports what came of them.
func TestAppliances(t *testing.T) {
	r := newReplay(t)
	for _, v := range []string{"10", "20"} {
		ova, err := os.ReadFile(filepath.Join("..", "..", "..", "internal", "ovf", "testdata", "vbox-ovf"+v+".ova"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.home, "files", "small-"+v+".ova"), ova, 0o600); err != nil {
			t.Fatal(err)
		}
		out, stderr, exit := r.run("VBoxManage import small-" + v + ".ova --vsys 0 --eula accept --vmname imp" + v + " --basefolder " + r.home + "/vms --memory 192 --options keepallmacs")
		for _, want := range []string{"VM name specified with --vmname: \"imp" + v + "\"\n", "Guest memory specified with --memory: 192 MB\n", "SATA controller, type AHCI\n", "Successfully imported the appliance.\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("import does not say %q: exit %s: %s%s", want, exit, out, stderr)
			}
		}
		// As Vagrant does: the option first, and snapshots above a VMDK.
		r.must("VBoxManage import -n small-"+v+".ova", "VBoxManage snapshot imp"+v+" take one", "VBoxManage snapshot imp"+v+" delete one")
		r.must("VBoxManage clonemedium disk "+r.home+"/vms/imp"+v+"/*.vmdk "+v+".raw --format RAW",
			"VBoxManage export imp"+v+" --output out"+v+".ova --manifest", "VBoxManage import out"+v+".ova --vsys 0 --vmname again"+v+" --basefolder "+r.home+"/vms",
			"VBoxManage clonemedium disk "+r.home+"/vms/again"+v+"/*.vmdk again"+v+".raw --format RAW")
		for _, name := range []string{v + ".raw", "again" + v + ".raw"} {
			disk, err := os.ReadFile(filepath.Join(r.home, "files", name))
			if got := fmt.Sprintf("%x", sha256.Sum256(disk)); err != nil || got != recordedDisk {
				t.Errorf("%s has the SHA-256 %s, %v", name, got, err)
			}
		}
		p, err := ovf.Open(filepath.Join(r.home, "files", "out"+v+".ova"))
		if err != nil {
			t.Fatal(err)
		}
		if s := p.Envelope.Systems[0]; s.Hardware.Memory != "192M" || s.Hardware.DiskBus != "sata" {
			t.Errorf("%+v", s.Hardware)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		r.must("VBoxManage unregistervm imp"+v+" --delete", "VBoxManage unregistervm again"+v+" --delete")
	}
}
