package openstack

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/members"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testopenstack"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/publish"
)

// The tests of these files run against the services of OpenStack as Debian has them.

// A world is the cloud with a driver on it.
type world struct {
	*testing.T
	cloud  *testopenstack.Cloud
	host   *platformtest.Host
	driver *driver
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	w := &world{T: t, cloud: cloud.Get(t), host: newHost(t)}
	w.host.ProjectID = "acme/" + strings.ToLower(t.Name())
	w.host.BuildID = newToken()
	w.driver = openAt(t, w.host, w.cloud.URL, change...)
	t.Cleanup(w.clean)
	return w
}

// clean removes the images of the test's project, and wants nothing to be left.
func (w *world) clean() {
	if left := w.host.Left(); len(left) > 0 {
		w.Errorf("left in the ledger: %v", left)
	}
	for _, region := range []string{testopenstack.Region, testopenstack.Second} {
		list, err := w.driver.own(w.T.Context(), region, images.ListOpts{}, map[string]string{publish.Project: w.host.Project()})
		if err != nil && w.T.Context().Err() == nil {
			w.Error(err)
		}
		for _, i := range list {
			if strings.HasPrefix(i.Name, "bake-upload-") {
				w.Errorf("left: the image %s, %s", i.Name, i.Status)
			}
		}
	}
}

// disk makes a disk of 64 MiB with data of its own, in a format of qemu-img.
func (w *world) disk(seed byte, format string) (path string, raw []byte) {
	w.Helper()
	raw = make([]byte, 64<<20)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(raw[1<<20 : 9<<20]) // never fails
	file := filepath.Join(w.TempDir(), "disk.raw")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		w.Fatal(err)
	}
	if format == "raw" {
		return file, raw
	}
	need.Tool(w.T, "qemu-img")
	path = file + "." + format
	if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", format, file, path).CombinedOutput(); err != nil {
		w.Fatalf("%v: %s", err, out)
	}
	return path, raw
}

func (w *world) publish(p platforms.Publication, disk string) ([]platforms.Registered, string) {
	w.Helper()
	out := &platformtest.Log{}
	found, err := w.driver.Publish(w.Context(), p, platforms.ImageSource{Disk: disk}, out)
	if err != nil {
		w.Fatalf("%v\n%s", err, out.String())
	}
	if left := w.host.Left(); len(left) > 0 {
		w.Errorf("left in the ledger: %v", left)
	}
	return found, out.String()
}

func (w *world) get(r platforms.Registered) image {
	w.Helper()
	i, err := w.driver.image(w.Context(), r.Place, r.ID)
	if err != nil || i == nil {
		w.Fatalf("the image %s: %v", r.ID, err)
	}
	return *i
}

