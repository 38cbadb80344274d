package export

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/ovf"
	"bake.build/bake/internal/vmx"
	"bake.build/bake/runtime/disk/drivers"
	"bake.build/bake/runtime/plan"
)

// writeDisk writes a disk with data, zeros and a hole.
func writeDisk(t *testing.T, path string) {
	t.Helper()
	data := make([]byte, 6<<20)
	for i := range 3 << 20 {
		data[i+1<<20] = byte(i * i >> 7)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 20<<20+512); err != nil {
		t.Fatal(err)
	}
}

// appliance exports the disk of writeDisk under a key.
func appliance(t *testing.T, key plan.Key, hardware, options string, formats ...string) Request {
	t.Helper()
	r := request(t, t.TempDir(), formats...)
	r.Op.Size, r.Key = 0, key
	r.Op.Hardware, r.Op.OVF = json.RawMessage(hardware), json.RawMessage(options)
	r.Disk = filepath.Join(t.TempDir(), "disk.raw")
	writeDisk(t, r.Disk)
	mustRun(t, r)
	return r
}

// sameDisk compares an image with the raw disk by qemu-img.
func sameDisk(t *testing.T, raw, format, path string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", format, raw, path).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", path, err, out)
	}
	if format == "qcow2" || format == "vhdx" {
		if out, err := exec.Command("qemu-img", "check", "-f", format, path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
	}
}

