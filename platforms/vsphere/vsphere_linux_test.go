package vsphere

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/vsphere/vspheretest"
)

// secrets are those that the driver's options name.
var secrets = map[platforms.Secret]string{
	"vcenter": vspheretest.Password,
	"guest":   vspheretest.GuestPassword,
	"wrong":   "wrong",
	"token":   `<saml2:Assertion xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion"><saml2:Subject><saml2:NameID>images</saml2:NameID></saml2:Subject></saml2:Assertion>`,
}

// A world is a vCenter with a driver on it.
type world struct {
	*testing.T
	server *vspheretest.Server
	host   *platformtest.Host
}

func newWorld(t *testing.T, change ...func(*simulator.Model)) *world {
	t.Helper()
	for _, name := range []string{"URL", "USERNAME", "PASSWORD", "INSECURE", "DATACENTER", "CLUSTER", "HOST", "RESOURCE_POOL", "DATASTORE", "NETWORK", "LOGIN_TOKEN", "TLS_CA_CERTS", "TLS_KNOWN_HOSTS"} {
		t.Setenv("GOVC_"+name, "")
	}
	model := simulator.VPX()
	model.Folder, model.Pool, model.Datastore, model.Pod = 0, 1, 2, 0
	for _, f := range change {
		f(model)
	}
	s, err := vspheretest.New(model)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &world{T: t, server: s, host: &platformtest.Host{Dir: t.TempDir(), Secrets: secrets}}
}

// options are those of a driver that logs in.
func (w *world) options(change ...func(*Options)) Options {
	o := Options{Server: w.server.URL, ServerUser: vspheretest.User, ServerPassword: "vcenter", Thumbprint: w.server.Thumbprint, Cluster: "DC0_C0"}
	for _, f := range change {
		f(&o)
	}
	return o
}

func (w *world) open(change ...func(*Options)) *driver {
	w.Helper()
	d, err := open(w.options(change...), w.host)
	if err != nil {
		w.Fatal(err)
	}
	d.pause = 2 * time.Millisecond
	d.connection.pause = d.pause
	w.Cleanup(func() {
		if err := d.Close(); err != nil {
			w.Error(err)
		}
	})
	return d
}

// vm returns a virtual machine by its name.
func (w *world) vm(name string) *simulator.VirtualMachine {
	w.Helper()
	vm := w.server.VMs()[name]
	if vm == nil {
		w.Fatalf("there is no virtual machine %s", name)
	}
	return vm
}

// off turns a virtual machine of the model off, and makes it a template if it is to be one.
func (w *world) off(d *driver, name string, template bool) {
	w.Helper()
	vm := w.vm(name)
	if err := d.powerOff(w.Context(), vm.Self, name); err != nil {
		w.Fatal(err)
	}
	if template {
		c, err := d.vim(w.Context())
		if err == nil {
			err = object.NewVirtualMachine(c, vm.Self).MarkAsTemplate(w.Context())
		}
		if err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) fails(err error, want string) {
	w.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		w.Errorf("error %v, want %q", err, want)
	}
}

