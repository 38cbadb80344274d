package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servergroups"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsecurity"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testopenstack"
	"bake.build/bake/internal/testsshd"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/wait"
)

// The servers of these tests are real SSH servers with a disk of their own.

// newFleet is a world whose servers can be logged in to.
func newFleet(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	need.Root(t)
	need.Tool(t, append(testsshd.Tools, "tar")...)
	w := newWorld(t, append([]func(*Options){func(o *Options) {
		o.Flavor, o.Networks, o.BootTimeout, o.Checkpoint = "tiny", []string{"build"}, "60s", string(remote.EveryStep)
	}}, change...)...)
	t.Cleanup(func() {
		if err := w.driver.Close(); err != nil {
			t.Error(err)
		}
		w.noServers()
	})
	return w
}

// origin has an image that servers start from.
func (w *world) origin() image {
	w.Helper()
	// It bears marks of another image's, which layers must not take.
	err := w.cloud.AddImage(w.Context(), "debian-12", map[string]string{
		"os_admin_user": "root", "os_distro": "debian", "os_version": "12", "hw_architecture": "x86_64", publish.Ready: "of another's", publish.Identity: "another's",
	})
	if err != nil {
		w.Fatal(err)
	}
	list, err := w.driver.own(w.Context(), testopenstack.Region, images.ListOpts{Name: "debian-12"}, nil)
	if err != nil || len(list) != 1 {
		w.Fatalf("%d images, %v", len(list), err)
	}
	return list[0]
}

func (w *world) boot(ref string) *machine {
	w.Helper()
	return platformtest.Boot[*machine](w, w.driver, ref)
}

func (w *world) sh(m platforms.Machine, script string) string {
	w.Helper()
	return platformtest.Sh(w, m, script)
}

func (w *world) save(m *machine, key string, needed bool) string {
	w.Helper()
	return platformtest.Save(w, m, platforms.State{Key: key, Name: "step " + key, Needed: needed})
}

// noServers wants no server, key pair, group or address of bake's to be left. Servers go
// some time after they were told to.
func (w *world) noServers() {
	w.Helper()
	left := "anything"
	err := wait.Loop{What: "the end of the servers", Timeout: time.Minute, Backoff: wait.Backoff{Next: 200 * time.Millisecond}}.Until(context.Background(), func(ctx context.Context) (bool, error) {
		found, err := w.driver.tagged(ctx, testopenstack.Region)
		left = ""
		for _, f := range found {
			if f.Build == w.host.Build() || f.Build == "" {
				left += fmt.Sprintf(" %s %s", f.Kind, f.ID)
			}
		}
		return left == "", err
	})
	if err != nil {
		w.Errorf("left:%s: %v", left, err)
	}
}