// digests returns the SHA-256 of every file below dir.
func digests(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ManifestName || d.Name() == SumsName {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		all[rel] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What describes a machine holds the disk, says what the definition says, and is the
// same for equal exports.
func TestAppliances(t *testing.T) {
	need.Tool(t, "qemu-img", "xz")
	formats := []string{"raw", "vmdk", "ova", "ovf", "vmx", "vhdx", "raw.gz", "raw.xz", "raw.zst", "vagrant-virtualbox", "vagrant-libvirt", "vagrant-vmware", "vagrant-hyperv"}
	const hardware = `{"cpus":3,"memory":"3G","guest_os":"debian12","firmware":"uefi"}`
	one := appliance(t, plan.Key{1}, hardware, `{"product":"Web"}`, formats...)
	again := appliance(t, plan.Key{1}, hardware, `{"product":"Web"}`, formats...)
	first, second := digests(t, one.OutDir), digests(t, again.OutDir)
	for name, digest := range first {
		if second[name] != digest {
			t.Errorf("%s of an equal export differs", name)
		}
	}
	raw := filepath.Join(one.OutDir, "web.raw")
	for _, path := range []string{"web.ova", "web-ovf/web.ovf"} {
		p, err := ovf.Open(filepath.Join(one.OutDir, path))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		m, err := p.Envelope.Machine()
		if err != nil {
			t.Fatal(err)
		}
		h := m.Hardware
		if h.CPUs != 3 || h.Memory != "3G" || h.GuestOS != "debian12" || h.Firmware != "uefi" || m.Product != "Web" || m.Disks[0].Capacity != 20<<20+512 {
			t.Errorf("%s: %+v", path, m)
		}
		disk := filepath.Join(t.TempDir(), "disk.vmdk")
		f, err := os.Create(disk)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Copy(t.Context(), f, m.Disks[0].File, nil); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		sameDisk(t, raw, "vmdk", disk)
	}
	text, err := os.ReadFile(filepath.Join(one.OutDir, "web.vmwarevm", "web.vmx"))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := vmx.Parse(text); err != nil || m.Hardware.CPUs != 3 || m.Disks[0].File != "web.vmdk" || m.Hardware.Firmware != "uefi" {
		t.Errorf("%+v, %v", m, err)
	}
	sameDisk(t, raw, "vmdk", filepath.Join(one.OutDir, "web.vmwarevm", "web.vmdk"))
	sameDisk(t, raw, "vhdx", filepath.Join(one.OutDir, "web.vhdx"))
	testPacked(t, one.OutDir)
	testBoxes(t, one.OutDir, raw)
}

// testPacked unpacks the compressed disks with the programs that users have.
func testPacked(t *testing.T, dir string) {
	need.Tool(t, "gzip", "zstd")
	want, err := os.ReadFile(filepath.Join(dir, "web.raw"))
	if err != nil {
		t.Fatal(err)
	}
	for name, cmd := range map[string][]string{
		"web.raw.gz": {"gzip", "-dc"}, "web.raw.xz": {"xz", "-dc"}, "web.raw.zst": {"zstd", "-dc"},
	} {
		got, err := exec.Command(cmd[0], append(cmd[1:], filepath.Join(dir, name))...).Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s holds another disk", name)
		}
	}
}

// TestGCE holds that the disk is one of whole GiB in the archive that Google takes.
func TestGCE(t *testing.T) {
	need.Slow(t) // a GiB is compressed, and unpacked
	need.Tool(t, "tar")
	r := appliance(t, plan.Key{1}, "", "", "raw", "gce")
	archive := filepath.Join(r.OutDir, "web-gce.tar.gz")
	if out, err := exec.Command("tar", "-tzf", archive).Output(); err != nil || string(out) != "disk.raw\n" {
		t.Errorf("tar lists %q: %v", out, err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xzSf", archive, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat(filepath.Join(dir, "disk.raw"))
	if err != nil || info.Size() != 1<<30 {
		t.Fatalf("%v, %v", info, err)
	}
	// What the smaller disk lacks has to be zeros.
	sameDisk(t, filepath.Join(r.OutDir, "web.raw"), "raw", filepath.Join(dir, "disk.raw"))
}

// testBoxes looks into the boxes.
func testBoxes(t *testing.T, dir, raw string) {
	t.Helper()
	for _, c := range []struct{ file, metadata, disk, format, other, text string }{
		{"web-virtualbox.box", `"provider": "virtualbox"`, "box-disk001.vmdk", "vmdk", "box.ovf", `<Firmware type="EFI"/>`},
		{"web-libvirt.box", `"virtual_size": 1`, "box.img", "qcow2", "Vagrantfile", "libvirt.cpus = 3"},
		{"web-vmware.box", `"provider": "vmware_desktop"`, "box.vmdk", "vmdk", "box.vmx", `memsize = "3072"`},
		{"web-hyperv.box", `"provider": "hyperv"`, "Virtual Hard Disks/box.vhdx", "vhdx", "Virtual Machines/box.xml", `<count type="integer">3</count>`},
	} {
		members := unpackBox(t, filepath.Join(dir, c.file))
		if text := members["metadata.json"]; !strings.Contains(text, c.metadata) || !strings.Contains(text, `"architecture"`) {
			t.Errorf("%s: metadata.json is %q", c.file, text)
		}
		if !strings.Contains(members[c.other], c.text) || !strings.Contains(members["Vagrantfile"], `Vagrant.configure("2")`) {
			t.Errorf("%s: %q is not in %q", c.file, c.text, members[c.other])
		}
		disk := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(disk, []byte(members[c.disk]), 0o600); err != nil {
			t.Fatal(err)
		}
		sameDisk(t, raw, c.format, disk)
	}
	// Vagrant's own MAC address is that of the machine.
	box := unpackBox(t, filepath.Join(dir, "web-virtualbox.box"))
	m := regexp.MustCompile(`base_mac = "([0-9A-F]{12})"`).FindStringSubmatch(box["Vagrantfile"])
	if m == nil || !strings.Contains(strings.ToUpper(box["box.ovf"]), `MACADDRESS="`+m[1]) {
		t.Errorf("the address of %q is not in the descriptor", box["Vagrantfile"])
	}
}

func unpackBox(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	members := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return members
		} else if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		members[h.Name] = string(b)
	}
}

// TestVagrant has Vagrant itself add the boxes.
func TestVagrant(t *testing.T) {
	need.Slow(t)
	need.Tool(t, "vagrant", "qemu-img")
	r := appliance(t, plan.Key{1}, "", "", "vagrant-virtualbox", "vagrant-libvirt")
	home := t.TempDir()
	for _, provider := range []string{"virtualbox", "libvirt"} {
		cmd := exec.Command("vagrant", "box", "add", "--name", "web", filepath.Join(r.OutDir, "web-"+provider+".box"))
		cmd.Env = append(os.Environ(), "VAGRANT_HOME="+home, "VAGRANT_CHECKPOINT_DISABLE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", provider, err, out)
		}
	}
	boxes, err := filepath.Glob(filepath.Join(home, "boxes", "web", "0", "*"))
	if err != nil || len(boxes) != 2 {
		t.Errorf("Vagrant has %q, %v", boxes, err)
	}
}

