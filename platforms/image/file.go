package image

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/fetch"
)

// A File is the file that an origin names.
type File struct {
	What   string // the kind of origin, such as "disk"
	Name   string // for messages
	Path   string // of a local file; "" for one to be downloaded
	URL    string // "" for a local file of the project
	Digest string // that it must have, SHA-256 or SHA-512 in hex; "" for any

	given bool   // the definition says the digest
	list  string // URL of the list that has the digest; "" for none
}

// FileOf returns the file that the origin names with the option of its kind.
// location is that option's value, and given what the definition says of its
// digest.
func FileOf(o platforms.Origin, location string, given Digests) (File, error) {
	f := File{What: o.Kind, Path: o.Paths[o.Kind], Digest: strings.ToLower(given.SHA256 + given.SHA512)}
	base := filepath.Base(f.Path)
	if f.Path != "" {
		f.Name = f.Path
	} else {
		f.URL = location
		u, err := url.Parse(f.URL)
		if err != nil {
			return f, fmt.Errorf("%s: %w", o.Kind, fetch.WithoutURL(err))
		}
		f.Name, base = u.Redacted(), path.Base(u.Path)
		switch u.Scheme {
		case "http", "https", "oci":
		case "file":
			f.Path = filepath.FromSlash(u.Path)
		default:
			return f, fmt.Errorf("%s %q: want a path or an http, https, oci or file URL", o.Kind, f.Name)
		}
	}
	if err := f.lookUp(given.Checksums, o.Paths["checksums"], base); err != nil {
		return f, err
	}
	f.given = f.Digest != ""
	if !f.given && f.URL != "" && o.Pin != nil {
		var err error
		if f.Digest, err = fetch.ParseNamed(o.Pin.ID); err != nil {
			return f, fmt.Errorf("%s: pin: %w", o.Kind, err)
		}
	}
	if strings.HasPrefix(f.URL, registryScheme) && fetch.IsSHA512(f.Digest) {
		return f, fmt.Errorf("%s: registries know files by their SHA-256: give that", o.Kind)
	}
	return f, nil
}

// Pin pins a URL to the digest of its content: the one that the definition
// gives, the one in its list of checksums, or else the one that is found when it
// is first downloaded. A local file needs no pin: it is an input of the plan.
func (f File) Pin(ctx context.Context, o platforms.Origin, h platforms.Host) (*platforms.Pin, error) {
	if f.URL == "" {
		return nil, nil
	}
	if f.given {
		return &platforms.Pin{ID: fetch.Named(f.Digest)}, nil
	}
	cache, err := h.CacheDir("downloads")
	if err != nil {
		return nil, err
	}
	if o.Pin != nil && f.Path == "" {
		if _, err := os.Stat(filepath.Join(cache, f.Digest)); err == nil {
			return o.Pin, nil
		}
	}
	var found string
	switch {
	case (f.list != "" || f.Path == "") && platforms.Offline(h):
		err = platforms.ErrOffline
	case f.list != "":
		found, err = f.listed(ctx)
	case f.Path != "":
		found, err = fetch.HashFile(ctx, f.Path, f.Digest)
	default:
		found, err = f.download(ctx, cache, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.What, err)
	}
	if o.Pin != nil && o.Pin.ID == fetch.Named(found) {
		return o.Pin, nil
	}
	return &platforms.Pin{ID: fetch.Named(found), Date: time.Now().UTC().Format(time.RFC3339)}, nil
}

// Local returns the path of the file, downloaded when need be. The content of a
// file that was there already is not checked: see Verified.
func (f File) Local(ctx context.Context, h platforms.Host, out platforms.Logger) (string, error) {
	if f.Path != "" {
		return f.Path, nil
	}
	if f.Digest == "" {
		return "", errors.New(f.What + ": the origin was not pinned")
	}
	cache, err := h.CacheDir("downloads")
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, f.Digest)
	if found, err := fetch.HashFile(ctx, path, f.Digest); err == nil && found == f.Digest {
		now := time.Now()
		return path, os.Chtimes(path, now, now)
	}
	if platforms.Offline(h) {
		return "", fmt.Errorf("%s %s: %w", f.What, f.Name, platforms.ErrOffline)
	}
	if err := fetch.Prune(cache, time.Now().Add(-fetch.KeepUnused)); err != nil {
		return "", err
	}
	found, err := f.download(ctx, cache, out)
	if err != nil {
		return "", fmt.Errorf("%s: %w", f.What, err)
	}
	if found != f.Digest {
		return "", errors.Join(f.Mismatch(found), os.Remove(filepath.Join(cache, found)))
	}
	return path, nil
}

// Verified is Local for a file whose content has the digest that it must have.
func (f File) Verified(ctx context.Context, h platforms.Host, out platforms.Logger) (string, error) {
	path, err := f.Local(ctx, h, out)
	if err != nil || f.Path == "" || f.Digest == "" {
		return path, err // what was downloaded was checked
	}
	found, err := fetch.HashFile(ctx, path, f.Digest)
	if err != nil {
		return "", fmt.Errorf("%s: %w", f.What, err)
	}
	if found != f.Digest {
		return "", f.Mismatch(found)
	}
	return path, nil
}

// Mismatch is the error of a file that has the digest found.
func (f File) Mismatch(found string) error {
	return fmt.Errorf("%s %s: has the digest %s, wanted %s", f.What, f.Name, fetch.Named(found), fetch.Named(f.Digest))
}

// download fetches the file to cache, where its name is its digest.
func (f File) download(ctx context.Context, cache string, out platforms.Logger) (digest string, err error) {
	file, err := os.CreateTemp(cache, fetch.TempPrefix)
	if err != nil {
		return "", err
	}
	w := &fetch.HashingFile{File: file, Hash: fetch.NewHash(f.Digest)}
	tell := func(done, total int64) {
		if out != nil {
			out.Progress("download "+f.Name, done, total)
		}
	}
	if ref, ok := strings.CutPrefix(f.URL, registryScheme); ok {
		err = f.pull(ctx, ref, w, tell)
	} else {
		c := fetch.NewClient()
		defer c.Close()
		err = c.Download(ctx, f.URL, w, w.Restart, tell)
	}
	digest = hex.EncodeToString(w.Hash.Sum(nil))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(cache, digest))
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return digest, nil
}

// pull fetches the file from a registry.
func (f File) pull(ctx context.Context, ref string, w io.Writer, tell func(done, total int64)) (err error) {
	r, size, err := openBlob(ctx, ref, f.Digest)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if _, err := io.Copy(w, &fetch.Meter{R: r, Total: size, Tell: tell}); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return nil
}
