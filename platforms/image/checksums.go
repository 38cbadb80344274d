package image

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"

	"bake.build/bake/internal/regular"
	"bake.build/bake/platforms/image/fetch"
)

// Digests are what a definition says of the digest of a file: one of them, or
// none.
type Digests struct {
	SHA256, SHA512 string // in hex
	Checksums      string // the URL of a list; that of a local one is an option with a path
}

// Check finds digests that cannot be. local is the path of a local list, or "".
func (d Digests) Check(local string) error {
	n := 0
	for _, s := range []string{d.SHA256, d.SHA512, d.Checksums + local} {
		if s != "" {
			n++
		}
	}
	switch {
	case n > 1:
		return errors.New("sha256, sha512 and checksums: one of them says which file it must be")
	case d.SHA256 != "" && !fetch.IsSHA256(d.SHA256):
		return errors.New("option sha256: want 64 hex digits")
	case d.SHA512 != "" && !fetch.IsSHA512(d.SHA512):
		return errors.New("option sha512: want 128 hex digits")
	}
	return nil
}

// lookUp finds the digest of the file called base in a list of checksums: of a
// local list now, of one at a URL when the origin is pinned.
func (f *File) lookUp(at, local, base string) error {
	switch {
	case local != "":
		file, err := regular.Open(local)
		if err != nil {
			return fmt.Errorf("option checksums: %w", err)
		}
		defer file.Close()
		if f.Digest, err = findChecksum(file, base); err != nil {
			return fmt.Errorf("option checksums: %s: %w", local, err)
		}
	case at != "" && f.URL == "":
		return errors.New("option checksums: a list at a URL belongs to a file at a URL: give the path of a list")
	case at != "":
		u, err := url.Parse(at)
		if err != nil {
			return fmt.Errorf("option checksums: %w", fetch.WithoutURL(err))
		}
		if u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("option checksums: %q: want a path, or an http or https URL", u.Redacted())
		}
		f.list = at
	}
	return nil
}

// maxList bounds a list of checksums, in bytes.
const maxList = 16 << 20

// listed returns the file's digest from the list at its URL.
func (f File) listed(ctx context.Context) (digest string, err error) {
	u, err := url.Parse(f.URL)
	if err != nil {
		return "", fetch.WithoutURL(err)
	}
	c := fetch.NewClient()
	defer c.Close()
	var list bytes.Buffer
	restart := func() error { list.Reset(); return nil }
	if err := c.Download(ctx, f.list, &limited{w: &list, left: maxList}, restart, nil); err != nil {
		return "", fmt.Errorf("checksums: %w", err)
	}
	digest, err = findChecksum(&list, path.Base(u.Path))
	if err != nil {
		return "", fmt.Errorf("checksums: %s: %w", fetch.Redacted(f.list), err)
	}
	return digest, nil
}

// limited refuses to write more than left bytes.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("longer than any list of checksums")
	}
	return l.w.Write(p)
}

// findChecksum returns the digest of the file called base in a list as sha256sum
// and sha512sum write it, with --tag or without, or in one that holds nothing but
// a digest. Lines of other kinds, such as those of a signature, are passed over.
// Of several digests of one file the longest counts.
func findChecksum(list io.Reader, base string) (string, error) {
	found, alone := "", ""
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		digest, name := checksumLine(strings.TrimSpace(lines.Text()))
		switch {
		case digest == "":
		case name == "":
			alone = digest
		case path.Base(strings.ReplaceAll(name, `\`, "/")) != base:
		case len(digest) == len(found) && digest != found:
			return "", fmt.Errorf("it has two digests of %s", base)
		case len(digest) > len(found):
			found = digest
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	if found == "" {
		found = alone
	}
	if found == "" {
		return "", fmt.Errorf("it has no SHA-256 or SHA-512 of %s", base)
	}
	return found, nil
}

// checksumLine returns what a line of a list says; digest is "" when it says
// nothing.
func checksumLine(line string) (digest, name string) {
	if before, after, ok := strings.Cut(line, ") = "); ok { // SHA256 (name) = digest
		if _, name, ok = strings.Cut(before, " ("); !ok {
			return "", ""
		}
		digest = after
	} else if digest, name, _ = strings.Cut(line, " "); name != "" {
		name = strings.TrimPrefix(strings.TrimLeft(name, " "), "*")
	}
	digest = strings.ToLower(digest)
	if !fetch.IsSHA256(digest) && !fetch.IsSHA512(digest) {
		return "", ""
	}
	return digest, name
}