// TestPublish registers a disk in two regions, one of which takes no imports, changes what
// can be changed, and reads it back.
func TestPublish(t *testing.T) {
	w := newWorld(t)
	disk, raw := w.disk(1, "raw")
	o := Publication{
		Regions: []string{testopenstack.Second}, Visibility: "shared", Members: []string{"0123456789abcdef0123456789abcdef"}, Hidden: true, MinRAM: "512M",
		Labels: []string{"web", "front"}, Properties: map[string]string{"team": "images", "hw_rng_model": "virtio"}, GuestAgent: true,
		Hardware: &hardware.Options{DiskBus: "scsi", NIC: "virtio", GuestOS: "debian12", SecureBoot: true, TPM: true},
	}
	p := publication("abc", o)
	if err := w.driver.CheckPublish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, why, err := w.driver.Published(t.Context(), p); err != nil || why == "" {
		t.Errorf("before: %q, %v", why, err)
	}
	found, log := w.publish(p, disk)
	if len(found) != 2 || found[0].Place != testopenstack.Region || found[1].Place != testopenstack.Second || found[0].Name != found[1].Name || !strings.HasPrefix(found[0].Name, "web-") {
		t.Fatalf("found %+v\n%s", found, log)
	}
	for _, r := range found {
		i := w.get(r)
		for name, want := range map[string]string{
			"hw_firmware_type": "uefi", "hw_machine_type": "q35", "hw_disk_bus": "scsi", "hw_scsi_model": "virtio-scsi", "hw_vif_model": "virtio", "os_secure_boot": "required",
			"hw_tpm_version": "2.0", "os_distro": "debian", "os_version": "12", "os_type": "linux", "hw_qemu_guest_agent": "yes", "team": "images", "hw_rng_model": "virtio",
			"hw_architecture": "x86_64", publish.Ready: p.Key, publish.Project: w.host.Project(),
		} {
			if got := i.property(name); got != want {
				t.Errorf("%s: %s is %q, want %q", r.Place, name, got, want)
			}
		}
		if !i.Hidden || i.MinDiskGigabytes != 1 || i.MinRAMMegabytes != 512 || i.DiskFormat != "qcow2" || !slices.Contains(i.Tags, "front") || i.Visibility != "shared" {
			t.Errorf("%s: %+v", r.Place, i.Image)
		}
		c, err := w.driver.clients.images(t.Context(), r.Place)
		if err != nil {
			t.Fatal(err)
		}
		pages, err := members.List(c, i.ID).AllPages(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if list, err := members.ExtractMembers(pages); err != nil || len(list) != 1 || list[0].MemberID != o.Members[0] {
			t.Errorf("%s: members %v, %v", r.Place, list, err)
		}
	}
	if _, why, err := w.driver.Published(t.Context(), p); err != nil || why != "" {
		t.Errorf("afterwards: %q, %v", why, err)
	}

	// A later definition changes the image in place, and leaves what others have set.
	var c change
	c.set("audited", "yes")
	if err := w.driver.change(t.Context(), w.get(found[0]), c); err != nil {
		t.Fatal(err)
	}
	o.Members, o.Hidden, o.Properties, o.GuestAgent, o.Labels, o.Protected = nil, false, nil, false, []string{"web"}, true
	o.Regions = nil
	again, _ := w.publish(publication("abc", o), disk)
	i := w.get(again[0])
	if again[0].ID != found[0].ID || i.Hidden || !i.Protected || i.property("team") != "" || i.property("hw_qemu_guest_agent") != "" || i.property("audited") != "yes" || !slices.Equal(i.Tags, []string{"web"}) {
		t.Errorf("changed to %+v", i.Image)
	}

	// Pull reads it back to the bit.
	dst := filepath.Join(t.TempDir(), "pulled.raw")
	if err := w.driver.Pull(t.Context(), found[0].Name, dst, &platformtest.Log{}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("pulled %d bytes, %v", len(got), err)
	}
	o.Protected = false
	w.publish(publication("abc", o), disk)
	for _, r := range found {
		if err := w.driver.removeID(t.Context(), r.Place, r.ID); err != nil {
			t.Error(err)
		}
	}
}

// TestFormats uploads what each kind of cloud wants, directly, and reads it back.
func TestFormats(t *testing.T) {
	w := newWorld(t)
	for n, f := range []struct{ name, qemu string }{{"raw", "raw"}, {"vmdk", "raw"}, {"vhd", "vpc"}} {
		disk, raw := w.disk(byte(10+n), f.qemu)
		found, _ := w.publish(publication("format"+f.name, Publication{ImageFormat: f.name, ViaImport: "direct"}), disk)
		i := w.get(found[0])
		if i.DiskFormat != f.name || i.Status != images.ImageStatusActive {
			t.Errorf("%s: %+v", f.name, i.Image)
		}
		dst := filepath.Join(t.TempDir(), "pulled.raw")
		if err := w.driver.Pull(t.Context(), i.ID, dst, &platformtest.Log{}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got[:len(raw)], raw) {
			t.Errorf("%s: pulled %d bytes, %v", f.name, len(got), err)
		}
		if err := w.driver.removeID(t.Context(), i.region, i.ID); err != nil {
			t.Error(err)
		}
	}
}

// TestRetention removes older images, but for one that is protected.
func TestRetention(t *testing.T) {
	w := newWorld(t)
	disk, _ := w.disk(2, "raw")
	var all []string
	for _, content := range []string{"one", "two", "three"} {
		found, log := w.publish(publication(content, Publication{Protected: content == "one", Retention: publish.Retention{Keep: 1}}), disk)
		all = append(all, found[0].ID)
		if content != "one" && !strings.Contains(log, "and protected") {
			t.Errorf("%s: the log says nothing of the one that is protected:\n%s", content, log)
		}
	}
	for n, want := range []bool{true, false, true} {
		if i, err := w.driver.image(t.Context(), testopenstack.Region, all[n]); err != nil || (i != nil) != want {
			t.Errorf("image %d is there: %v, want %v, %v", n, i != nil, want, err)
		}
	}
	var c change
	c.set("protected", false)
	if err := w.driver.change(t.Context(), image{Image: images.Image{ID: all[0]}, region: testopenstack.Region}, c); err != nil {
		t.Error(err)
	}
	for _, id := range all {
		if err := w.driver.removeID(t.Context(), testopenstack.Region, id); err != nil {
			t.Error(err)
		}
	}
}

// TestTwoBuilds upload one image at once: one image is what both have.
func TestTwoBuilds(t *testing.T) {
	w := newWorld(t)
	disk, _ := w.disk(3, "raw")
	p := publication("both", Publication{})
	type result struct {
		found []platforms.Registered
		err   error
	}
	results := make(chan result)
	other := newHost(t)
	other.ProjectID, other.BuildID = w.host.Project(), "other"
	for _, d := range []*driver{w.driver, openAt(t, other, w.cloud.URL)} {
		go func() {
			found, err := d.Publish(t.Context(), p, platforms.ImageSource{Disk: disk}, &platformtest.Log{})
			results <- result{found, err}
		}()
	}
	a, b := <-results, <-results
	if a.err != nil || b.err != nil {
		t.Fatal(a.err, b.err)
	}
	if len(other.Left()) > 0 {
		t.Errorf("left in the ledger: %v", other.Left())
	}
	found, why, err := w.driver.Published(t.Context(), p)
	if err != nil || why != "" {
		t.Fatal(why, err)
	}
	list, err := w.driver.own(t.Context(), testopenstack.Region, images.ListOpts{Name: found[0].Name}, nil)
	if err != nil || len(list) != 1 {
		t.Errorf("%d images of the name, %v", len(list), err)
	}
	for _, i := range list {
		if err := w.driver.remove(t.Context(), i); err != nil {
			t.Error(err)
		}
	}
}

// TestOrphans wants gc to find an upload that a dead build has left, and to leave what is
// finished or another's.
func TestOrphans(t *testing.T) {
	w := newWorld(t)
	disk, _ := w.disk(4, "raw")
	found, _ := w.publish(publication("kept", Publication{}), disk)
	c, err := w.driver.clients.images(t.Context(), testopenstack.Region)
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.NewString()
	if _, err := images.Create(t.Context(), c, images.CreateOpts{ID: id, Name: "bake-upload-" + id, DiskFormat: "raw", ContainerFormat: "bare", Properties: map[string]string{
		publish.Build: "dead", publish.Identity: "x", publish.Artifact: "web", publish.Project: w.host.Project(),
	}}).Extract(); err != nil {
		t.Fatal(err)
	}
	orphans, err := w.driver.Orphans(t.Context(), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	seen := false
	for _, r := range orphans {
		if r.ID == found[0].ID {
			t.Error("a finished image counts as an orphan")
		}
		if r.ID != id {
			continue
		}
		seen = true
		if got, err := w.driver.Collect(t.Context(), r); err != nil || !got.Removed {
			t.Errorf("collected %+v, %v", got, err)
		}
	}
	if !seen {
		t.Errorf("the orphan is not among %v", orphans)
	}
	if got, err := w.driver.Collect(t.Context(), platforms.Resource{Kind: kindImage, Place: testopenstack.Region, ID: found[0].ID, Build: w.host.Build()}); err != nil || got.Kept == "" {
		t.Errorf("collected %+v, %v", got, err)
	}
	if err := w.driver.removeID(t.Context(), testopenstack.Region, found[0].ID); err != nil {
		t.Error(err)
	}
}

// TestLogins uses every way to log in, and what is said of a wrong one.
func TestLogins(t *testing.T) {
	w := newWorld(t)
	s, err := w.driver.clients.login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token := s.provider.Token()
	dir := t.TempDir()
	yaml := "clouds:\n  lab:\n    auth:\n      auth_url: " + w.cloud.URL + "\n      username: admin\n      password: pw\n      project_name: admin\n      user_domain_name: Default\n      project_domain_name: Default\n    region_name: RegionOne\n    identity_api_version: 3\n"
	if err := os.WriteFile(filepath.Join(dir, "clouds.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	credential := w.credential(s)
	none := Options{}
	for name, c := range map[string]struct {
		env  map[string]string
		o    Options
		want string // in the error
	}{
		"clouds.yaml":      {map[string]string{"OS_CLIENT_CONFIG_FILE": filepath.Join(dir, "clouds.yaml")}, Options{Cloud: "lab"}, ""},
		"OS_CLOUD":         {map[string]string{"OS_CLIENT_CONFIG_FILE": filepath.Join(dir, "clouds.yaml"), "OS_CLOUD": "lab"}, none, ""},
		"no such cloud":    {map[string]string{"OS_CLIENT_CONFIG_FILE": filepath.Join(dir, "clouds.yaml")}, Options{Cloud: "lob"}, `cloud "lob"`},
		"environment":      {map[string]string{"OS_AUTH_URL": w.cloud.URL, "OS_USERNAME": "admin", "OS_PASSWORD": "pw", "OS_PROJECT_NAME": "admin", "OS_REGION_NAME": "RegionOne"}, none, ""},
		"token":            {nil, Options{AuthURL: w.cloud.URL, Region: "RegionOne", CloudToken: "token"}, ""},
		"token by OS_*":    {map[string]string{"OS_AUTH_URL": w.cloud.URL, "OS_TOKEN": token, "OS_PROJECT_NAME": "admin"}, Options{Region: "RegionOne"}, ""},
		"credential":       {nil, Options{AuthURL: w.cloud.URL, Region: "RegionOne", Credential: credential[0], CredentialSecret: "credential"}, ""},
		"wrong password":   {nil, Options{AuthURL: w.cloud.URL, CloudUser: "admin", CloudPassword: "wrong", Project: "admin"}, "401 Unauthorized"},
		"no project":       {nil, Options{AuthURL: w.cloud.URL, CloudUser: "admin", CloudPassword: "password"}, "the token is for no project"},
		"several regions":  {nil, Options{AuthURL: w.cloud.URL, CloudUser: "admin", CloudPassword: "password", Project: "admin"}, "region: there are several"},
		"no such region":   {nil, Options{AuthURL: w.cloud.URL, CloudUser: "admin", CloudPassword: "password", Project: "admin", Region: "Mars"}, "region: there is no Mars"},
		"nothing":          {nil, none, "no cloud: give the option cloud"},
		"no certificate":   {nil, Options{AuthURL: w.cloud.URL, CACert: filepath.Join(dir, "clouds.yaml")}, "has no certificate"},
		"a foreign domain": {nil, Options{AuthURL: w.cloud.URL, CloudUser: "admin", CloudPassword: "password", Project: "admin", UserDomain: "Mars"}, "401"},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			h := newHost(t)
			h.Secrets = map[platforms.Secret]string{"password": "pw", "wrong": "very wrong", "token": token, "credential": credential[1]}
			d, err := open(c.o, h)
			if err != nil {
				t.Fatal(err)
			}
			d.clients.pause = time.Millisecond
			id, err := d.clients.project(t.Context())
			if c.want == "" && (err != nil || id != s.project) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("the project %s, %v; want %q", id, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "very wrong") {
				t.Error("the password is in the error")
			}
		})
	}
}

// credential makes an application credential, and returns its id and secret.
func (w *world) credential(s *session) [2]string {
	w.Helper()
	c, err := w.driver.clients.client(w.Context(), "identity", testopenstack.Region, identity)
	if err != nil {
		w.Fatal(err)
	}
	user, err := s.user()
	if err != nil {
		w.Fatal(err)
	}
	var made struct {
		Credential struct{ ID, Secret string } `json:"application_credential"`
	}
	_, err = c.Post(w.Context(), c.ServiceURL("users", user, "application_credentials"), map[string]any{"application_credential": map[string]any{"name": newToken()}}, &made, nil)
	if err != nil {
		w.Fatal(err)
	}
	return [2]string{made.Credential.ID, made.Credential.Secret}
}

// TestForbidden wants a region and an image that a cloud does not have to be told before
// anything is made.
func TestForbidden(t *testing.T) {
	w := newWorld(t)
	p := publication("forbidden", Publication{Regions: []string{"RegionTw"}})
	if err := w.driver.CheckPublish(t.Context(), p); err == nil || !strings.Contains(err.Error(), `regions: there is no "RegionTw"`) {
		t.Error(err)
	}
	if _, err := w.driver.named(t.Context(), testopenstack.Region, Origin{Image: "nothing"}); err == nil || !strings.Contains(err.Error(), "no active image of the name") {
		t.Error(err)
	}
	text, err := json.Marshal(Origin{Image: uuid.NewString()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.driver.Pin(t.Context(), platforms.Origin{Kind: "image", Options: text}); err == nil || !strings.Contains(err.Error(), "has no image") {
		t.Error(err)
	}
}
