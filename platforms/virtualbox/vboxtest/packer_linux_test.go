package vboxtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"bake.build/bake/internal/need"
)

// template goes back to a snapshot of a machine, types, and keeps what comes of it as
// another snapshot.
const template = `{"builders": [{
	"type": "virtualbox-vm", "vm_name": "run", "attach_snapshot": "one", "target_snapshot": "two",
	"communicator": "none", "guest_additions_mode": "disable", "headless": true, "skip_export": true, "keep_registered": true,
	"boot_wait": "2s", "virtualbox_version_file": "", "boot_keygroup_interval": "100ms", "boot_command": ["Hi<wait>A<wait2s>"]
}]}`

// TestPacker has Packer, which knows VirtualBox and not the stand-in, build on it.
func TestPacker(t *testing.T) {
	need.Slow(t)
	need.Tool(t, "packer")
	r := newReplay(t)
	r.bootDisk()
	for key, value := range map[string]string{"CHECKPOINT_DISABLE": "1", "PACKER_CACHE_DIR": filepath.Join(r.home, "cache")} {
		t.Setenv(key, value)
	}
	disk, console := filepath.Join(r.home, "vms", "run", "run.vdi"), filepath.Join(r.home, "console")
	r.must("VBoxManage createvm --name run --ostype Linux_64 --register --basefolder "+r.home+"/vms",
		"VBoxManage convertfromraw boot.raw "+disk,
		"VBoxManage modifyvm run --memory 64 --uart1 0x3f8 4 --uartmode1 file "+console+" --boot1 disk",
		"VBoxManage storagectl run --name SATA --add sata",
		"VBoxManage storageattach run --storagectl SATA --port 0 --device 0 --type hdd --medium "+disk,
		"VBoxManage snapshot run take one")
	path := filepath.Join(r.home, "template.json")
	if err := os.WriteFile(path, []byte(template), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("packer", "build", "-color=false", path)
	cmd.Dir = r.home
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	await(t, console, "BOOTED\nHiA")
	list, _, _ := r.run("VBoxManage snapshot run list --machinereadable")
	if !regexp.MustCompile(`(?m)^CurrentSnapshotName="two"$`).MatchString(list) {
		t.Errorf("the snapshots are\n%s", list)
	}
	// The medium that the second snapshot has frozen is the parent of the one in use.
	info, _, _ := r.run("VBoxManage showvminfo run --machinereadable")
	top := regexp.MustCompile(`"SATA-ImageUUID-0-0"="(.*)"`).FindStringSubmatch(info)
	if top == nil {
		t.Fatalf("no disk:\n%s", info)
	}
	said, _, _ := r.run("VBoxManage showmediuminfo " + top[1])
	parent := regexp.MustCompile(`Parent UUID: *(.*)`).FindStringSubmatch(said)
	if parent == nil {
		t.Fatalf("no parent:\n%s", said)
	}
	frozen := filepath.Join(r.home, "vms", "run", "Snapshots", "{"+parent[1]+"}.vdi")
	if got := second(t, disk, frozen); got != "A" {
		t.Errorf("the machine has written %q", got)
	}
	if got := second(t, disk); got != "\x00" {
		t.Errorf("the first snapshot has %q", got)
	}
}
