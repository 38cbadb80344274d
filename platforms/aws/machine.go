package aws

import (
	"cmp"
	"context"
	_ "embed" // for scripts
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/identity"
	"bake.build/bake/platforms/remote"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/ssh"
	"bake.build/bake/platforms/wait"
)

// A machine is an instance.
type machine struct {
	base
	d       *driver
	token   string
	id      string
	volume  string // of the root device
	address string
	ssh     *ssh.Machine // nil until it can be used
	logger  platforms.Logger
	record  *resource.Record

	life   context.Context // of the build: waiting for AWS ends with it
	since  time.Time       // of the work that no layer has
	saving sync.WaitGroup  // snapshots that AWS is still making

	mu     sync.Mutex
	closed bool
	asking bool      // a request is on its way that asks AWS how it is
	looked time.Time // when AWS was last asked that
	gone   error     // why it does not run any more
	lost   []error   // of layers that were begun
}

var (
	_ platforms.Machine    = (*machine)(nil)
	_ platforms.Rebooter   = (*machine)(nil)
	_ platforms.Sheller    = (*machine)(nil)
	_ platforms.PortWaiter = (*machine)(nil)
)

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
	c.Caches, c.Console, c.Alive, c.CloudInit = caches, m.console, m.alive, true
	if m.d.options.Connect == connectSession {
		c.Dial = m.dialSession
	}
	if c.Jump = m.d.options.Bastion; len(c.Jump) > 0 {
		c.Agent = os.Getenv("SSH_AUTH_SOCK") != ""
		if c.ConfigFile, err = sshConfig(); err != nil {
			return err
		}
	}
	if m.ssh, err = ssh.Connect(ctx, c, out); err != nil {
		return fmt.Errorf("%s: instance %s: %w", m.region, m.id, err)
	}
	m.since = time.Now()
	return nil
}

// sshConfig returns the path of the user's configuration of OpenSSH, or "" for none.
func sshConfig() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(home, ".ssh", "config")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	return path, nil
}

// alive returns why the instance does not run any more. AWS is asked now and then
// only.
func (m *machine) alive() error {
	m.mu.Lock()
	gone, known := m.gone, m.gone != nil || m.asking || time.Since(m.looked) < 20*m.d.pause
	m.asking = m.asking || !known
	m.mu.Unlock()
	if known {
		return gone
	}
	return m.look(m.life)
}

// look asks AWS why the instance does not run any more.
func (m *machine) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	i, err := m.d.instance(ctx, m.region, m.id)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looked, m.asking = time.Now(), false
	if err == nil && i != nil { // what AWS does not tell is no reason to give up
		m.gone = ended(i)
	}
	return m.gone
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

// explain adds to an error what AWS knows of its cause.
func (m *machine) explain(ctx context.Context, err error) error {
	exit := (*platforms.ExitError)(nil)
	if err == nil || errors.As(err, &exit) || ctx.Err() != nil {
		return err
	}
	if gone := m.look(ctx); gone != nil {
		return fmt.Errorf("%s: instance %s: %w", m.region, m.id, gone)
	}
	return err
}

// Run implements platforms.Machine.
func (m *machine) Run(ctx context.Context, c platforms.Cmd) error {
	return m.explain(ctx, m.ssh.Run(ctx, c))
}

// Write implements platforms.Machine.
func (m *machine) Write(ctx context.Context, dst string, tar io.Reader) error {
	return m.explain(ctx, m.ssh.Write(ctx, dst, tar))
}

// Read implements platforms.Machine.
func (m *machine) Read(ctx context.Context, src string, tar io.Writer) error {
	return m.explain(ctx, m.ssh.Read(ctx, src, tar))
}

// Shell implements platforms.Sheller.
func (m *machine) Shell(ctx context.Context, c platforms.Cmd) error { return m.ssh.Shell(ctx, c) }

// Reboot implements platforms.Rebooter.
func (m *machine) Reboot(ctx context.Context) error { return m.explain(ctx, m.ssh.Reboot(ctx)) }

// WaitPort implements platforms.PortWaiter. The port is looked at from within the
// instance, whose security group lets nobody else in.
func (m *machine) WaitPort(ctx context.Context, port int) error {
	loop := wait.Loop{What: fmt.Sprintf("port %d", port), Backoff: wait.Backoff{Next: portPause, Most: time.Second}}
	err := loop.Until(ctx, func(ctx context.Context) (bool, error) {
		for _, host := range []string{"127.0.0.1", m.address} {
			conn, err := m.ssh.Dial(ctx, "tcp", net.JoinHostPort(host, fmt.Sprint(port)))
			if err == nil {
				return true, conn.Close()
			}
		}
		return false, m.alive()
	})
	if ctx.Err() != nil && err != nil {
		return fmt.Errorf("port %d: nothing accepts connections: %w", port, context.Cause(ctx))
	}
	return err
}

const portPause = 100 * time.Millisecond

