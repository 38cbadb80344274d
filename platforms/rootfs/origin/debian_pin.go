package origin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/fetch"
)

// pinDebian pins a suite to the release files of its parts. The pin names the
// mirror too, since the image will.
func pinDebian(ctx context.Context, opts Options, o platforms.Origin, h platforms.Host) (*platforms.Pin, error) {
	if err := opts.checkDebian(); err != nil {
		return nil, err
	}
	d, suite := opts.distro()
	host := readHostApt(ctx, "/", d, opts.Arch)
	parts, err := opts.currentParts(o.Pin, host)
	if err != nil {
		return nil, err
	}
	cache, err := h.CacheDir("debian")
	if err != nil {
		return nil, err
	}
	p := pinner{
		client:  fetch.NewClient(),
		distro:  d,
		keyring: opts.keyringPath(o),
		cache:   cache,
		// What is fetched from a snapshot is out of date by intent.
		checkDates: opts.Snapshot == "" && !host.skipDates,
		now:        time.Now(),
	}
	defer p.client.Close()
	p.client.Offline = platforms.Offline(h)
	p.client.UseProxy(host.proxy)
	pin, err := p.pin(ctx, parts)
	if err == nil {
		return pin, nil
	}
	// Without a network, what is pinned can be had as long as the cache holds
	// it; Import says so if some of it is missing.
	if status := (*fetch.StatusError)(nil); o.Pin != nil && ctx.Err() == nil && errors.Is(err, errUnreachable) && !errors.As(err, &status) {
		if _, cacheErr := pinnedReleases(cache, o.Pin); cacheErr == nil {
			return o.Pin, nil
		}
	}
	return nil, fmt.Errorf("%s %s: %w", d.name, suite, err)
}

// currentParts returns the parts to pin. An existing pin decides which mirror
// is asked when the definition does not name one, so that hosts with different
// mirrors get the same image from the same lock file.
func (o Options) currentParts(pin *platforms.Pin, host hostApt) ([]part, error) {
	_, suite := o.distro()
	if pin != nil && o.Snapshot == "" {
		for _, p := range partsOf(pin) {
			switch {
			case p.suite == suite:
				host.archive = p.uri
			case p.rank() == 2:
				host.security = p.uri
			}
		}
	}
	archive, security, err := o.archives(host)
	if err != nil {
		return nil, err
	}
	return o.parts(archive, security), nil
}

func (o Options) keyringPath(origin platforms.Origin) string {
	switch {
	case origin.Paths["keyring"] != "":
		return origin.Paths["keyring"]
	case o.Keyring != "":
		return o.Keyring
	}
	d, _ := o.distro()
	return d.keyring
}

// errUnreachable says that a mirror did not answer.
var errUnreachable = errors.New("mirror cannot be reached")

// A pinner fetches and verifies release files.
type pinner struct {
	distro     distro
	client     *fetch.Client
	keyring    string
	cache      string
	checkDates bool
	now        time.Time
}

// pin fetches the release files of all parts at once.
func (p pinner) pin(ctx context.Context, parts []part) (*platforms.Pin, error) {
	if _, err := os.Stat(p.keyring); err != nil {
		return nil, missing(debianProblems(p.distro, p.keyring))
	}
	releases := make([]release, len(parts))
	errs := make([]error, len(parts))
	var g errgroup.Group
	for i := range parts {
		g.Go(func() error {
			releases[i], errs[i] = p.fetch(ctx, parts[i])
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if errs[0] != nil {
		return nil, errs[0]
	}
	if !p.distro.hasUpdates(releases[0]) {
		parts, releases, errs = parts[:1], releases[:1], errs[:1]
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return makePin(parts, releases), nil
}

// fetch gets, verifies and keeps the release file of one part.
func (p pinner) fetch(ctx context.Context, part part) (release, error) {
	data, err := p.read(ctx, part.release())
	if err != nil {
		if status := (*fetch.StatusError)(nil); errors.As(err, &status) && status.Code == http.StatusNotFound {
			return release{}, fmt.Errorf("%s has no suite %s: %w", part.uri, part.suite, err)
		}
		return release{}, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	r, err := verifyRelease(ctx, data, p.keyring)
	if err != nil {
		return r, fmt.Errorf("%s: %w", part.release(), err)
	}
	if !r.is(part.suite) {
		return r, fmt.Errorf("%s: is the release file of %s (%s)", part.release(), r.suite, r.codename)
	}
	if p.checkDates && !r.validUntil.IsZero() && p.now.After(r.validUntil) {
		return r, fmt.Errorf("%s: is out of date since %s: the mirror is no longer updated, or is not what it seems",
			part.release(), r.validUntil.Format(time.RFC3339))
	}
	return r, writeFileAtomic(releaseFile(p.cache, r.digest), data)
}

func (p pinner) read(ctx context.Context, url string) ([]byte, error) {
	var buf limitedBuffer
	restart := func() error { buf.data = nil; return nil }
	err := p.client.Download(ctx, url, &buf, restart, nil)
	return buf.data, err
}

// A limitedBuffer refuses to grow beyond what a release file can have.
type limitedBuffer struct{ data []byte }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > maxRelease {
		return 0, errors.New("longer than any release file")
	}
	b.data = append(b.data, p...)
	return len(p), nil
}

// makePin names parts and the digests of their release files.
func makePin(parts []part, releases []release) *platforms.Pin {
	h := sha256.New()
	pin := &platforms.Pin{Detail: make(map[string]string)}
	var newest time.Time
	for i, r := range releases {
		// The order is that of sources.list, and none of the values holds a space
		// or a newline.
		line := parts[i].uri + " sha256:" + r.digest
		fmt.Fprintf(h, "%s %s\n", parts[i].suite, line)
		pin.Detail[parts[i].suite] = line
		if r.date.After(newest) {
			newest = r.date
		}
	}
	pin.ID = "sha256:" + hex.EncodeToString(h.Sum(nil))
	pin.Date = newest.Format(time.RFC3339)
	return pin
}

// partsOf returns the parts of a pin, the suite itself first and security last.
func partsOf(pin *platforms.Pin) []part {
	var parts []part
	for suite, line := range pin.Detail {
		uri, _, _ := strings.Cut(line, " ")
		parts = append(parts, part{uri, suite})
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.rank(), b.rank()) })
	return parts
}

// pinnedReleases returns the release files that the pin names, by URL, from
// the cache. The error is fs.ErrNotExist when one is missing.
func pinnedReleases(cache string, pin *platforms.Pin) (map[string][]byte, error) {
	files := make(map[string][]byte)
	for suite, line := range pin.Detail {
		uri, digest, ok := strings.Cut(line, " sha256:")
		if !ok || !fetch.IsSHA256(digest) {
			return nil, fmt.Errorf("read pin: %s: %q does not name a release file", suite, line)
		}
		data, err := os.ReadFile(releaseFile(cache, digest))
		if err != nil {
			return nil, err
		}
		if hexDigest(data) != digest {
			return nil, errors.Join(fmt.Errorf("release file %s in the cache is damaged", digest),
				os.Remove(releaseFile(cache, digest)))
		}
		files[(part{uri, suite}).release()] = data
	}
	return files, nil
}

func releaseFile(cache, digest string) string { return filepath.Join(cache, "release", digest) }

// writeFileAtomic writes a file of the cache, whole or not at all.
func writeFileAtomic(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), fetch.TempPrefix)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
