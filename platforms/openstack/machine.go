package openstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/instance"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
)

// A machine is a server.
type machine struct {
	*instance.Machine // nil until it can be used

	d        *driver
	p        *place
	base     image
	id, name string
	address  string
	logger   platforms.Logger
	record   *resource.Record
	floating *resource.Record // nil without a floating address
	taken    string           // the id of a floating address that is the project's
}

var _ instance.Cloud = (*machine)(nil)

func (m *machine) say(format string, args ...any) {
	_, _ = fmt.Fprintf(m.logger, format+"\n", args...) // the log keeps its own error
}

// enter waits until the server can be used.
func (m *machine) enter(ctx context.Context, out platforms.Logger) error {
	key, err := m.d.key()
	if err != nil {
		return err
	}
	c, err := m.d.options.Login.Config(m.d.host, key, m.base.user())
	if err != nil {
		return err
	}
	if c.Caches, err = m.d.host.CacheDir("openstack-caches"); err != nil {
		return err
	}
	c.Address, c.Console, c.CloudInit = net.JoinHostPort(m.address, fmt.Sprint(sshPort)), m.console, true
	if err := m.d.options.Bastions.Apply(&c); err != nil {
		return err
	}
	m.Machine, err = instance.Open(ctx, instance.Config{
		Name: fmt.Sprintf("%s: server %s", m.p.region, m.id), Cloud: m, SSH: c, Key: key, Traits: m.base.traits(),
		Layers: m.d.Cache, Policy: m.d.options.Policy(), Every: 20 * m.d.pause,
	}, out)
	return err
}

// Gone implements instance.Cloud.
func (m *machine) Gone(ctx context.Context) error {
	s, err := m.d.server(ctx, m.p.region, m.id)
	switch {
	case err != nil: // what the cloud does not tell is no reason to give up
		return nil
	case s == nil:
		return errors.New("it has been deleted")
	}
	return ended(s)
}

// consoleLines is how much of the console is shown.
const consoleLines = 20

// console returns the last lines of the server's console.
func (m *machine) console() []string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	text, err := servers.ShowConsoleOutput(ctx, m.p.compute, m.id, servers.ShowConsoleOutputOpts{Length: consoleLines}).Extract()
	if err != nil {
		return []string{fmt.Sprintf("(the console cannot be read: %v)", explain(err))}
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r", "")), "\n")
	return lines[max(0, len(lines)-consoleLines):]
}

// Snapshot implements instance.Cloud: Nova makes an image of the server. A copy of a disk
// in use has what is on it when the copy ends, and not when it begins: so the server is not
// given back before that is over. It then goes on while the image is uploaded.
func (m *machine) Snapshot(ctx context.Context, s platforms.State) (string, error) {
	name := "bake-" + newToken()
	record, err := m.d.Begin(ctx, kindLayer, m.p.region, name)
	if err != nil {
		return "", err
	}
	in := servers.CreateImageOpts{Name: name, Metadata: m.layerMarks(s, name)}
	id, busy := "", false
	err = m.d.loop(fmt.Sprintf("%s: make an image of the server %s", m.p.region, m.id), imageTimeout, 0).Until(ctx, func(ctx context.Context) (bool, error) {
		id, err = servers.CreateImage(ctx, m.p.compute, m.id, in).ExtractImageID()
		if busy = conflict(err); busy { // it is making another one
			return !s.Needed, nil
		}
		return true, judge(err)
	})
	switch {
	case err != nil:
		return "", record.Failed(ctx, err)
	case busy:
		return "", record.Forget()
	}
	switch err := m.copied(ctx, id); {
	case errors.Is(err, remote.ErrFailed):
		return "", errors.Join(err, record.Remove(ctx, func(ctx context.Context) error { return m.d.removeID(ctx, m.p.region, id) }))
	case err != nil:
		return "", errors.Join(err, record.Look(ctx))
	}
	return id, record.Forget()
}