// worth reports whether a state is worth a layer.
func (m *machine) worth(s platforms.State) bool {
	return m.d.layers.Worth(remote.Policy(m.d.options.Checkpoint), s.Needed, m.since)
}

// Commit implements platforms.Machine. Layers are kept on AWS. The instance goes on
// while AWS makes the snapshot.
func (m *machine) Commit(ctx context.Context, s platforms.State) (platforms.Made, error) {
	if ctx.Err() != nil {
		return platforms.Made{}, context.Cause(ctx)
	}
	if m.isClosed() {
		return platforms.Made{}, fmt.Errorf("commit: the machine of %s is closed", m.id)
	}
	if !m.worth(s) {
		return platforms.Made{Dropped: true}, nil
	}
	ref, err := m.save(ctx, s)
	return platforms.Made{Ref: ref, Traits: m.traits(), Dropped: ref == ""}, err
}

func (m *machine) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

// save makes the snapshot or the image that is the layer. The reference is "" where
// AWS asks to wait and nobody needs it.
func (m *machine) save(ctx context.Context, s platforms.State) (ref string, err error) {
	if err := m.explain(ctx, m.hide(ctx)); err != nil {
		return "", fmt.Errorf("take away what was put there for the build: %w", err)
	}
	token := newToken()
	record, err := m.d.Begin(ctx, kindSnapshot, m.region, token)
	if err != nil {
		return "", err
	}
	begun := time.Now()
	var t tries
	if m.asImage() {
		ref, err = m.makeImage(ctx, s, token, &t)
	} else {
		ref, err = m.makeSnapshot(ctx, s, token, &t)
	}
	back := m.bring(context.WithoutCancel(ctx))
	if err != nil {
		return "", errors.Join(m.explain(ctx, err), back, t.unmade(ctx, record))
	}
	if ref == "" {
		return "", errors.Join(back, t.unmade(ctx, record))
	}
	if err := errors.Join(back, record.Forget()); err != nil {
		return ref, err
	}
	m.since = time.Now()
	m.d.layers.Began(ref)
	m.saving.Go(func() {
		if err := m.settle(s, ref, begun); err != nil {
			m.mu.Lock()
			m.lost = append(m.lost, fmt.Errorf("the layer of %s is lost: %w", s.Name, err))
			m.mu.Unlock()
		}
	})
	return ref, nil
}

// settle waits until a layer is made. How long that took is what the next one is
// held to cost. One that failed is removed if nobody needs it; who needs one finds out.
// AWS makes it to its end without anybody waiting, so that a build that is cancelled
// does not; gc removes one that has failed then.
func (m *machine) settle(s platforms.State, ref string, begun time.Time) error {
	ctx := m.life
	var err error
	if m.asImage() {
		_, err = m.d.waitImage(ctx, m.region, ref)
	} else {
		err = m.d.waitSnapshot(ctx, m.region, ref, unseenMost)
	}
	switch {
	case err == nil:
		m.d.layers.Took(time.Since(begun))
		return nil
	case s.Needed || ctx.Err() != nil:
		return nil
	case errors.Is(err, errSnapshotFailed):
		return errors.Join(err, m.d.deleteSnapshot(ctx, m.region, ref))
	}
	return err
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

// What is in the machine for the build, and what a machine must not share with those
// that are made of its layer, is taken away while that is made: the build's key, what
// cloud-init keeps of this instance, user data included, the machine's identity, its
// random seed and leases, and its host keys where something makes new ones. It waits in
// memory, and the machine's disks are written before the moment of the snapshot, logs of
// file systems included. $1 is
// the key.
var (
	//go:embed hide.sh
	hideScript string
	//go:embed bring.sh
	bringScript string
)

func (m *machine) hide(ctx context.Context) error {
	key, err := m.d.key()
	if err != nil {
		return err
	}
	return m.script(ctx, ssh.FlushLogs+identity.Script+hideScript, strings.Fields(key.Authorized())[1])
}

func (m *machine) bring(ctx context.Context) error {
	if err := m.script(ctx, bringScript); err != nil {
		return fmt.Errorf("bring back what was taken away for the layer: %w", err)
	}
	return nil
}

func (m *machine) script(ctx context.Context, text string, args ...string) error {
	var said strings.Builder
	err := m.ssh.Run(ctx, platforms.Cmd{Args: append([]string{"sh", "-c", text, "sh"}, args...), Stdout: &said, Stderr: &said})
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

// Close implements platforms.Machine. The instance ends when AWS has made the
// snapshots of it, or at once when the build is cancelled. An error tells of those that
// it could not make, too.
func (m *machine) Close() error {
	m.mu.Lock()
	closed := m.closed
	m.closed = true
	m.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	if m.ssh != nil {
		errs = append(errs, m.ssh.Close())
	}
	m.saving.Wait()
	errs = append(errs, m.lost...)
	if err := m.d.terminate(context.Background(), m.region, m.id); err != nil {
		return errors.Join(append(errs, err)...)
	}
	m.d.ending(m.id)
	return errors.Join(append(errs, m.record.Forget())...)
}
