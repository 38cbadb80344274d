package ovf

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
)

// A file is a member of an OVA that a test makes.
type file struct {
	name, data string
}

func archive(t testing.TB, format tar.Format, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data)), Format: format}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func openBytes(t testing.TB, data []byte) (*Package, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.ova")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := Open(path)
	if err == nil {
		t.Cleanup(func() { p.Close() })
	}
	return p, err
}

func sum(name, data string) string {
	s := sha256.Sum256([]byte(data))
	return fmt.Sprintf("SHA256(%s)= %s\n", name, hex.EncodeToString(s[:]))
}

// descriptor09 is as VMware's first converter wrote them: sections by type, InstanceId,
// a compressed disk, and several disks in an order of their own.
const descriptor09 = `<?xml version="1.0" encoding="UTF-8"?>
<ovf:Envelope xmlns:ovf="http://www.vmware.com/schema/ovf/1/envelope" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ovf:version="0.9">
 <References>
  <File ovf:id="f1" ovf:href="a.vmdk.gz" ovf:compression="gzip"/>
  <File ovf:id="f2" ovf:href="b.vmdk" ovf:chunkSize="4"/>
 </References>
 <Section xsi:type="ovf:DiskSection_Type">
  <Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="8589934592"/>
  <Disk ovf:diskId="d2" ovf:fileRef="f2" ovf:capacity="2" ovf:capacityAllocationUnits="byte * 2^30"/>
  <Disk ovf:diskId="d3" ovf:capacity="1" ovf:capacityAllocationUnits="GigaBytes"/>
 </Section>
 <Content xsi:type="ovf:VirtualSystem_Type" ovf:id="old">
  <Section xsi:type="ovf:OperatingSystemSection_Type" ovf:id="80"><Info>x</Info></Section>
  <Section xsi:type="ovf:VirtualHardwareSection_Type">
   <Item><rasd:Caption>cpu</rasd:Caption><rasd:InstanceId>1</rasd:InstanceId><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>4</rasd:VirtualQuantity></Item>
   <Item><rasd:AllocationUnits>GigaBytes</rasd:AllocationUnits><rasd:InstanceId>2</rasd:InstanceId><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>3</rasd:VirtualQuantity></Item>
   <Item><rasd:InstanceId>3</rasd:InstanceId><rasd:ResourceType>6</rasd:ResourceType><rasd:ResourceSubType>lsilogic</rasd:ResourceSubType></Item>
   <Item><rasd:InstanceId>6</rasd:InstanceId><rasd:ResourceType>17</rasd:ResourceType><rasd:Parent>3</rasd:Parent><rasd:AddressOnParent>2</rasd:AddressOnParent><rasd:HostResource>disk/d3</rasd:HostResource></Item>
   <Item><rasd:InstanceId>5</rasd:InstanceId><rasd:ResourceType>17</rasd:ResourceType><rasd:Parent>3</rasd:Parent><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>ovf://disk/d2</rasd:HostResource></Item>
   <Item><rasd:InstanceId>4</rasd:InstanceId><rasd:ResourceType>17</rasd:ResourceType><rasd:Parent>3</rasd:Parent><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>/disk/d1</rasd:HostResource></Item>
   <Item><rasd:InstanceId>7</rasd:InstanceId><rasd:ResourceType>10</rasd:ResourceType><rasd:ResourceSubType>PCNet32</rasd:ResourceSubType><rasd:Connection>bridged</rasd:Connection></Item>
  </Section>
 </Content>
</ovf:Envelope>`

