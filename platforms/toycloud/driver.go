// Package toycloud is the driver of a cloud, as docs/adding-a-platform.md describes it:
// the whole of it, for a cloud that a test has in memory. It is in no table but that
// test's.
package toycloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/instance"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/ssh"
	"bake.build/bake/platforms/toycloud/server"
	"bake.build/bake/platforms/wait"
)

// Options are the options of toycloud().
type Options struct {
	Endpoint string `bake:"endpoint" json:"endpoint,omitempty" help:"Address of the cloud's API."`

	ssh.Login
	remote.Options
}

// Check implements platforms.OptionChecker.
func (o Options) Check() error { return errors.Join(o.Login.Check(), o.Options.Check()) }

// Origin are the options of source() there.
type Origin struct {
	Image string `bake:"image,origin" json:"image,omitempty" help:"Name of an image of the cloud."`
}

// Spec declares the platform.
func Spec() platforms.Spec {
	spec := platforms.Declare[Options, Origin]("toycloud", "Instances and images of a toy.", open)
	spec.Boots = true
	platforms.DeclarePublication[Publication](&spec, platforms.DiskUse{Format: "raw"})
	return spec
}

// home is where instances run and images are made first.
const home = "here"

type driver struct {
	*resource.Manager
	*remote.Cache

	api     api
	options Options
	host    platforms.Host
	key     *ssh.Key
}

var (
	_ platforms.Driver           = (*driver)(nil)
	_ platforms.RemoteLayers     = (*driver)(nil)
	_ platforms.Publisher        = (*driver)(nil)
	_ platforms.GarbageCollector = (*driver)(nil)
	_ platforms.Pruner           = (*driver)(nil)
	_ platforms.Sizer            = (*driver)(nil)
	_ platforms.Closer           = (*driver)(nil)
)

func open(o Options, h platforms.Host) (platforms.Driver, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	key, err := ssh.NewKey()
	if err != nil {
		return nil, err
	}
	d := &driver{api: api{o.Endpoint}, options: o, host: h, key: key}
	d.Cache = &remote.Cache{Layers: layers{d}, Places: places(), KeysAtOnce: 100, FirstCost: time.Second,
		Home: func(context.Context) (string, error) { return home, nil },
	}
	d.Manager = &resource.Manager{
		Platform: "toycloud", Options: text, Ledger: h.Ledger(), Places: places(), Tagged: d.tagged,
		Kinds: []resource.Kind{{Name: server.Instance, Remove: d.collect}, {Name: server.Image, Remove: d.collect}},
	}
	return d, nil
}

func places() resource.Places {
	return resource.Places{List: func(context.Context) (string, []string, error) { return home, server.Places(), nil }}
}

// Fingerprint implements platforms.Driver.
func (d *driver) Fingerprint() string { return "toycloud/1" }

// MachineSize implements platforms.Sizer.
func (d *driver) MachineSize() platforms.Resources { return platforms.Resources{} }

// Pin implements platforms.Driver.
func (d *driver) Pin(ctx context.Context, o platforms.Origin) (platforms.Origin, error) {
	var or Origin
	if err := o.Decode(&or); err != nil {
		return o, err
	}
	list, err := d.api.list(ctx, server.Query{Kind: server.Image, Place: home, Name: or.Image})
	if err == nil && len(list) == 0 {
		err = &platforms.OptionError{Err: fmt.Errorf("image: there is none of the name %q", or.Image)}
	}
	if err == nil {
		o.Pin = &platforms.Pin{ID: list[0].ID}
	}
	return o, err
}

// Import implements platforms.Driver: a layer is an image.
func (d *driver) Import(_ context.Context, o platforms.Origin, _ string, _ platforms.Logger) (platforms.Made, error) {
	return platforms.Made{Ref: o.Pin.ID, Traits: traits}, nil
}

var traits = platforms.Traits{Arch: "amd64", Boot: "bios"}

// Close implements platforms.Closer.
func (d *driver) Close() error {
	return d.options.Expire(context.Background(), d.Cache, home, d.Ledger)
}

// tags are those of what is made for a build.
func (d *driver) tags() map[string]string {
	return map[string]string{publish.Build: d.Ledger.Build(), publish.Project: d.Ledger.Project()}
}

// tagged finds what no build has finished.
func (d *driver) tagged(ctx context.Context, place string) (found []resource.Found, err error) {
	list, err := d.api.list(ctx, server.Query{Place: place, Tag: publish.Build})
	for _, t := range list {
		if t.Tags[publish.Ready] == "" && t.Tags[remote.Key] == "" {
			found = append(found, resource.Found{Kind: t.Kind, ID: t.Name, Build: t.Tags[publish.Build], Made: t.Made})
		}
	}
	return found, err
}

// collect removes what a build has left, unless it is finished or another's by now.
func (d *driver) collect(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	list, err := d.api.list(ctx, server.Query{Kind: r.Kind, Place: r.Place, Name: r.ID})
	for _, t := range list {
		if got.Kept = (image{t}).Facts().Kept(r.Build); got.Kept == "" {
			got.Removed, err = true, d.api.delete(ctx, t.ID)
		}
	}
	return got, err
}

// layers implements remote.Layers: images with a key.
type layers struct{ d *driver }

