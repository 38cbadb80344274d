package vmware

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/vmx"
	"bake.build/bake/platforms/desktop"
)

// TestParseLeases reads leases as VMware's DHCP server writes them: of one address again
// and again, with lines that nobody asked for.
func TestParseLeases(t *testing.T) {
	const text = `# All times in this file are in UTC (GMT), not your local timezone.
lease 172.16.86.128 {
	starts 3 2026/11/25 09:12:40;
	ends 3 2026/11/25 09:42:40;
	hardware ethernet 00:0c:29:aa:bb:01;
	uid 01:00:0c:29:aa:bb:01;
	client-hostname "old";
}
lease 172.16.86.129 {
	starts 3 2026/11/25 10:00:00;
	ends 3 2026/11/25 10:30:00;
	hardware ethernet 00:0c:29:AA:BB:02;
}
lease 172.16.86.130 {
	starts 3 2026/11/25 10:01:00;
	ends 3 2026/11/25 10:31:00;
	hardware ethernet 00:0c:29:aa:bb:02;
	client-hostname "web }";
}
lease 172.16.86.131 {
	starts 3 2026/11/25 10:02:00;
	ends 3 2026/11/25 10:32:00;
	hardware ethernet 00:0c:29:aa:bb:03;
}
lease 172.16.86.131 {
	starts 3 2026/11/25 10:03:00;
	ends 3 2026/11/25 10:33:00;
	hardware ethernet 00:0c:29:aa:bb:04;
}
`
	now := time.Date(2026, 11, 25, 10, 15, 0, 0, time.UTC)
	for mac, want := range map[string]string{
		"00:0c:29:aa:bb:01": "", // has expired
		"00:0c:29:aa:bb:02": "172.16.86.130",
		"00:0c:29:aa:bb:03": "", // another has its address by now
		"00:0C:29:AA:BB:04": "172.16.86.131",
		"00:0c:29:aa:bb:05": "",
	} {
		if got := parseLeases(text, mac, now); got != want {
			t.Errorf("%s has %q, want %q", mac, got, want)
		}
	}
	if got := parseLeases("lease {\nends never;\n}\n}\nlease", "", now); got != "" {
		t.Errorf("no lease gives %q", got)
	}
}

func TestParseList(t *testing.T) {
	got, err := parseList("Total running VMs: 2\r\nC:\\vms\\a b\\a.vmx\r\n/vms/b.vmx\r\n")
	if err != nil || len(got) != 2 || got[0] != `C:\vms\a b\a.vmx` || got[1] != "/vms/b.vmx" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := parseList("Total running VMs: 0\n"); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := parseList("Error: no license"); err == nil {
		t.Error("an error is taken for a list")
	}
}

// TestEncode says each key once, as VMware refuses a second one, and quotes what a
// definition may hold.
func TestEncode(t *testing.T) {
	dir := t.TempDir()
	v := &vm{h: &hypervisor{}, program: program{"ws", dir}, path: filepath.Join(dir, "m.vmx"), spec: desktop.Spec{
		Dir: dir, Name: "m", Hardware: hardware.Options{NIC: "virtio", DiskBus: "virtio", Serial: true, Firmware: "uefi"}.Described(true),
		Disks: []desktop.Disk{{Media: []string{filepath.Join(dir, "disk0-0.vmdk")}}, {Media: []string{filepath.Join(dir, "disk1-0.vmdk")}}},
		CDs:   []string{filepath.Join(dir, "seed.iso")}, Boot: []string{"disk", "cd"}, Console: filepath.Join(dir, `a"b.log`),
	}}
	text, err := v.encode()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range bytes.Lines(text) {
		key, _, _ := strings.Cut(string(line), " = ")
		if key = strings.ToLower(key); seen[key] {
			t.Errorf("%s is said twice", key)
		}
		seen[key] = true
	}
	keys, err := vmx.Keys(text)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"firmware": "efi", "scsi0.virtualdev": "lsilogic", "ethernet0.virtualdev": "e1000", "ethernet0.connectiontype": "nat",
		"ide1:0.startconnected": "FALSE", "bios.bootorder": "hdd,cdrom", "serial0.filename": filepath.Join(dir, `a"b.log`),
		"remotedisplay.vnc.ip": "127.0.0.1", "msg.autoanswer": "TRUE",
	} {
		if keys[key] != want {
			t.Errorf("%s is %q, want %q", key, keys[key], want)
		}
	}
	if err := os.WriteFile(v.path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := v.disks()
	if err != nil || len(files) != 2 || files[1] != filepath.Join(dir, "disk1-0.vmdk") {
		t.Errorf("the disks are %q, %v", files, err)
	}
}

func TestWithoutVMware(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := version(context.Background()); err == nil || err.Error() != "vmrun is not in PATH" {
		t.Errorf("got %v", err)
	}
}