// TestServer goes the way of a build: a server on an image, a layer of it, another server on
// that, an image of it, and one of the same layer for another artifact.
func TestServer(t *testing.T) {
	w := newFleet(t, func(o *Options) { o.Metadata = map[string]string{"team": "web"} })
	from := w.origin()
	pinned, err := w.driver.Pin(t.Context(), platforms.Origin{Kind: "image", Options: json.RawMessage(`{"image":"debian-12"}`)})
	if err != nil || pinned.Pin.ID != from.ID || !strings.HasPrefix(pinned.Pin.Detail[pinHash], "sha512:") {
		t.Fatalf("pinned %+v, %v", pinned.Pin, err)
	}
	made, err := w.driver.Import(t.Context(), pinned, "", &platformtest.Log{})
	if err != nil || made.Ref != from.ID || made.Traits != (platforms.Traits{Arch: "amd64", Boot: "bios"}) {
		t.Fatalf("made %+v, %v", made, err)
	}
	m := w.boot(made.Ref)
	w.sh(m, `echo layer one >/etc/layer; test -s /root/.ssh/authorized_keys
cd /usr/local/bin; for p in systemctl cloud-init; do echo '#!/bin/sh' >$p; chmod +x $p; done
echo 0123456789abcdef0123456789abcdef >/etc/machine-id; mkdir -p /var/lib/systemd; echo seed >/var/lib/systemd/random-seed; echo a key >/etc/ssh/ssh_host_ed25519_key`)
	s, err := w.driver.server(t.Context(), testopenstack.Region, m.id)
	if err != nil || s.Metadata["team"] != "web" || s.Metadata[publish.Build] != w.host.Build() || !strings.HasPrefix(s.KeyName, "bake-") {
		t.Errorf("the server is %+v, %v", s, err)
	}
	w.group()
	if left := w.host.Left(); len(left) != 3 {
		t.Errorf("in the ledger: %v", left)
	}

	ref := w.save(m, "0a", false)
	w.sh(m, `echo layer two >/etc/layer; test -s /root/.ssh/authorized_keys; test -e /var/lib/cloud/instance/user-data.txt
test -s /etc/machine-id; test -s /var/lib/systemd/random-seed; test -s /etc/ssh/ssh_host_ed25519_key`)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	layer := w.get(platforms.Registered{ID: ref, Place: testopenstack.Region})
	if layer.Status != images.ImageStatusActive || layer.property(publish.Ready) != "" || layer.property(publish.Identity) != "" || layer.property(remote.Key) != "0a" || layer.property("team") != "web" {
		t.Errorf("the layer is %+v", layer.Image)
	}

	// A colleague finds the layer by its key and begins on it.
	layers, err := w.driver.FindLayers(t.Context(), []string{"0a", "0b", "0c", "0d"})
	if want := (platforms.Layer{Key: "0a", Ref: ref, Traits: made.Traits}); err != nil || len(layers) != 1 || layers["0a"] != want {
		t.Fatalf("found %v, %v; want %v", layers, err, want)
	}
	if few, err := w.driver.FindLayers(t.Context(), []string{"0a"}); err != nil || few["0a"].Ref != ref {
		t.Fatalf("found %v, %v", few, err)
	}
	m2 := w.boot(ref)
	if got := w.sh(m2, "cat /etc/layer; cat /etc/machine-id; ls /etc/ssh/ssh_host_ed25519_key 2>&1 || :; wc -l </root/.ssh/authorized_keys"); !strings.HasPrefix(got, "layer one\n") || strings.Contains(got, "0123456789") || !strings.HasSuffix(got, "1\n") {
		t.Errorf("the layer has %q", got)
	}
	w.exports(ref)
	if err := m2.Close(); err != nil {
		t.Fatal(err)
	}
	if left := w.host.Left(); len(left) != 2 {
		t.Errorf("in the ledger: %v", left)
	}
	pruned, err := w.driver.PruneLayers(t.Context(), platforms.LayerPruning{MadeBefore: time.Now().Add(time.Hour)})
	for _, l := range pruned {
		if l.Ref == ref {
			t.Error("the layer that is an artifact was pruned")
		}
	}
	if err != nil {
		t.Error(err)
	}
	for _, id := range w.images() {
		if err := w.driver.removeID(t.Context(), testopenstack.Region, id); err != nil {
			t.Error(err)
		}
	}
}

// exports makes two images of one layer: the first is the layer, the other a copy.
func (w *world) exports(ref string) {
	w.Helper()
	for n, name := range []string{"web", "db"} {
		p := publication("layer", Publication{Visibility: "private", Retention: publish.Retention{Keep: 1}})
		p.Name, p.Arch, p.Boot = name, "", ""
		p.Content += name
		found, err := w.driver.Publish(w.Context(), p, platforms.ImageSource{Layer: ref}, &platformtest.Log{})
		if err != nil {
			w.Fatal(err)
		}
		i := w.get(found[0])
		if (i.ID == ref) != (n == 0) || !strings.HasPrefix(i.Name, name+"-") || i.Visibility != "private" || i.property(publish.Ready) != p.Key || n == 0 && i.property("instance_uuid") != "" {
			w.Errorf("the image is %+v", i.Image)
		}
		if n == 1 && i.SizeBytes != w.get(platforms.Registered{ID: ref, Place: testopenstack.Region}).SizeBytes {
			w.Errorf("the copy has %d bytes", i.SizeBytes)
		}
		// An older one of the artifact goes, unless a server runs from it.
		if n == 0 {
			p.Content, p.Key = "next", "next"
			disk, _ := w.disk(9, "raw")
			p.Arch = "amd64"
			out := &platformtest.Log{}
			if _, err := w.driver.Publish(w.Context(), p, platforms.ImageSource{Disk: disk}, out); err != nil {
				w.Fatal(err)
			}
			if !strings.Contains(out.String(), "in use by the server bake-") {
				w.Errorf("an image that a server runs from:\n%s", out.String())
			}
		}
	}
}

// images are those of the test's project.
func (w *world) images() (ids []string) {
	list, err := w.driver.own(w.Context(), testopenstack.Region, images.ListOpts{}, map[string]string{publish.Project: w.host.Project()})
	if err != nil {
		w.Error(err)
	}
	for _, i := range list {
		ids = append(ids, i.ID)
	}
	return ids
}