// TestCompressedBomb has a compressed disk hold more than its descriptor speaks of.
func TestCompressedBomb(t *testing.T) {
	text := strings.NewReplacer("8589934592", "1048576", "disk/d3", "ovf:/disk/d3").Replace(descriptor09)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	for range 80 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := openBytes(t, archive(t, tar.FormatUSTAR, file{"old.ovf", text}, file{"a.vmdk.gz", z.String()}, file{"b.vmdk.000000000", "abcd"}))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = p.Copy(context.Background(), &b, "a.vmdk.gz", nil)
	if err == nil || !strings.Contains(err.Error(), "more than the disk") || b.Len() > 70<<20 {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
}

// OVAs as other programs write them: compressed, in chunks, the descriptor last, the
// manifest first, headers of every kind, names with "./".
func TestForeign(t *testing.T) {
	text := strings.Replace(descriptor09, "disk/d3", "ovf:/disk/d3", 1)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	fmt.Fprint(w, "first disk")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files := []file{
		{"b.vmdk.000000001", "efgh"}, {"b.vmdk.000000000", "abcd"}, {"b.vmdk.000000002", "i"},
		{"old.mf", sum("old.ovf", text) + sum("a.vmdk.gz", z.String()) + sum("b.vmdk.000000000", "abcd") + sum("b.vmdk.000000001", "efgh") + sum("b.vmdk.000000002", "i")},
		{"a.vmdk.gz", z.String()}, {"readme.txt", "more"}, {"./old.ovf", text},
	}
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatGNU, tar.FormatPAX} {
		p, err := openBytes(t, archive(t, format, files...))
		if err != nil {
			t.Fatalf("%v: %v", format, err)
		}
		m, err := p.Envelope.Machine()
		if err != nil {
			t.Fatal(err)
		}
		want := hardware.Options{CPUs: 4, Memory: "3G", GuestOS: "rhel7", Firmware: "bios", DiskBus: "lsilogic", NIC: "pcnet", Network: "bridged"}
		if m.Hardware != want || m.Name != "old" || len(m.Disks) != 3 {
			t.Errorf("%v: %+v", format, m)
		}
		for i, want := range []struct {
			data     string
			capacity int64
		}{{"first disk", 8 << 30}, {"abcdefghi", 2 << 30}, {"", 1 << 30}} {
			d := m.Disks[i]
			var b bytes.Buffer
			if d.File != "" {
				if err := p.Copy(context.Background(), &b, d.File, nil); err != nil {
					t.Error(err)
				}
			}
			if b.String() != want.data || d.Capacity != want.capacity {
				t.Errorf("disk %d: %q, %+v", i, b.String(), d)
			}
		}
	}
}

// A descriptor with deployment options, bounds and properties, as VMware's appliances
// have them.
func TestDeploymentOptions(t *testing.T) {
	text := `<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
<References/><DeploymentOptionSection><Info/><Configuration ovf:id="small"/><Configuration ovf:id="large" ovf:default="true"/></DeploymentOptionSection>
<VirtualSystemCollection ovf:id="c"><VirtualSystem ovf:id="vm"><Info/><Name>appliance</Name>
<OperatingSystemSection ovf:id="101" vmw:osType="vmwarePhoton64Guest"><Info/></OperatingSystemSection>
<ProductSection><Info/><Property ovf:key="ip" ovf:type="string" ovf:value="10.0.0.1"/></ProductSection>
<VirtualHardwareSection ovf:transport="com.vmware.guestInfo iso"><Info/><System><VirtualSystemType>vmx-13 vmx-15</VirtualSystemType></System>
<Item ovf:configuration="small"><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>
<Item ovf:configuration="large"><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>8</rasd:VirtualQuantity></Item>
<Item ovf:bound="max"><rasd:InstanceID>0</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>99</rasd:VirtualQuantity></Item>
<Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>2048</rasd:VirtualQuantity></Item>
<Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>10</rasd:ResourceType><rasd:ResourceSubType>VmxNet3 E1000</rasd:ResourceSubType><rasd:Connection>VM Network</rasd:Connection></Item>
<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/><vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="true"/>
</VirtualHardwareSection></VirtualSystem></VirtualSystemCollection></Envelope>`
	e, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	m, err := e.Machine()
	if err != nil {
		t.Fatal(err)
	}
	want := hardware.Options{CPUs: 8, Memory: "2G", GuestOS: "photon", Firmware: "uefi", SecureBoot: true, NIC: "vmxnet3", Network: "VM Network", HardwareVersion: 15}
	if m.Hardware != want || m.Name != "appliance" || m.Properties["ip"] != "10.0.0.1" || len(m.Transport) != 2 {
		t.Errorf("%+v", m)
	}
}