func TestLogin(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		change func(*Options)
		want   string // "" for a login that works
	}{
		"password":         {func(*Options) {}, ""},
		"token":            {func(o *Options) { o.ServerUser, o.ServerPassword, o.ServerToken = "", "", "token" }, ""},
		"insecure":         {func(o *Options) { o.Thumbprint, o.Insecure = "", true }, ""},
		"wrong password":   {func(o *Options) { o.ServerPassword = "wrong" }, "the user, the password or the token is wrong"},
		"no password":      {func(o *Options) { o.ServerPassword = "" }, "server_password: no password of images@vsphere.local is given, and GOVC_PASSWORD is not set"},
		"no user":          {func(o *Options) { o.ServerUser = "" }, "server_user: no user is given, and GOVC_USERNAME is not set"},
		"no server":        {func(o *Options) { o.Server = "" }, "server: no server is given, and GOVC_URL is not set"},
		"unknown secret":   {func(o *Options) { o.ServerPassword = "none" }, "no secret none"},
		"wrong thumbprint": {func(o *Options) { o.Thumbprint = "AA:BB" }, "has the thumbprint " + w.server.Thumbprint + ", and not AA:BB"},
		"untrusted":        {func(o *Options) { o.Thumbprint = "" }, "has the thumbprint " + w.server.Thumbprint},
		"no TLS":           {func(o *Options) { o.Server = strings.Replace(o.Server, "https", "http", 1) }, "the password would be sent in the clear"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := open(w.options(c.change), w.host)
			if err != nil {
				t.Fatal(err)
			}
			_, err = d.server(t.Context())
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			(&world{T: t}).fails(err, c.want)
			if err != nil && strings.Contains(err.Error(), vspheretest.Password) {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
	t.Run("environment", func(t *testing.T) {
		t.Setenv("GOVC_URL", strings.Replace(w.server.URL, "https://", "https://"+strings.ReplaceAll(vspheretest.User, "@", "%40")+"@", 1)+"/sdk")
		t.Setenv("GOVC_PASSWORD", vspheretest.Password)
		t.Setenv("GOVC_INSECURE", "1")
		t.Setenv("GOVC_CLUSTER", "DC0_C0")
		d, err := open(Options{}, w.host)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := d.place(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestSession ends the session of a driver, which logs in again.
func TestSession(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	if _, err := d.place(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.server.EndSessions()
	if _, err := d.vms(t.Context(), d.at.datacenter.ref); err != nil {
		t.Error(err)
	}
	if n := w.server.Count("Login"); n != 2 {
		t.Errorf("%d logins", n)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{IgnoreNetworks: []string{"docker0"}}, `ignore_networks: "docker0" is not a network`},
		{Options{Thumbprint: "AA", Insecure: true}, "insecure: thumbprint is given"},
		{Options{ServerToken: "a", ServerUser: "b"}, "server_token: takes the place"},
		{Options{Cluster: "a", ResourcePool: "b"}, "resource_pool: cluster is given"},
		{Options{Memory: "1G1"}, "memory: "},
		{Options{Memory: "3M"}, "memory: 3M: want a multiple of 4M"},
		{Options{CPUs: -1}, "cpus: -1"},
		{Options{MaxMachines: -1}, "max_machines: -1"},
		{Options{TaskTimeout: "soon"}, "task_timeout: "},
		{Options{Options: remote.Options{LayersKeep: "soon"}}, "layers_keep: "},
	} {
		(&world{T: t}).fails(c.o.Check(), c.want)
	}
}

// TestPlace finds what options name, and says what there is instead.
func TestPlace(t *testing.T) {
	w := newWorld(t, func(m *simulator.Model) { m.Datacenter, m.Pod = 2, 1 })
	for name, c := range map[string]struct {
		change func(*Options)
		want   string // of an error, or "" for none
	}{
		"names": {func(o *Options) {
			o.Datacenter = "DC1"
			o.Cluster = "DC1_C0"
			o.Datastore = "LocalDS_1"
			o.Network = "DVS0"
		}, `network: there is no "DVS0"`},
		"no datacenter":      {func(o *Options) {}, "datacenter: there is more than one datacenter: say which one (DC0, DC1)"},
		"wrong datacenter":   {func(o *Options) { o.Datacenter = "DC2" }, `datacenter: there is no "DC2" (did you mean "DC0"?)`},
		"no cluster":         {func(o *Options) { o.Datacenter = "DC0"; o.Cluster = "" }, "cluster: there is more than one cluster or host"},
		"wrong cluster":      {func(o *Options) { o.Datacenter = "DC0"; o.Cluster = "DC0_C1" }, `cluster: there is no "DC0_C1" (did you mean "DC0_C0"?)`},
		"another's cluster":  {func(o *Options) { o.Datacenter = "DC0"; o.Cluster = "DC1_C0" }, `cluster: there is no "DC1_C0" (did you mean "DC0_C0"?)`},
		"host":               {func(o *Options) { o.Datacenter = "DC0"; o.Cluster = ""; o.Host = "DC0_H0" }, ""},
		"host of a cluster":  {func(o *Options) { o.Datacenter = "DC0"; o.Host = "DC0_C0_H1" }, ""},
		"another host":       {func(o *Options) { o.Datacenter = "DC0"; o.Host = "DC0_H0/DC0_H0" }, "host: DC0_H0/DC0_H0 is not in the cluster DC0_C0"},
		"pool":               {func(o *Options) { o.Datacenter = "DC0"; o.Cluster = ""; o.ResourcePool = "DC0_C0_RP1" }, ""},
		"pool by path":       {func(o *Options) { o.Datacenter = "DC0"; o.Cluster = ""; o.ResourcePool = "DC0_C0/Resources" }, ""},
		"pool of two":        {func(o *Options) { o.Datacenter = "DC0"; o.Cluster = ""; o.ResourcePool = "Resources" }, `resource_pool: "Resources" is the name of several: give the path of one of /DC0/host/DC0_C0/Resources, /DC0/host/DC0_H0/Resources`},
		"datastore":          {func(o *Options) { o.Datacenter = "DC0"; o.Datastore = "LocalDS_0" }, ""},
		"wrong datastore":    {func(o *Options) { o.Datacenter = "DC0"; o.Datastore = "LocalDS_7" }, `datastore: there is no "LocalDS_7" (did you mean "LocalDS_0"?)`},
		"network":            {func(o *Options) { o.Datacenter = "DC0"; o.Network = "VM Network" }, ""},
		"network by path":    {func(o *Options) { o.Datacenter = "DC0"; o.Network = "/DC0/network/DC0_DVPG0" }, ""},
		"wrong network path": {func(o *Options) { o.Datacenter = "DC0"; o.Network = "/DC1/network/DC0_DVPG0" }, `network: there is no "/DC1/network/DC0_DVPG0"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{T: t, server: w.server, host: w.host}
			p, err := w.open(c.change).place(t.Context())
			if c.want != "" {
				w.fails(err, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.pool.Value == "" {
				t.Errorf("the place is %+v", p)
			}
		})
	}
}

// TestFolder makes bake's folder once.
func TestFolder(t *testing.T) {
	w := newWorld(t)
	a := w.open(func(o *Options) { o.Folder = "images/bake" })
	first, err := a.ownFolder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := w.open(func(o *Options) { o.Folder = "/DC0/vm/images/bake" })
	again, err := b.ownFolder(t.Context())
	if err != nil || again != first {
		t.Errorf("the folder is %v, and was %v: %v", again, first, err)
	}
	if n := w.server.Count("CreateFolder"); n != 2 {
		t.Errorf("%d folders were made", n)
	}
}

func TestPin(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	const machine, template = "DC0_C0_RP1_VM0", "DC0_C0_RP1_VM1"
	w.off(d, template, true)
	pin := func(options string) (platforms.Origin, error) {
		return d.Pin(t.Context(), platforms.Origin{Options: []byte(options)})
	}
	for _, c := range []struct{ options, want string }{
		{`{"template":"DC0_C0_RP1_VM2"}`, `template: there is no "DC0_C0_RP1_VM2" (did you mean`},
		{`{"template":"DC0_C0_RP1_VM0"}`, `template: "DC0_C0_RP1_VM0" is a virtual machine: want vm = "DC0_C0_RP1_VM0"`},
		{`{"vm":"DC0_C0_RP1_VM1"}`, `vm: "DC0_C0_RP1_VM1" is a template: want template = "DC0_C0_RP1_VM1"`},
		{`{"vm":"DC0_C0_RP1_VM0"}`, "vm: DC0_C0_RP1_VM0 is on, so that its disk changes: turn it off, or give one of its snapshots"},
		{`{"template":"DC0_C0_RP1_VM1","snapshot":"clean"}`, `snapshot: DC0_C0_RP1_VM1 has no snapshot "clean"`},
	} {
		_, err := pin(c.options)
		w.fails(err, c.want)
	}
	o, err := pin(`{"template":"/DC0/vm/DC0_C0_RP1_VM1"}`)
	if err != nil {
		t.Fatal(err)
	}
	v := w.vm(template)
	if want := v.Config.InstanceUuid + "@" + v.Config.ChangeVersion; o.Pin.ID != want {
		t.Errorf("pinned to %s, want %s", o.Pin.ID, want)
	}
	if again, err := d.Pin(t.Context(), o); err != nil || again.Pin != o.Pin {
		t.Errorf("pinned again to %v: %v", again.Pin, err)
	}
	made, err := d.Import(t.Context(), o, "", &platformtest.Log{})
	if err != nil || made.Ref != v.Config.InstanceUuid || made.Boot != "bios" {
		t.Errorf("made %+v: %v", made, err)
	}
	if name := d.PinName(o); !strings.HasSuffix(name, " /DC0/vm/DC0_C0_RP1_VM1") {
		t.Errorf("the pin is called %q", name)
	}

	// Somebody changes the template.
	at, err := d.vm(t.Context(), v.Self)
	if err == nil {
		err = d.reconfigure(t.Context(), at, types.VirtualMachineConfigSpec{Annotation: "changed"})
	}
	if err != nil {
		t.Fatal(err)
	}
	if !w.vm(template).Config.Template {
		t.Error("the template is a virtual machine now")
	}
	_, err = d.Import(t.Context(), o, "", &platformtest.Log{})
	w.fails(err, "has changed since it was pinned: bake update takes it as it is now")
	if again, err := d.Pin(t.Context(), o); err != nil || again.Pin.ID == o.Pin.ID {
		t.Errorf("pinned again to %v: %v", again.Pin, err)
	}

	// A snapshot stays what it is.
	c, err := d.vim(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"clean", "clean", "last"} {
		_, err = d.do(t.Context(), "snapshot", nil, func(ctx context.Context) (*object.Task, error) {
			return object.NewVirtualMachine(c, w.vm(machine).Self).CreateSnapshot(ctx, name, "", false, false)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = pin(`{"vm":"DC0_C0_RP1_VM0","snapshot":"clean"}`)
	w.fails(err, `several snapshots of the name "clean": give the path`)
	last, err := pin(`{"vm":"DC0_C0_RP1_VM0"}`)
	if err != nil {
		t.Fatal(err)
	}
	if named, err := pin(`{"vm":"DC0_C0_RP1_VM0","snapshot":"clean/clean/last"}`); err != nil || named.Pin.ID != last.Pin.ID || named.Pin.Date == "" {
		t.Errorf("pinned to %+v and %+v: %v", last.Pin, named.Pin, err)
	}
}

func TestAddress(t *testing.T) {
	guest := &types.GuestInfo{Net: []types.GuestNicInfo{
		{IpAddress: []string{"172.17.0.1"}, DeviceConfigId: -1},
		{IpAddress: []string{"fe80::250:56ff:fe00:1", "2001:db8::7", "10.0.0.7"}, DeviceConfigId: 4000},
		{IpAddress: []string{"192.168.9.7"}, DeviceConfigId: 4001},
	}}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "10.0.0.7"},
		{Options{IPVersion: "6"}, "2001:db8::7"},
		{Options{IPVersion: "4", IgnoreNetworks: []string{"10.0.0.0/8"}}, "192.168.9.7"},
		{Options{IPVersion: "4", IgnoreNetworks: []string{"10.0.0.0/8", "192.168.0.0/16"}}, ""},
	} {
		f, err := c.o.filter()
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := f.address(guest); got != c.want {
			t.Errorf("%+v: address %q, want %q", c.o, got, c.want)
		}
	}
	if got, _ := (filter{version: "any"}).address(&types.GuestInfo{IpAddress: "10.0.0.9"}); got != "10.0.0.9" {
		t.Errorf("the only address is %q", got)
	}
}
