package vboxtest

import "testing"

// TestTranscriptOfAppliances replays exports and imports.
func TestTranscriptOfAppliances(t *testing.T) {
	r := newReplay(t)
	r.must("VBoxManage setproperty machinefolder "+r.home+"/vms",
		"VBoxManage createvm --name small --ostype Debian_64 --register --basefolder "+r.home+"/vms",
		"VBoxManage modifyvm small --natpf1 ssh,tcp,127.0.0.1,2222,,22 --macaddress1 080027AABBCC --audio-enabled off --uart1 0x3f8 4 --graphicscontroller vmsvga --boot1 disk --boot2 none --boot3 none --boot4 none",
		"head -c 9000000 /dev/urandom >d64.raw && truncate -s 64M d64.raw && VBoxManage convertfromraw d64.raw "+r.home+"/vms/small/small.vdi",
		"VBoxManage storagectl small --name SATA --add sata --portcount 2",
		"VBoxManage storageattach small --storagectl SATA --port 0 --device 0 --type hdd --medium "+r.home+"/vms/small/small.vdi")
	two, machine := "one machine is exported and imported", "the descriptor has no section of VirtualBox' own"
	r.play("04-ova.txt", map[string][]string{
		"VBoxManage export small --output nomac.ova": {"mkdir ovfdir", "VBoxManage export small --output ovfdir/small.ovf --ovf10"},
	}, map[string]string{
		":40": "its folder is made later here", ":91": two, ":340": two, ":649": two, ":670": "other tests made some of them",
		"VBoxManage unregistervm twoA --delete": two, "VBoxManage unregistervm twoB --delete": two,
		"VBoxManage showvminfo imp10 --machinereadable": machine, "VBoxManage showvminfo imp20 --machinereadable": machine,
		"VBoxManage import small-10.ova --vsys 3 --eula accept": "the text of the usage is left out",
	})
}