// layerMarks are the marks of a layer, the empty ones to take the place of those that Nova
// takes from the server's own image.
func (m *machine) layerMarks(s platforms.State, name string) map[string]string {
	marks := map[string]string{}
	for mark := range m.base.marks() {
		marks[mark] = ""
	}
	maps.Copy(marks, m.d.marks(name))
	maps.Copy(marks, map[string]string{
		remote.Key: s.Key, remote.Used: now(), markLayer: "1", markStep: s.Name[:min(len(s.Name), nameMost)], markUser: cmp.Or(m.d.options.User, m.base.user()),
	})
	return marks
}

// copied waits until Nova has read the server's disk.
func (m *machine) copied(ctx context.Context, id string) error {
	return m.d.loop(fmt.Sprintf("%s: image %s", m.p.region, id), imageTimeout, 0).Until(ctx, func(ctx context.Context) (bool, error) {
		i, err := m.d.image(ctx, m.p.region, id)
		if err != nil {
			return false, err
		} else if i == nil {
			return false, fmt.Errorf("%w: Nova has removed it again", remote.ErrFailed)
		}
		switch i.Status {
		case images.ImageStatusSaving, images.ImageStatusActive, images.ImageStatusImporting, "uploading":
			return true, nil
		case images.ImageStatusQueued:
			return false, m.d.stuck(ctx, *i)
		}
		return false, fmt.Errorf("%w: its status is %s", remote.ErrFailed, i.Status)
	})
}

// stuck returns an error if an image waits for data that no server sends any more: Nova is
// not at work on it, or the server is not there.
func (d *driver) stuck(ctx context.Context, i image) error {
	server := i.property("instance_uuid")
	if i.Status != images.ImageStatusQueued || server == "" {
		return nil
	}
	s, err := d.server(ctx, i.region, server)
	if err != nil || s != nil && s.TaskState != "" {
		return err
	}
	again, err := d.image(ctx, i.region, i.ID) // it may have been finished meanwhile
	if err != nil || again == nil || again.Status != images.ImageStatusQueued {
		return err
	}
	return fmt.Errorf("%w: it is queued, and Nova is not at work on it any more", remote.ErrFailed)
}

// Await implements instance.Cloud.
func (m *machine) Await(ctx context.Context, ref string) error {
	_, err := m.d.waitLayer(ctx, m.p.region, ref, unseenMost)
	return err
}

// Discard implements instance.Cloud.
func (m *machine) Discard(ctx context.Context, ref string) error {
	return m.d.removeID(ctx, m.p.region, ref)
}

// End implements instance.Cloud.
func (m *machine) End() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if err := m.sink(ctx); err != nil {
		return err
	}
	if err := m.d.deleteServer(ctx, m.p.region, m.id); err != nil {
		return err
	}
	m.d.site.Ending(m.id)
	return m.record.Forget()
}

// server returns what is known of a server, or nil where there is none.
func (d *driver) server(ctx context.Context, region, id string) (*servers.Server, error) {
	c, err := d.clients.compute(ctx, region)
	if err != nil {
		return nil, err
	}
	s, err := servers.Get(ctx, c, id).Extract()
	if missing(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: look for the server %s: %w", region, id, explain(err))
	}
	return s, nil
}

// deleteServer ends a server. It does not wait until it is gone.
func (d *driver) deleteServer(ctx context.Context, region, id string) error {
	c, err := d.clients.compute(ctx, region)
	if err != nil {
		return err
	}
	if err := unless(servers.Delete(ctx, c, id).ExtractErr()); err != nil {
		return fmt.Errorf("%s: delete the server %s: %w", region, id, err)
	}
	return nil
}

// endTimeout is how long a server, and what depends on its end, may take to go.
const endTimeout = 10 * time.Minute

// waitGone waits until a server is not there any more.
func (d *driver) waitGone(ctx context.Context, region, id string) error {
	return d.loop(fmt.Sprintf("%s: the end of the server %s", region, id), endTimeout, 0).Until(ctx, func(ctx context.Context) (bool, error) {
		s, err := d.server(ctx, region, id)
		return err == nil && (s == nil || s.Status == "DELETED" || s.Status == "SOFT_DELETED"), err
	})
}
