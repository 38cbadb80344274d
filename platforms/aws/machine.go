package aws

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/instance"
	"bake.build/bake/platforms/resource"
)

// A machine is an instance.
type machine struct {
	base
	*instance.Machine // nil until it can be used

	d       *driver
	token   string
	id      string
	volume  string // of the root device
	address string
	logger  platforms.Logger
	record  *resource.Record
}

var _ instance.Cloud = (*machine)(nil)

func (m *machine) say(format string, args ...any) {
	_, _ = fmt.Fprintf(m.logger, format+"\n", args...) // the log keeps its own error
}

// enter waits until the instance can be used.
func (m *machine) enter(ctx context.Context, out platforms.Logger) error {
	key, err := m.d.key()
	if err != nil {
		return err
	}
	caches, err := m.d.host.CacheDir("aws-caches")
	if err != nil {
		return err
	}
	c, err := m.d.options.Login.Config(m.d.host, key, m.user)
	if err != nil {
		return err
	}
	c.Address = net.JoinHostPort(m.address, fmt.Sprint(sshPort))
	c.Caches, c.Console, c.CloudInit = caches, m.console, true
	if m.d.options.Connect == connectSession {
		c.Dial = m.dialSession
	}
	if err := m.d.options.Bastions.Apply(&c); err != nil {
		return err
	}
	m.Machine, err = instance.Open(ctx, instance.Config{
		Name: fmt.Sprintf("%s: instance %s", m.region, m.id), Cloud: m, SSH: c, Key: key, Traits: m.traits(),
		Layers: m.d.Cache, Policy: m.d.options.Policy(), Every: 20 * m.d.pause,
	}, out)
	return err
}

// Gone implements instance.Cloud.
func (m *machine) Gone(ctx context.Context) error {
	i, err := m.d.instance(ctx, m.region, m.id)
	if err != nil || i == nil { // what AWS does not tell is no reason to give up
		return nil
	}
	return ended(i)
}

// consoleLines is how much of the console is shown.
const consoleLines = 20

// console returns the last lines of the instance's console.
func (m *machine) console() []string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := m.d.clients.ec2(ctx, m.region)
	if err != nil {
		return []string{err.Error()}
	}
	out, err := c.GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: aws.String(m.id)})
	if err != nil {
		return []string{fmt.Sprintf("(the console cannot be read: %v)", err)}
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(out.Output))
	if err != nil {
		return []string{fmt.Sprintf("(the console cannot be read: %v)", err)}
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(text), "\r", "")), "\n")
	return lines[max(0, len(lines)-consoleLines):]
}

// Snapshot implements instance.Cloud: it makes the snapshot or the image that is the
// layer.
func (m *machine) Snapshot(ctx context.Context, s platforms.State) (ref string, err error) {
	token := newToken()
	record, err := m.d.Begin(ctx, kindSnapshot, m.region, token)
	if err != nil {
		return "", err
	}
	var t tries
	if m.asImage() {
		ref, err = m.makeImage(ctx, s, token, &t)
	} else {
		ref, err = m.makeSnapshot(ctx, s, token, &t)
	}
	if err != nil || ref == "" {
		return "", errors.Join(err, t.unmade(ctx, record))
	}
	return ref, record.Forget()
}

// Await implements instance.Cloud.
func (m *machine) Await(ctx context.Context, ref string) error {
	if m.asImage() {
		_, err := m.d.waitImage(ctx, m.region, ref)
		return err
	}
	return m.d.waitSnapshot(ctx, m.region, ref, unseenMost)
}

// Discard implements instance.Cloud.
func (m *machine) Discard(ctx context.Context, ref string) error {
	return m.d.deleteSnapshot(ctx, m.region, ref)
}

// End implements instance.Cloud.
func (m *machine) End() error {
	if err := m.d.terminate(context.Background(), m.region, m.id); err != nil {
		return err
	}
	m.d.site.Ending(m.id)
	return m.record.Forget()
}