// group looks at the security group that was made.
func (w *world) group() {
	w.Helper()
	c, err := w.driver.clients.network(w.Context(), testopenstack.Region)
	if err != nil {
		w.Fatal(err)
	}
	list, err := w.driver.listGroups(w.Context(), testopenstack.Region, groups.ListOpts{})
	n := slices.IndexFunc(list, func(g groups.SecGroup) bool { return g.Description == groupNote+w.host.Build() })
	if err != nil || n < 0 {
		w.Fatalf("the groups are %v, %v", list, err)
	}
	pages, err := rules.List(c, rules.ListOpts{SecGroupID: list[n].ID, Direction: "ingress"}).AllPages(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	all, err := rules.ExtractRules(pages)
	if err != nil || len(all) != 1 || all[0].RemoteIPPrefix != "127.0.0.1/32" || all[0].PortRangeMax != 22 {
		w.Errorf("rules %+v, %v", all, err)
	}
}

func TestConformance(t *testing.T) {
	w := newFleet(t)
	platformtest.Run(t, platformtest.Harness{
		Driver: w.driver,
		First:  platforms.Layer{Key: "00", Ref: w.origin().ID},
		Dir:    func(t *testing.T) string { return t.TempDir() },
		Shared: true, NoRestart: true,
	})
	for _, id := range w.images() {
		if err := w.driver.removeID(t.Context(), testopenstack.Region, id); err != nil {
			t.Error(err)
		}
	}
}

// TestUserData has cloud-init bring the key, chooses the flavor, and takes a floating
// address.
func TestUserData(t *testing.T) {
	w := newFleet(t, func(o *Options) {
		o.Flavor, o.Memory, o.Key, o.FloatingPool, o.ConfigDrive, o.SecurityGroups = "", "64M", keyUserData, "outside", true, []string{"default"}
		o.Networks = []string{"build 127.50.0.77"}
	})
	group := w.serverGroup()
	w.driver.options.ServerGroup = group()[0]
	stop := w.forward()
	defer stop()
	m := w.boot(w.origin().ID)
	if !strings.HasPrefix(m.address, "127.60.0.") {
		t.Errorf("the address is %s", m.address)
	}
	s, err := w.driver.server(t.Context(), testopenstack.Region, m.id)
	if err != nil || s.KeyName != "" || !s.ConfigDrive || fmt.Sprint(s.SecurityGroups) != "[map[name:default]]" || !strings.Contains(fmt.Sprint(s.Addresses), "addr:127.50.0.77 ") {
		t.Errorf("the server is %+v, %v", s, err)
	}
	if members := group()[1:]; !slices.Contains(members, m.id) {
		t.Errorf("the server group has %v", members)
	}
	w.sh(m, "grep -q ssh-ed25519 /var/lib/cloud/instance/user-data.txt")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := w.driver.clients.compute(t.Context(), testopenstack.Region)
	if err != nil {
		t.Fatal(err)
	}
	if pages, err := keypairs.List(c, nil).AllPages(t.Context()); err != nil {
		t.Error(err)
	} else if list, err := keypairs.ExtractKeyPairs(pages); err != nil || slices.ContainsFunc(list, func(k keypairs.KeyPair) bool { return strings.HasSuffix(k.Name, w.host.Build()) }) {
		t.Errorf("key pairs %v, %v", list, err)
	}
}

// serverGroup makes a group of servers. The function returns its id and its members.
func (w *world) serverGroup() func() []string {
	w.Helper()
	c, err := w.driver.clients.compute(w.Context(), testopenstack.Region)
	if err != nil {
		w.Fatal(err)
	}
	g, err := servergroups.Create(w.Context(), c, servergroups.CreateOpts{Name: newToken(), Policies: []string{"affinity"}}).Extract()
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := servergroups.Delete(context.Background(), c, g.ID).ExtractErr(); err != nil {
			w.Error(err)
		}
	})
	return func() []string {
		now, err := servergroups.Get(w.Context(), c, g.ID).Extract()
		if err != nil {
			w.Fatal(err)
		}
		return append([]string{g.ID}, now.Members...)
	}
}

