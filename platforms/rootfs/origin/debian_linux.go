package origin

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"bake.build/bake/internal/userns"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/fetch"
	"bake.build/bake/platforms/rootfs/archive"
)

var (
	//go:embed debian.sh
	debianScript string
	//go:embed initramfs-hook
	initramfsHook string
	//go:embed ssh-host-keys.service
	sshHostKeys string
)

// Recipe identifies what of this package decides, beside an origin's options
// and pin, what is imported.
func Recipe() string {
	h := sha256.New()
	for _, file := range []string{debianScript, initramfsHook, sshHostKeys, copyFiles} {
		fmt.Fprintf(h, "%d\n%s", len(file), file)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// importDebian installs a suite in tree with mmdebstrap.
func importDebian(ctx context.Context, opts Options, o platforms.Origin, tree string, h platforms.Host, out platforms.Logger) error {
	if err := opts.checkDebian(); err != nil {
		return err
	}
	dist, suite := opts.distro()
	if o.Pin == nil {
		return fmt.Errorf("%s: the origin was not pinned", dist.name)
	}
	if err := missing(debianProblems(dist, opts.keyringPath(o))); err != nil {
		return fmt.Errorf("%s %s: %w", dist.name, suite, err)
	}
	cache, err := h.CacheDir("debian")
	if err != nil {
		return err
	}
	scratch, remove, err := h.TempDir("debian")
	if err != nil {
		return err
	}
	d := installation{opts: opts, distro: dist, suite: suite, pin: o.Pin, keyring: opts.keyringPath(o), custom: o.Paths["keyring"] != "" || opts.Keyring != "",
		cache: cache, scratch: scratch, out: out, offline: platforms.Offline(h)}
	err = d.install(ctx)
	if err == nil {
		err = d.finish(tree)
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w", dist.name, suite, err)
	}
	return errors.Join(err, remove(), fetch.Prune(filepath.Join(cache, "files"), time.Now().Add(-fetch.KeepUnused)),
		fetch.Prune(filepath.Join(cache, "release"), time.Now().Add(-fetch.KeepUnused)))
}

// An installation is one of a distribution.
type installation struct {
	opts    Options
	distro  distro
	suite   string
	pin     *platforms.Pin
	keyring string // on the host
	custom  bool   // the keyring is not that of a package
	cache   string
	scratch string
	out     platforms.Logger
	offline bool
}

// install fills scratch/upper.
func (d installation) install(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	releases, err := d.releases(ctx)
	if err != nil {
		return err
	}
	c := fetch.NewClient()
	defer c.Close()
	c.Offline = d.offline
	c.UseProxy(readHostApt(ctx, "/", d.distro, d.opts.Arch).proxy)
	m, err := openMirror(ctx, c, d.cache, partsOf(d.pin), releases, d.out)
	if err != nil {
		return err
	}
	if err := d.writeInputs(); err != nil {
		return errors.Join(err, m.close())
	}
	var prefetching sync.WaitGroup
	prefetching.Go(func() { d.prefetch(ctx, m) })
	err = d.mmdebstrap(ctx, m)
	cancel()
	prefetching.Wait()
	return errors.Join(err, m.close())
}

// releases returns the pinned release files, from the cache or from the mirror.
func (d installation) releases(ctx context.Context) (map[string][]byte, error) {
	files, err := pinnedReleases(d.cache, d.pin)
	if !errors.Is(err, fs.ErrNotExist) {
		return files, err
	}
	p := pinner{distro: d.distro, client: fetch.NewClient(), keyring: d.keyring, cache: d.cache}
	defer p.client.Close()
	p.client.Offline = d.offline
	p.client.UseProxy(readHostApt(ctx, "/", d.distro, d.opts.Arch).proxy)
	now, err := p.pin(ctx, partsOf(d.pin))
	if err != nil {
		return nil, err
	}
	if now.ID != d.pin.ID {
		return nil, fmt.Errorf("the archive has moved on from the pin of %s to that of %s (bake update takes the new one)", d.pin.Date, now.Date)
	}
	return pinnedReleases(d.cache, d.pin)
}

// writeInputs writes what the script reads.
func (d installation) writeInputs() error {
	parts := partsOf(d.pin)
	inImage, outside := d.distro.keyring, d.keyring
	files := map[string]string{
		"debian.sh":             debianScript,
		"initramfs-hook":        initramfsHook,
		"ssh-host-keys.service": sshHostKeys,
	}
	if d.custom {
		inImage = "/etc/apt/keyrings/" + d.distro.name + "-archive.gpg"
		outside = filepath.Join(d.scratch, "keyring.gpg") // where apt may read it
		data, err := os.ReadFile(d.keyring)
		if err != nil {
			return err
		}
		files["keyring.gpg"] = string(data)
	}
	var stale []string
	if d.opts.Snapshot != "" {
		stale = []string{"check-valid-until=no"}
	}
	files["sources.list"] = strings.Join(sourcesList(parts, d.opts.components(), inImage, "", stale...), "\n") + "\n"
	files["sources.build"] = strings.Join(sourcesList(parts, d.opts.components(), outside, "http"), "\n") + "\n"
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(d.scratch, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return archive.NewDir(filepath.Join(d.scratch, "upper"), 0o755)
}

func (d installation) mmdebstrap(ctx context.Context, m *mirror) error {
	variant := d.opts.Variant
	if variant == "" {
		variant = "minbase"
	}
	args := []string{"debian.sh", "run", "--variant=" + variant}
	if len(d.opts.Packages) > 0 {
		args = append(args, "--include="+strings.Join(d.opts.Packages, ","))
	}
	if d.opts.Arch != "" {
		args = append(args, "--architectures="+d.opts.Arch)
	}
	cmd := isolated(ctx, "/bin/sh", args...)
	cmd.Dir = d.scratch
	cmd.Env = append(cmd.Env, d.environment(m)...)
	log := &tail{to: d.out}
	cmd.Stdout, cmd.Stderr = log, log
	err := run(cmd)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		return fmt.Errorf("start mmdebstrap: %w", err)
	}
	if log.contains("Hash Sum mismatch") {
		err = errors.Join(err, m.distrust())
	}
	if why := log.reason(); why != "" {
		return fmt.Errorf("mmdebstrap: %s: %w", why, err)
	}
	return fmt.Errorf("mmdebstrap: %w", err)
}

func (d installation) environment(m *mirror) []string {
	form, docs, modules := "", "", d.opts.Initramfs
	if userns.Inside() {
		form = ",userxattr"
	}
	if d.opts.Docs {
		docs = "yes"
	}
	if modules == "" {
		modules = "vm"
	}
	env := []string{
		"BAKE_SCRATCH=" + d.scratch, "BAKE_PROXY=" + m.url, "BAKE_OVERLAY=" + form,
		"BAKE_DOCS=" + docs, "BAKE_MODULES=" + modules, "BAKE_SUITE=" + d.suite, "BAKE_DISTRO=" + d.distro.name,
		"BAKE_INCLUDE=" + strings.Join(d.opts.Packages, " "), "BAKE_LINKS=" + d.distro.merged(d.suite, d.opts.Arch),
		"TMPDIR=" + d.scratch,
		// One initramfs at the end rather than one for each package that has a
		// say in it.
		"INITRD=No",
	}
	if t, err := time.Parse(time.RFC3339, d.pin.Date); err == nil {
		env = append(env, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", t.Unix()))
	}
	return env
}

// prefetch waits for the list of packages that the script leaves and downloads
// them while mmdebstrap is at work on the first ones.
func (d installation) prefetch(ctx context.Context, m *mirror) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		data, err := os.ReadFile(filepath.Join(d.scratch, "uris"))
		if err == nil {
			m.prefetch(ctx, strings.Fields(string(data)))
			return
		}
	}
}

// finish moves what was installed to tree, after a check of what apt used.
func (d installation) finish(tree string) error {
	upper := filepath.Join(d.scratch, "upper")
	if err := d.checkReleases(upper); err != nil {
		return err
	}
	if err := stripOverlay(upper); err != nil {
		return err
	}
	if err := os.Remove(tree); err != nil {
		return err
	}
	return os.Rename(upper, tree)
}

// checkReleases makes sure that the release files that apt has used are those
// of the pin.
func (d installation) checkReleases(root string) error {
	found, err := filepath.Glob(filepath.Join(root, "var/lib/apt/lists/*_InRelease"))
	if err != nil {
		return err
	}
	var used, pinned []string
	for _, name := range found {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		used = append(used, "sha256:"+hexDigest(data))
	}
	for _, line := range d.pin.Detail {
		_, digest, _ := strings.Cut(line, " ")
		pinned = append(pinned, digest)
	}
	slices.Sort(used)
	slices.Sort(pinned)
	if !slices.Equal(used, pinned) {
		return fmt.Errorf("apt used the release files %s, pinned are %s", strings.Join(used, " "), strings.Join(pinned, " "))
	}
	return nil
}

// A tail hands on a log and keeps its end.
type tail struct {
	mu  sync.Mutex
	to  platforms.Logger
	end []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const keep = 64 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.end = append(t.end, p...); len(t.end) > 2*keep {
		t.end = bytes.Clone(t.end[len(t.end)-keep:])
	}
	return t.to.Write(p)
}

func (t *tail) contains(s string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Contains(t.end, []byte(s))
}

// reason returns what apt, dpkg or mmdebstrap itself gave as the cause: the
// first error of the end of the log, which the others follow from.
func (t *tail) reason() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range strings.Lines(string(t.end)) {
		line = strings.TrimSpace(line)
		for _, prefix := range []string{"E: ", "dpkg: error: ", "dpkg: error processing "} {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
		}
	}
	return ""
}
