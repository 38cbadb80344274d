package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/rootfs/archive"
	"bake.build/bake/platforms/rootfs/cover"
	"bake.build/bake/platforms/rootfs/sandbox"
)

// grace is how long a command has between SIGTERM and SIGKILL.
const grace = 2 * time.Second

// Run implements platforms.Machine. All that the command started has ended
// when Run returns.
func (m *machine) Run(ctx context.Context, c platforms.Cmd) error {
	return m.run(ctx, c, nil)
}

// run runs c, on the terminal if it is not nil.
func (m *machine) run(ctx context.Context, c platforms.Cmd, t *terminal) error {
	if len(c.Args) == 0 {
		return errors.New("run: no command")
	}
	verb := "run " + c.Args[0]
	ctx, unlock, err := m.lock(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	defer unlock()
	over, err := m.makeCover(!c.NoNetwork)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	job, err := m.job(c, over)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	mounts, release, err := m.driver.caches(ctx, c.Caches, c.Waiting)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	defer release()
	job.Caches = mounts
	job.Terminal = t != nil
	if m.group == nil {
		m.group = m.driver.groups.make()
	}
	killed := m.group.kills()
	result, err := m.driver.start(ctx, job, c, m.group, t)
	if err := over.Settle(m.upper()); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if errors.Is(err, errInitEnded) && m.group.kills() > killed {
		// The limit is too tight even for the init.
		result, err = sandbox.Result{Code: -1, Signal: "killed"}, nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if result.Err != "" {
		return fmt.Errorf("%s: %s", verb, result.Err)
	}
	if result.Code == 0 && result.Signal == "" {
		return nil
	}
	exit := &platforms.ExitError{Code: result.Code, Signal: result.Signal, Reason: result.Reason}
	if exit.Reason == "" && m.group.kills() > killed {
		exit.Reason = "out of memory: the machine reached its limit of " + size(m.driver.limits.memory)
	}
	return exit
}

// errInitEnded says that a machine's init died with its command.
var errInitEnded = errors.New("the machine's init ended before the command")

func size(bytes int64) string {
	if bytes == 0 {
		return "the host's memory"
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

func (m *machine) job(c platforms.Cmd, over *cover.Cover) (sandbox.Job, error) {
	job := sandbox.Job{
		Base:    m.base(),
		UserNS:  m.driver.userNS,
		Network: !c.NoNetwork,
		GraceMS: int(grace.Milliseconds()),
		Args:    c.Args,
		Env:     slices.Concat([]string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", m.epoch.Unix())}, m.env, c.Env),
		Dir:     c.Dir,
		User:    c.User,
	}
	for _, f := range c.Files {
		name := filepath.Clean(f.Path)
		if !strings.HasPrefix(name, "/run/") {
			return job, fmt.Errorf("file %s: files in memory lie below /run", f.Path)
		}
		job.Files = append(job.Files, sandbox.File{Path: name, Data: f.Data, Mode: f.Mode, User: f.User})
	}
	job.Files = append(job.Files, runFiles(over, c.Files)...)
	for _, cache := range c.Caches {
		if !filepath.IsAbs(cache.Dir) || filepath.Clean(cache.Dir) == "/" {
			return job, fmt.Errorf("cache %q: %q is not an absolute path below the root directory", cache.ID, cache.Dir)
		}
	}
	var err error
	if job.Layers, err = m.layers(); err != nil {
		return job, err
	}
	job.Layers.Cover = m.cover()
	return job, nil
}

// runFiles are the files below /run that a step finds, but for those that it
// has itself: the mark by which systemd's tools know where they are, and the
// host's name servers where an image looks for those of a running system.
func runFiles(over *cover.Cover, own []platforms.File) []sandbox.File {
	files := []sandbox.File{{Path: "/run/systemd/container", Data: []byte(sandbox.Hostname + "\n"), Mode: 0o644}}
	for _, name := range over.Memory {
		files = append(files, sandbox.File{Path: name, Data: over.Resolv, Mode: 0o644})
	}
	return slices.DeleteFunc(files, func(f sandbox.File) bool {
		return slices.ContainsFunc(own, func(o platforms.File) bool { return filepath.Clean(o.Path) == f.Path })
	})
}

func (m *machine) cover() string { return filepath.Join(m.dir, "cover") }

// makeCover fills the machine's cover for a step on the layers as they are.
func (m *machine) makeCover(network bool) (*cover.Cover, error) {
	o := cover.Options{Hostname: sandbox.Hostname}
	if network {
		var err error
		if o.Resolv, err = readIfAny("/etc/resolv.conf"); err != nil {
			return nil, err
		}
		if o.Hosts, err = readIfAny("/etc/hosts"); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(os.RemoveAll(m.cover()), archive.NewDir(m.cover(), 0o755)); err != nil {
		return nil, err
	}
	below, err := m.layers()
	if err != nil {
		return nil, err
	}
	below.Upper, below.Work = "", ""
	var over *cover.Cover
	err = below.Use(m.base(), func(root string) (err error) {
		over, err = cover.Make(root, m.cover(), o)
		return err
	})
	return over, err
}

func readIfAny(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// start starts an init for the job and waits for its end.
func (d *driver) start(ctx context.Context, job sandbox.Job, c platforms.Cmd, g *group, t *terminal) (sandbox.Result, error) {
	if err := ctx.Err(); err != nil {
		return sandbox.Result{}, context.Cause(ctx)
	}
	p, err := d.spawn(job, c)
	if err != nil {
		return sandbox.Result{}, err
	}
	if err := g.add(p.cmd.Process.Pid); err != nil {
		return sandbox.Result{}, errors.Join(err, p.kill())
	}
	p.send(job)
	stop := context.AfterFunc(ctx, func() { p.stop(errors.Is(context.Cause(ctx), errClosed)) })
	defer stop()
	if t != nil {
		if err := t.serve(p.results); err != nil {
			return sandbox.Result{}, errors.Join(err, p.kill())
		}
	}
	answer, readErr := io.ReadAll(p.results)
	waitErr := p.wait()
	if ctx.Err() != nil {
		return sandbox.Result{}, context.Cause(ctx)
	}
	var result sandbox.Result
	if len(answer) == 0 || readErr != nil {
		return result, errors.Join(errInitEnded, readErr, waitErr)
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return result, fmt.Errorf("read result: %w", err)
	}
	return result, waitErr
}