func (l layers) find(ctx context.Context, q server.Query) (list []remote.Layer, err error) {
	found, err := l.d.api.list(ctx, q)
	for _, t := range found {
		used, _ := time.Parse(remote.Time, t.Tags[remote.Used]) // none is as long ago as it was made
		list = append(list, remote.Layer{
			Layer: platforms.Layer{Key: t.Tags[remote.Key], Ref: t.ID, Traits: traits}, Place: t.Place, Name: t.Name, Made: t.Made, Used: used,
		})
	}
	return list, err
}

// Find implements remote.Layers.
func (l layers) Find(ctx context.Context, place string, keys []string) ([]remote.Layer, error) {
	return l.find(ctx, server.Query{Kind: server.Image, Place: place, Tag: remote.Key, Values: keys})
}

// Unused implements remote.Layers.
func (l layers) Unused(ctx context.Context, place, project string) (list []remote.Layer, err error) {
	q := server.Query{Kind: server.Image, Place: place, Tag: remote.Key}
	if project != "" {
		q.Tag, q.Values = publish.Project, []string{project}
	}
	list, err = l.find(ctx, q)
	return slices.DeleteFunc(list, func(l remote.Layer) bool { return l.Key == "" }), err
}

// Delete implements remote.Layers.
func (l layers) Delete(ctx context.Context, layer remote.Layer) error {
	return l.d.api.delete(ctx, layer.Ref)
}

// Touch implements remote.Layers.
func (l layers) Touch(ctx context.Context, layer remote.Layer, at time.Time) error {
	return l.d.api.tag(ctx, layer.Ref, map[string]string{remote.Used: at.UTC().Format(remote.Time)})
}

// loop is how the cloud is waited for.
func loop(what string) wait.Loop {
	return wait.Loop{What: what, Timeout: time.Minute, Backoff: wait.Backoff{Next: 10 * time.Millisecond, Most: time.Second}, Unseen: 3}
}

// A machine is an instance. It implements instance.Cloud.
type machine struct {
	d      *driver
	id     string
	record *resource.Record
}

// Boot implements platforms.Driver.
func (d *driver) Boot(ctx context.Context, chain []platforms.Layer, out platforms.Logger) (platforms.Machine, error) {
	m := &machine{d: d}
	if err := d.use(ctx, chain[len(chain)-1].Ref); err != nil {
		return nil, err
	}
	var err error
	name := newName()
	m.id, m.record, err = d.create(ctx, server.Creation{
		Thing: server.Thing{Kind: server.Instance, Name: name, Place: home, Tags: d.tags()}, From: chain[len(chain)-1].Ref, Key: d.key.Authorized(),
	})
	if err != nil {
		return nil, err
	}
	opened, err := m.enter(ctx, out)
	if err != nil {
		return nil, errors.Join(err, m.End())
	}
	return opened, nil
}

// use notes the use of a layer, and finds out whether it is there.
func (d *driver) use(ctx context.Context, ref string) error {
	list, err := layers{d}.find(ctx, server.Query{ID: ref})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("image %s: %w: build again", ref, wait.ErrGone)
	}
	if err != nil {
		return err
	}
	return d.Cache.Use(ctx, list[0])
}

func (m *machine) enter(ctx context.Context, out platforms.Logger) (*instance.Machine, error) {
	c, err := m.d.options.Config(m.d.host, m.d.key, "root")
	if err != nil {
		return nil, err
	}
	if c.Caches, err = m.d.host.CacheDir("toycloud-caches"); err != nil {
		return nil, err
	}
	err = loop("instance "+m.id).Until(ctx, func(ctx context.Context) (bool, error) {
		t, err := m.d.api.get(ctx, m.id)
		c.Address = t.Address
		return c.Address != "", err
	})
	if err != nil {
		return nil, err
	}
	return instance.Open(ctx, instance.Config{
		Name: "instance " + m.id, Cloud: m, SSH: c, Key: m.d.key, Traits: traits, Layers: m.d.Cache, Policy: m.d.options.Policy(), Every: time.Second,
	}, out)
}

// Gone implements instance.Cloud.
func (m *machine) Gone(ctx context.Context) error {
	if _, err := m.d.api.get(ctx, m.id); errors.Is(err, wait.ErrNotFound) {
		return wait.ErrGone
	}
	return nil
}

// Snapshot implements instance.Cloud.
func (m *machine) Snapshot(ctx context.Context, s platforms.State) (string, error) {
	tags := m.d.tags()
	tags[remote.Key], tags[remote.Used] = s.Key, time.Now().UTC().Format(remote.Time)
	id, record, err := m.d.create(ctx, server.Creation{Thing: server.Thing{Kind: server.Image, Name: newName(), Place: home, Tags: tags}, From: m.id})
	if err != nil {
		return "", err
	}
	return id, record.Forget()
}

// Await implements instance.Cloud: images of the toy are made at once.
func (m *machine) Await(context.Context, string) error { return nil }

// Discard implements instance.Cloud.
func (m *machine) Discard(ctx context.Context, ref string) error { return m.d.api.delete(ctx, ref) }

// End implements instance.Cloud.
func (m *machine) End() error {
	return m.record.Remove(context.Background(), func(ctx context.Context) error { return m.d.api.delete(ctx, m.id) })
}
