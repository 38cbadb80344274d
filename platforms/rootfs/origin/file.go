package origin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bake.build/bake/platforms"
)

// A source is the file of a tar or disk origin.
type source struct {
	what   string // "tar" or "disk"
	name   string // for messages
	path   string // of a local file; "" for one to be downloaded
	url    string // "" for a local file of the project
	digest string // SHA-256 that it must have, in hex; "" for any
}

// sourceOf returns the file that a tar or disk origin names.
func sourceOf(opts Options, o platforms.Origin) (source, error) {
	s := source{what: o.Kind, path: o.Paths[o.Kind], digest: strings.ToLower(opts.SHA256)}
	if s.path != "" {
		s.name = s.path
		return s, nil
	}
	s.url = opts.Tar
	if o.Kind == "disk" {
		s.url = opts.Disk
	}
	u, err := url.Parse(s.url)
	if err != nil {
		return s, fmt.Errorf("%s: %w", o.Kind, withoutURL(err))
	}
	s.name = u.Redacted()
	switch u.Scheme {
	case "http", "https":
	case "file":
		s.path = filepath.FromSlash(u.Path)
	default:
		return s, fmt.Errorf("%s %q: want a path or an http, https or file URL", o.Kind, s.name)
	}
	if s.digest == "" && o.Pin != nil {
		digest, ok := strings.CutPrefix(o.Pin.ID, "sha256:")
		if !ok || !isSHA256(digest) {
			return s, fmt.Errorf("%s: pin %q: not a digest", o.Kind, o.Pin.ID)
		}
		s.digest = digest
	}
	return s, nil
}

// withoutURL takes the URL out of an error of its parser: there may be a
// password in it.
func withoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return fmt.Errorf("not a URL: %w", e.Err)
	}
	return err
}

// pinFile pins a URL to the digest of its content: the one that the definition
// gives, or else the one that is found when it is first downloaded.
func pinFile(ctx context.Context, opts Options, o platforms.Origin, h platforms.Host) (*platforms.Pin, error) {
	s, err := sourceOf(opts, o)
	if err != nil {
		return nil, err
	}
	if s.url == "" {
		return nil, nil // an input of the plan
	}
	if opts.SHA256 != "" {
		return &platforms.Pin{ID: "sha256:" + s.digest}, nil
	}
	cache, err := h.CacheDir("downloads")
	if err != nil {
		return nil, err
	}
	if o.Pin != nil && s.path == "" {
		if _, err := os.Stat(filepath.Join(cache, s.digest)); err == nil {
			return o.Pin, nil
		}
	}
	var found string
	if s.path != "" {
		found, err = hashFile(ctx, s.path)
	} else {
		found, err = download(ctx, s, cache, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.what, err)
	}
	if o.Pin != nil && o.Pin.ID == "sha256:"+found {
		return o.Pin, nil
	}
	return &platforms.Pin{ID: "sha256:" + found, Date: time.Now().UTC().Format(time.RFC3339)}, nil
}

// local returns the path of the file, downloaded when need be. Its content is
// not checked here: see openVerified.
func (s source) local(ctx context.Context, h platforms.Host, out platforms.Sink) (string, error) {
	if s.path != "" {
		return s.path, nil
	}
	if s.digest == "" {
		return "", errors.New(s.what + ": the origin was not pinned")
	}
	cache, err := h.CacheDir("downloads")
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, s.digest)
	if found, err := hashFile(ctx, path); err == nil && found == s.digest {
		now := time.Now()
		return path, os.Chtimes(path, now, now)
	}
	if err := prune(cache, time.Now().Add(-keepUnused)); err != nil {
		return "", err
	}
	found, err := download(ctx, s, cache, out)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.what, err)
	}
	if found != s.digest {
		return "", errors.Join(s.mismatch(found), os.Remove(filepath.Join(cache, found)))
	}
	return path, nil
}

func (s source) mismatch(found string) error {
	return fmt.Errorf("%s %s: has the SHA-256 %s, wanted %s", s.what, s.name, found, s.digest)
}

// keepUnused is how long a download that no build asked for stays in a cache.
const keepUnused = 60 * 24 * time.Hour

// download fetches the file to cache, where its name is its digest.
func download(ctx context.Context, s source, cache string, out platforms.Sink) (digest string, err error) {
	f, err := os.CreateTemp(cache, tempPrefix)
	if err != nil {
		return "", err
	}
	c := newClient()
	defer c.close()
	w := &hashingFile{file: f, hash: sha256.New()}
	err = c.download(ctx, s.url, w, w.restart, func(done, total int64) {
		if out != nil {
			out.Progress("download "+s.name, done, total)
		}
	})
	digest = hex.EncodeToString(w.hash.Sum(nil))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(cache, digest))
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return digest, nil
}

// A hashingFile hashes what is written to it.
type hashingFile struct {
	file *os.File // not embedded: its ReadFrom would pass the hash by
	hash hash.Hash
}

func (f *hashingFile) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	f.hash.Write(p[:n])
	return n, err
}

// restart empties the file.
func (f *hashingFile) restart() error {
	f.hash.Reset()
	if err := f.file.Truncate(0); err != nil {
		return err
	}
	_, err := f.file.Seek(0, io.SeekStart)
	return err
}

// hashFile returns the SHA-256 of a file, in hex.
func hashFile(ctx context.Context, path string) (digest string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, &ctxReader{ctx, f}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// A ctxReader ends when its context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