// No two files share an identifier, and another export has others.
func TestApplianceIdentifiers(t *testing.T) {
	need.Tool(t, "qemu-img")
	forms := map[string]*regexp.Regexp{}
	for name, form := range map[string]string{
		"CID": `\nCID=([0-9a-f]{8})\n`, "UUID": `ddb\.uuid\.image = "([0-9a-f-]{36})"`, "disk": `vbox:uuid="([0-9a-f-]{36})"`,
		"machine": `<vbox:Machine[^>]* uuid="\{([0-9a-f-]{36})\}`, "BIOS": `uuid\.bios = "([0-9a-f -]+)"`, "MAC": `MACAddress="([0-9A-Fa-f]{12})"`,
	} {
		forms[name] = regexp.MustCompile(form)
	}
	seen := map[string]string{}
	for key := range 2 {
		r := appliance(t, plan.Key{byte(key + 1)}, "", "", "vmdk", "ova", "ovf", "vmx", "vhdx", "vagrant-virtualbox", "vagrant-hyperv")
		for name := range digests(t, r.OutDir) {
			b, err := os.ReadFile(filepath.Join(r.OutDir, name))
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]bool{}
			for what, form := range forms {
				for _, m := range form.FindAllSubmatch(b, -1) {
					found[what+" "+string(m[1])] = true
				}
			}
			if strings.HasSuffix(name, ".vhdx") {
				found[fmt.Sprintf("VHDX %x", b[vhdxHeader1+16:vhdxHeader1+48])] = true
			}
			for id := range found {
				if where, ok := seen[id]; ok {
					t.Errorf("%s of %s is that of %s", id, name, where)
				}
				seen[id] = fmt.Sprint(name, " of export ", key)
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("found %d identifiers", len(seen))
	}
}

// The drivers that are looked for are those of what the descriptor says.
func TestDriversOfDescriptor(t *testing.T) {
	for hardware, want := range map[string][2]string{
		"": {"SATA", "e1000"}, `{"disk_bus":"pvscsi","nic":"vmxnet3"}`: {"paravirtual SCSI", "vmxnet3"}, `{"disk_bus":"scsi","nic":"e1000e"}`: {"LSI Logic SCSI", "e1000e"},
	} {
		op := &Op{Name: "web", Formats: []string{"ova", "vmdk"}, Hardware: json.RawMessage(hardware)}
		uses := op.uses([]Format{ova, vmdkStream})
		h := uses[0].Hypervisor
		if h.Disks[0].Name != want[0] || h.Cards[0].Name != want[1] || len(h.Disks) != len(drivers.VMware.Disks) {
			t.Errorf("%s: %+v", hardware, h)
		}
		if uses[1].Hypervisor.Disks[0].Name != drivers.VMware.Disks[0].Name {
			t.Errorf("a disk without a descriptor: %+v", uses[1])
		}
	}
}

// TestSignedPackages signs both forms of a package with a key that only a secret tells.
func TestSignedPackages(t *testing.T) {
	need.Tool(t, "openssl")
	dir := t.TempDir()
	cmd := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=release", "-keyout", "key", "-out", "cert")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	certificate, err := os.ReadFile(filepath.Join(dir, "cert"))
	if err != nil {
		t.Fatal(err)
	}
	r := request(t, dir, "ova", "ovf")
	r.Op.Size, r.Op.Certificate, r.Op.SigningKey = 0, string(certificate), "release-key"
	r.Disk = filepath.Join(dir, "disk.raw")
	writeDisk(t, r.Disk)
	r.Secrets = func(name string) ([]byte, error) {
		if name != "release-key" {
			return nil, fmt.Errorf("the secret %s is asked for", name)
		}
		return os.ReadFile(filepath.Join(dir, "key"))
	}
	mustRun(t, r)
	for _, path := range []string{"web.ova", "web-ovf/web.ovf"} {
		p, err := ovf.Open(filepath.Join(r.OutDir, path))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if !p.Has("web.cert") {
			t.Errorf("%s: is not signed", path)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	signature, err := os.ReadFile(filepath.Join(r.OutDir, "web-ovf", "web.cert"))
	if err != nil {
		t.Fatal(err)
	}
	signature[len("SHA256(web.mf)= ")] ^= 1 // 0 and 1, 2 and 3, …
	if err := os.WriteFile(filepath.Join(r.OutDir, "web-ovf", "web.cert"), signature, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ovf.Open(filepath.Join(r.OutDir, "web-ovf", "web.ovf")); err == nil || !strings.Contains(err.Error(), "web.cert") {
		t.Errorf("a changed signature: %v", err)
	}
}