// What is damaged, or would lead bake to other files, is refused with the reason.
func TestDamaged(t *testing.T) {
	m := machine(hardware.Options{}, Options{})
	m.Disks[0].Size = 4
	good, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	text := string(good)
	disk := file{"web-disk1.vmdk", "disk"}
	manifest := file{"web.mf", sum("web.ovf", text) + sum(disk.name, disk.data)}
	whole := archive(t, tar.FormatUSTAR, file{"web.ovf", text}, manifest, disk)
	of := func(files ...file) []byte { return archive(t, tar.FormatUSTAR, files...) }
	edit := func(old, new string) []byte {
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in the descriptor", old)
		}
		return of(file{"web.ovf", strings.Replace(text, old, new, 1)}, disk)
	}
	link := func(kind byte) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		w.WriteHeader(&tar.Header{Name: "web-disk1.vmdk", Typeflag: kind, Linkname: "/etc/shadow"})
		return append(b.Bytes(), of(file{"web.ovf", text})...)
	}
	const emptyItem = `<Item><InstanceID>9</InstanceID><ResourceType>17</ResourceType><Parent>3</Parent><VirtualQuantity>1</VirtualQuantity></Item>`
	const diskItem = `<Item><InstanceID>9</InstanceID><ResourceType>17</ResourceType><Parent>3</Parent><HostResource>ovf:/disk/vmdisk1</HostResource></Item>`
	bomb := `<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>`
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"whole", "", whole},
		{"no manifest", "", of(file{"web.ovf", text}, disk)},
		{"empty file", "is not an OVA", nil},
		{"text", "is neither an OVA nor an OVF descriptor", []byte(strings.Repeat("hello ", 200))},
		{"html", "is a html, and not an Envelope", []byte("<html></html>")},
		{"no descriptor", "has no file with the end .ovf", of(disk)},
		{"two descriptors", "has two descriptors, b.ovf and web.ovf", of(file{"web.ovf", text}, file{"b.ovf", text}, disk)},
		{"two members", `has two members called "web-disk1.vmdk"`, of(file{"web.ovf", text}, disk, disk)},
		{"cut in the disk", "is cut short", whole[:len(whole)-3*512]},
		{"cut in a header", "is cut short", whole[:700]},
		{"missing disk", "does not have it", of(file{"web.ovf", text})},
		{"other size", "web-disk1.vmdk has 5 bytes, and the descriptor says 4", of(file{"web.ovf", text}, file{disk.name, "disk!"})},
		{"digest of the descriptor", "web.ovf: has the SHA256 ", of(file{"web.ovf", text + " "}, manifest, disk)},
		{"digest of nothing", "the manifest names web-disk1.vmdk, and the package does not have it", of(file{"web.ovf", text}, manifest)},
		{"disk without a digest", "the manifest has no digest of web-disk1.vmdk", of(file{"web.ovf", text}, file{"web.mf", sum("web.ovf", text)}, disk)},
		{"descriptor without a digest", "the manifest has no digest of web.ovf", of(file{"web.ovf", text}, file{"web.mf", sum(disk.name, disk.data)}, disk)},
		{"manifest", "line 1 of the manifest is not a digest", of(file{"web.ovf", text}, file{"web.mf", "hello"}, disk)},
		{"short digest", "a SHA256 has not 4 digits", of(file{"web.ovf", text}, file{"web.mf", "SHA256(web.ovf)= abcd"}, disk)},
		{"symbolic link", `the member "web-disk1.vmdk" is not a regular file`, link(tar.TypeSymlink)},
		{"hard link", "is not a regular file", link(tar.TypeLink)},
		{"device", "is not a regular file", link(tar.TypeChar)},
		{"path that escapes", `the file "../../evil.vmdk" is outside of the package`, of(file{"web.ovf", text}, file{"../../evil.vmdk", "x"})},
		{"href that escapes", `the file "../web-disk1.vmdk" is outside of the package`, edit("web-disk1.vmdk", "../web-disk1.vmdk")},
		{"absolute href", `the file "/etc/shadow" is outside`, edit("web-disk1.vmdk", "/etc/shadow")},
		{"drive", `is outside of the package`, edit("web-disk1.vmdk", `C:\disk`)},
		{"remote href", "is elsewhere", edit("web-disk1.vmdk", "https://example.org/disk.vmdk")},
		{"entities", "document type declaration", edit("<Envelope", bomb+"<Envelope")},
		{"unknown entity", "line 2 of the descriptor", edit("<Envelope", "<Envelope x=\"&b;\"")},
		{"malformed", "of the descriptor: element <", edit("</VirtualSystem>", "")},
		{"unquoted", "of the descriptor", edit(`ovf:id="web"`, "ovf:id=web")},
		{"empty envelope", "the envelope is empty", []byte(`<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"/>`)},
		{"no hardware", "has no hardware", []byte(`<Envelope><VirtualSystem id="x"/></Envelope>`)},
		{"unknown file", "which References does not have", edit(`ovf:fileRef="file1"`, `ovf:fileRef="nothing"`)},
		{"unknown disk", "is not in the DiskSection", edit("ovf:/disk/vmdisk1", "ovf:/disk/nothing")},
		{"unknown controller", "hangs on the controller", edit("<rasd:Parent>3<", "<rasd:Parent>77<")},
		{"delta", "is the difference to another one", edit(`ovf:diskId="vmdisk1"`, `ovf:diskId="vmdisk1" ovf:parentRef="x"`)},
		{"capacity", "capacity: ", edit(`ovf:capacity="1048576"`, `ovf:capacity="-5"`)},
		{"large capacity", "more than any machine has", edit(`capacityAllocationUnits="byte"`, `capacityAllocationUnits="byte * 2^60"`)},
		{"units", "is not one of bytes", edit("MegaBytes", "parsecs")},
		{"CPUs", "makes no sense", edit("<rasd:VirtualQuantity>2<", "<rasd:VirtualQuantity>none<")},
		{"more CPUs than any", `the number of CPUs, "2000000000", makes no sense`, edit("<rasd:VirtualQuantity>2<", "<rasd:VirtualQuantity>2000000000<")},
		{"more memory than any", `the memory, "4398046511103", makes no sense`, edit("<rasd:VirtualQuantity>2048<", "<rasd:VirtualQuantity>4398046511103<")},
		{"memory that overflows", "more than any machine has", edit("<rasd:VirtualQuantity>2048<", "<rasd:VirtualQuantity>9223372036854775807<")},
		{"no memory", `the memory, "0", makes no sense`, edit("<rasd:VirtualQuantity>2048<", "<rasd:VirtualQuantity>0<")},
		{"negative memory", `"-5" is not a number`, edit("<rasd:VirtualQuantity>2048<", "<rasd:VirtualQuantity>-5<")},
		{"a disk twice", "the disk in web-disk1.vmdk is attached twice", edit("</VirtualHardwareSection>", diskItem+"</VirtualHardwareSection>")},
		{"many disks", "more than 256 disks", edit("</VirtualHardwareSection>", strings.Repeat(emptyItem, 256)+"</VirtualHardwareSection>")},
		{"depth", "more elements than any descriptor", []byte(strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100))},
		{"count", "more elements than any descriptor", []byte("<a>" + strings.Repeat("<b/>", maxElements) + "</a>")},
		{"compression", `is compressed with "xz"`, edit(`ovf:id="file1"`, `ovf:id="file1" ovf:compression="xz"`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := openBytes(t, c.data)
			if err == nil {
				_, err = p.Envelope.Machine()
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	t.Run("disk digest", func(t *testing.T) {
		p, err := openBytes(t, of(file{"web.ovf", text}, manifest, file{disk.name, "disc"}))
		if err != nil {
			t.Fatal(err)
		}
		err = p.Copy(context.Background(), new(bytes.Buffer), disk.name, nil)
		if err == nil || !strings.Contains(err.Error(), "web-disk1.vmdk: has the SHA256 ") {
			t.Error(err)
		}
	})
}

// A link beside a descriptor is not followed.
func TestFolderLink(t *testing.T) {
	m := machine(hardware.Options{}, Options{})
	m.Disks[0].Size = 4
	text, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "web.ovf"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("disk"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "web-disk1.vmdk")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(dir, "web.ovf")); err == nil || !strings.Contains(err.Error(), "does not have it") {
		t.Error(err)
	}
}

// Readers by other hands take what bake writes: DMTF's schema, and virt-v2v.
func TestReaders(t *testing.T) {
	need.Tool(t, "xmllint")
	for name, m := range map[string]*Machine{
		"generic 1.0": machine(hardware.Options{GuestOS: "debian12"}, Options{}),
		"vmware 1.1": machine(hardware.Options{Firmware: "uefi", SecureBoot: true, TPM: true, Serial: true, DiskBus: "pvscsi", NIC: "vmxnet3"},
			Options{Version: "1.1", Flavor: VMware, Product: "Web", EULA: "none", Annotation: "a", Properties: map[string]string{"a": "b"}}),
	} {
		text, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("xmllint", "--nonet", "--noout", "--schema", filepath.Join("testdata", "schema", "dsp8023_1.1.1.xsd"), "-")
		cmd.Stdin = bytes.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	need.Tool(t, "virt-v2v", "qemu-img")
	dir := t.TempDir()
	raw, vmdk := filepath.Join(dir, "a.raw"), filepath.Join(dir, "a.vmdk")
	if err := os.WriteFile(raw, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, vmdk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(vmdk)
	if err != nil {
		t.Fatal(err)
	}
	m := machine(hardware.Options{CPUs: 3, Memory: "4G", Firmware: "uefi", DiskBus: "sata", NIC: "e1000e", Network: "lan"}, Options{})
	path := writeOVA(t, m, data)
	cmd := exec.Command("virt-v2v", "-i", "ova", path, "--print-source")
	cmd.Env = append(os.Environ(), "LIBGUESTFS_BACKEND=direct")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"source name: web", "memory: 4294967296", "vCPUs: 3", "firmware: uefi", "0 [sata]", `Bridge "lan" [e1000e]`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("virt-v2v does not say %q: %s", want, out)
		}
	}
	if strings.Contains(string(out), "warning") {
		t.Errorf("virt-v2v warns: %s", out)
	}
}

func FuzzParse(f *testing.F) {
	m := machine(hardware.Options{}, Options{Properties: map[string]string{"a": "b"}})
	for _, flavor := range []string{Generic, VMware, VirtualBox} {
		m.Flavor = flavor
		text, err := m.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(descriptor09))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := Parse(text)
		if err != nil {
			return
		}
		for _, file := range e.Files {
			if !filepath.IsLocal(file.Name) {
				t.Errorf("the name %q leads out", file.Name)
			}
		}
		for _, s := range e.Systems {
			for _, d := range s.Disks {
				if d.File != "" && !filepath.IsLocal(d.File) || d.Capacity < 0 {
					t.Errorf("%+v", d)
				}
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(sum("a.ovf", "x")))
	f.Add([]byte("SHA1 (a b.vmdk) = da39a3ee5e6b4b0d3255bfef95601890afd80709\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(text)
		if err != nil {
			return
		}
		for name := range m {
			if !filepath.IsLocal(name) {
				t.Errorf("the name %q leads out", name)
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	m := machine(hardware.Options{}, Options{})
	m.Disks[0].Size = 4
	text, err := m.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(archive(f, tar.FormatUSTAR, file{"web.ovf", string(text)}, file{"web-disk1.vmdk", "disk"}))
	path := filepath.Join(f.TempDir(), "x.ova")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := Open(path)
		if err != nil {
			return
		}
		defer p.Close()
		for _, file := range p.Envelope.Files {
			p.Copy(context.Background(), new(bytes.Buffer), file.Name, nil) // which must not panic
		}
	})
}