// asImage reports whether layers of the machine are AMIs: only these keep product codes,
// and several volumes as they are at one moment.
func (m *machine) asImage() bool {
	return m.codes || len(m.volumes) > 0 || len(m.d.options.Volumes) > 0
}

// rateLimits are the answers to who makes snapshots of one volume too quickly.
var rateLimits = []string{"SnapshotCreationPerVolumeRateExceeded", "ConcurrentSnapshotLimitExceeded", "PendingSnapshotLimitExceeded"}

// layerTags are the tags of a layer.
func (m *machine) layerTags(s platforms.State, token string) map[string]string {
	f := m.facts
	f.user = cmp.Or(m.d.options.User, f.user)
	tags := m.d.tags(s.Name, token)
	maps.Copy(tags, map[string]string{tagKey: s.Key, tagUsed: now(), tagFacts: f.String()})
	return tags
}

// makeSnapshot begins a snapshot of the root volume. The id is "" when AWS asks to
// wait and nobody needs it.
func (m *machine) makeSnapshot(ctx context.Context, s platforms.State, token string, t *tries) (id string, err error) {
	c, err := m.d.clients.ec2(ctx, m.region)
	if err != nil {
		return "", err
	}
	in := &ec2.CreateSnapshotInput{
		VolumeId: aws.String(m.volume), Description: aws.String("a layer of bake's: " + s.Name), TagSpecifications: tagged(m.layerTags(s, token), types.ResourceTypeSnapshot),
	}
	err = m.d.loop(fmt.Sprintf("%s: make a snapshot of %s", m.region, m.volume), snapshotTimeout, 0).Until(ctx, func(ctx context.Context) (bool, error) {
		out, err := c.CreateSnapshot(ctx, in, t.watch)
		if hasCode(err, rateLimits...) {
			if t.lost.Load() { // it may be of the try before
				id, err = m.oneSnapshot(ctx, token, "", nil)
			} else {
				err = nil
			}
			return id != "" || !s.Needed, err
		} else if err != nil {
			return false, quota(err)
		}
		id = aws.ToString(out.SnapshotId)
		return true, nil
	})
	if t.lost.Load() && ctx.Err() == nil {
		return m.oneSnapshot(ctx, token, id, err)
	}
	return id, err
}

// oneSnapshot looks, after an answer was lost, which snapshots the tries of a request
// have made. One of them is the layer, and no other one stays.
func (m *machine) oneSnapshot(ctx context.Context, token, id string, failure error) (string, error) {
	list, err := m.d.findSnapshots(ctx, m.region, filter("tag:"+tagToken, token))
	if err != nil {
		return id, errors.Join(failure, err)
	}
	for _, s := range list {
		switch other := aws.ToString(s.SnapshotId); {
		case id == "":
			id = other
		case other != id:
			if err := m.d.dropSnapshot(ctx, m.region, other); err != nil {
				return id, err
			}
		}
	}
	if id == "" {
		return "", failure
	}
	return id, nil
}

// makeImage begins an AMI of the instance: the product codes and further volumes stay
// with it.
func (m *machine) makeImage(ctx context.Context, s platforms.State, token string, t *tries) (string, error) {
	c, err := m.d.clients.ec2(ctx, m.region)
	if err != nil {
		return "", err
	}
	tags := m.layerTags(s, token)
	own := maps.Clone(tags)
	delete(own, tagKey) // the snapshots are not layers by themselves
	out, err := c.CreateImage(ctx, &ec2.CreateImageInput{
		InstanceId: aws.String(m.id), Name: aws.String("bake-" + token), Description: aws.String("a layer of bake's: " + s.Name), NoReboot: aws.Bool(true),
		TagSpecifications: append(tagged(tags, types.ResourceTypeImage), tagged(own, types.ResourceTypeSnapshot)...),
	}, t.watch)
	if err != nil {
		if id, err := m.d.registered(ctx, m.region, "bake-"+token, err); err == nil {
			return id, nil
		}
		return "", fmt.Errorf("%s: make an image of %s: %w", m.region, m.id, err)
	}
	return aws.ToString(out.ImageId), nil
}
