package virtualbox

import (
	"strings"
	"testing"

	hv "bake.build/bake/platforms/hypervisor"
)

// TestParseInfo reads lines as VirtualBox 7.0.10 prints them.
func TestParseInfo(t *testing.T) {
	got := parseInfo(strings.Join([]string{
		`name="odd \"name\" $x é"`, `Encryption:     disabled`, `UUID="ac87334e-9922-4ea3-bc71-4f665fd3462e"`, `memory=128`,
		`BIOS NVRAM File="/home/user/vms/vm1/vm1.nvram"`, `VMState="running"`, `"SATA-0-0"="/vms/vm1/Snapshots/{d8f54960}.vdi"`,
		`"SATA-2-0"="none"`, `uartmode1="file,/vms/console.log"`, `Forwarding(0)="ssh,tcp,127.0.0.1,2222,,22"`,
		`VideoMode="720,400,0"@0,0 1`, `GuestAdditionsFacility_Seamless Mode=0,1795870839573`, `SnapshotDescription="a = b"`, ``,
	}, "\n"))
	for key, want := range map[string]string{
		"name": `odd "name" $x é`, "UUID": "ac87334e-9922-4ea3-bc71-4f665fd3462e", "memory": "128",
		"BIOS NVRAM File": "/home/user/vms/vm1/vm1.nvram", "VMState": "running", "SATA-0-0": "/vms/vm1/Snapshots/{d8f54960}.vdi",
		"SATA-2-0": "none", "uartmode1": "file,/vms/console.log", "Forwarding(0)": "ssh,tcp,127.0.0.1,2222,,22",
		"VideoMode": "720,400,0", "GuestAdditionsFacility_Seamless Mode": "0,1795870839573", "SnapshotDescription": "a = b",
	} {
		if got[key] != want {
			t.Errorf("%s: %q, want %q", key, got[key], want)
		}
	}
	for state, running := range map[string]bool{"running": true, "paused": true, "stopping": true, "onlinesnapshotting": true, "poweroff": false, "aborted": false, "saved": false} {
		if (info{"VMState": state}).running() != running {
			t.Errorf("%s: running is %v", state, !running)
		}
	}
}

// TestParseVersion passes over a warning of VBoxManage's, and refuses what lacks options.
func TestParseVersion(t *testing.T) {
	const warning = "WARNING: The character device /dev/vboxdrv does not exist.\n\t Please install the virtualbox-dkms package.\n\n"
	for said, want := range map[string]string{
		"7.0.10r158379\n": "7.0.10r158379", warning + "7.0.10_Debianr158379\n": "7.0.10_Debianr158379", "7.2.4r170995\n": "7.2.4r170995",
		"6.1.50r161033\n": "want 7.0 or newer", "": "says", "what\n": `says "what"`,
	} {
		got, err := parseVersion(said)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}

// TestErrors finds the token and the locks in messages of VirtualBox 7.0.10.
func TestErrors(t *testing.T) {
	c := manager()
	for _, e := range []struct {
		reason, output, code string
		busy                 bool
	}{
		{"The machine 'run1' is already locked for a session (or being unlocked)", "VBoxManage: error: Details: code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap", "VBOX_E_INVALID_OBJECT_STATE", true},
		{"The machine 'par1' already has a lock request pending", "VBoxManage: error: Details: code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007)", "VBOX_E_INVALID_OBJECT_STATE", true},
		{"Cannot unregister the machine 'run1' while it is locked", "", "", true},
		{"Cannot take a snapshot of the virtual machine while it is changing state (machine state: Snapshotting)", "code VBOX_E_INVALID_VM_STATE (0x80bb0002), component SessionMachine", "VBOX_E_INVALID_VM_STATE", true},
		{"Medium '/x.vdi' is locked for writing by another task", "code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007)", "VBOX_E_INVALID_OBJECT_STATE", false},
		{"Code NS_ERROR_CALL_FAILED (0x800706BE) - Call to remote object failed", "VBoxManage: error: Code NS_ERROR_CALL_FAILED (0x800706BE) - Call to remote object failed (extended info not available)", "NS_ERROR_CALL_FAILED", false},
		{"The object is not ready", "VBoxManage: error: Details: code E_ACCESSDENIED (0x80070005), component MachineWrap", "E_ACCESSDENIED", false},
		{"Machine 'small' is not currently running.", "", "", false},
	} {
		if got := c.Code(e.output); got != e.code {
			t.Errorf("%s: code %q, want %q", e.reason, got, e.code)
		}
		if got := c.Busy(&hv.CallError{Reason: e.reason}); got != e.busy {
			t.Errorf("%s: busy is %v", e.reason, got)
		}
	}
	if err := c.Said(nil, "", "0%...10%...100%\n"); err != nil {
		t.Error(err)
	}
	const failed = "VBoxManage: error: Cannot discard the saved state as the machine is not in the Saved state\nVBoxManage: error: Details: code VBOX_E_INVALID_VM_STATE\n"
	if err := c.Said(nil, "", failed); err == nil || !strings.HasPrefix(err.Error(), "Cannot discard") {
		t.Errorf("a failure with exit code zero: %v", err)
	}
}

// TestPlace has all of a machine follow from its directory.
func TestPlace(t *testing.T) {
	a, b := placeOf("/store/tmp/virtualbox1"), placeOf("/store/tmp/virtualbox2")
	if a != placeOf("/store/tmp/virtualbox1") || a.id == b.id || a.uuid == b.uuid {
		t.Errorf("%+v, %+v", a, b)
	}
	if len(a.uuid) != 36 || a.uuid[14] != '4' || !strings.ContainsRune("89ab", rune(a.uuid[19])) {
		t.Errorf("%s is not a UUID", a.uuid)
	}
}