// forward is the router that a floating address needs: it leads to the fixed one.
func (w *world) forward() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for ctx.Err() == nil {
			list, err := w.driver.addresses(ctx, testopenstack.Region, floatingips.ListOpts{})
			if err == nil && len(list) > 0 && list[0].FixedIP != "" {
				l, err := net.Listen("tcp", list[0].FloatingIP+":22")
				if err != nil {
					return
				}
				context.AfterFunc(ctx, func() { l.Close() })
				for {
					in, err := l.Accept()
					if err != nil {
						return
					}
					out, err := net.Dial("tcp", list[0].FixedIP+":22")
					if err != nil {
						in.Close()
						continue
					}
					go func() { _, _ = io.Copy(out, in); out.Close() }()
					go func() { _, _ = io.Copy(in, out); in.Close() }()
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	return cancel
}

// TestServerFails shows why a server does not come up: the fault that Nova tells, or the
// console.
func TestServerFails(t *testing.T) {
	w := newFleet(t, func(o *Options) { o.BootTimeout = "2s" })
	ref := w.origin().ID
	for mode, want := range map[string]string{
		testopenstack.Failing: "the server is in the state ERROR: ",
		testopenstack.Silent:  "Kernel panic - not syncing",
	} {
		back := w.cloud.Mode(mode)
		_, err := w.driver.Boot(t.Context(), []platforms.Layer{{Ref: ref}}, &platformtest.Log{})
		back()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", mode, err)
		}
	}
	// What does not fit is told before there is a server.
	for want, change := range map[string]func(*Options){
		`there is no "tine" (did you mean "tiny"`: func(o *Options) { o.Flavor = "tine" },
		"none has 1048576 MiB of memory":          func(o *Options) { o.Flavor, o.Memory = "", "1T" },
		`there is no network "bild"`:              func(o *Options) { o.Networks = []string{"bild"} },
		"networks: say which":                     func(o *Options) { o.Networks = nil },
		`there is no security group "defoult"`:    func(o *Options) { o.SecurityGroups = []string{"defoult"} },
	} {
		d := openAt(t, w.host, w.cloud.URL, func(o *Options) { o.Flavor, o.Networks = "tiny", []string{"build"} }, change)
		if _, err := d.Boot(t.Context(), []platforms.Layer{{Ref: ref}}, &platformtest.Log{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// given makes a port and a floating address, which are the project's and stay.
func (w *world) given() (port, address string) {
	w.Helper()
	c, err := w.driver.clients.network(w.Context(), testopenstack.Region)
	if err != nil {
		w.Fatal(err)
	}
	list, err := w.driver.listNetworks(w.Context(), testopenstack.Region)
	if err != nil {
		w.Fatal(err)
	}
	ids := map[string]string{}
	for _, n := range list {
		ids[n.Name] = n.ID
	}
	p, err := ports.Create(w.Context(), c, ports.CreateOpts{NetworkID: ids["build"]}).Extract()
	if err != nil {
		w.Fatal(err)
	}
	ip, err := floatingips.Create(w.Context(), c, floatingips.CreateOpts{FloatingNetworkID: ids["outside"]}).Extract()
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		ctx := context.Background()
		if now, err := floatingips.Get(ctx, c, ip.ID).Extract(); err != nil || now.PortID != "" {
			w.Errorf("the floating address is %+v, %v", now, err)
		}
		if err := errors.Join(floatingips.Delete(ctx, c, ip.ID).ExtractErr(), ports.Delete(ctx, c, p.ID).ExtractErr()); err != nil {
			w.Error(err)
		}
	})
	return p.ID, ip.FloatingIP
}

// TestStuckImage gives up on an image that Nova does not finish, and removes it. The server
// has a port and a floating address that are given, and is reached by way of another host.
func TestStuckImage(t *testing.T) {
	w := newFleet(t)
	testsshd.Gate(t)
	port, address := w.given()
	w.driver = openAt(t, w.host, w.cloud.URL, func(o *Options) {
		o.Flavor, o.Ports, o.FloatingAddress, o.Bastion, o.BootTimeout, o.Checkpoint = "tiny", []string{port}, address, []string{"gate"}, "60s", string(remote.EveryStep)
	})
	stop := w.forward()
	defer stop()
	m := w.boot(w.origin().ID)
	back := w.cloud.Mode(testopenstack.Stuck)
	_, err := m.Commit(t.Context(), platforms.State{Key: "0e", Name: "step", Needed: true})
	back()
	if !errors.Is(err, remote.ErrFailed) || !strings.Contains(err.Error(), "it is queued") {
		t.Errorf("%v", err)
	}
	if ids := w.images(); len(ids) > 0 {
		t.Errorf("left: %v", ids)
	}
	w.sh(m, "test -s /root/.ssh/authorized_keys")
	// The next one is whole.
	ref := w.save(m, "0e", true)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.driver.removeID(t.Context(), testopenstack.Region, ref); err != nil {
		t.Error(err)
	}
}

// TestOpenNetwork makes no security group for a network that filters nothing: Nova would
// refuse it there.
func TestOpenNetwork(t *testing.T) {
	w := newFleet(t)
	c, err := w.driver.clients.network(t.Context(), testopenstack.Region)
	if err != nil {
		t.Fatal(err)
	}
	n, err := networks.Create(t.Context(), c, portsecurity.NetworkCreateOptsExt{CreateOptsBuilder: networks.CreateOpts{Name: newToken()}, PortSecurityEnabled: new(bool)}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := networks.Delete(context.Background(), c, n.ID).ExtractErr(); err != nil {
			t.Error(err)
		}
	}()
	w.driver.options.Networks = []string{n.Name}
	if p, err := w.driver.place(t.Context()); err != nil || len(p.groups) > 0 || p.first != n.Name {
		t.Errorf("%+v, %v", p, err)
	}
}
