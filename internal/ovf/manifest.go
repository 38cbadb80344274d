package ovf

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"bake.build/bake/internal/lazyregexp"
)

// A Digest is what a manifest says of a member.
type Digest struct {
	Algorithm string // "SHA1", "SHA256" or "SHA512"
	Hex       string // in lower case
}

// New returns the hash function of the digest's algorithm.
func (d Digest) New() hash.Hash {
	switch d.Algorithm {
	case "SHA1":
		return sha1.New()
	case "SHA512":
		return sha512.New()
	}
	return sha256.New()
}

// Check returns an error unless sum is what the digest says of a member.
func (d Digest) Check(name string, sum []byte) error {
	if found := hex.EncodeToString(sum); found != d.Hex {
		return fmt.Errorf("%s: has the %s %s, and the manifest says %s", name, d.Algorithm, found, d.Hex)
	}
	return nil
}

// A Manifest is what the file with the end ".mf" says, by the names of members.
type Manifest map[string]Digest

var manifestLine = lazyregexp.New(`^(SHA1|SHA256|SHA512) ?\((.+)\) ?= ?([0-9A-Fa-f]+)$`)

// maxManifest bounds a manifest, in bytes.
const maxManifest = 1 << 20

// ParseManifest reads a manifest. A line that is not a digest, or a second one of a
// member with another value, is an error.
func ParseManifest(text []byte) (Manifest, error) {
	if len(text) > maxManifest {
		return nil, errors.New("the manifest is longer than any")
	}
	m := Manifest{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if line == "" {
			continue
		}
		part := manifestLine.FindStringSubmatch(line)
		if part == nil {
			return nil, fmt.Errorf("line %d of the manifest is not a digest", n)
		}
		d := Digest{Algorithm: part[1], Hex: strings.ToLower(part[3])}
		if len(d.Hex) != 2*d.New().Size() {
			return nil, fmt.Errorf("line %d of the manifest: a %s has not %d digits", n, d.Algorithm, len(d.Hex))
		}
		name, err := memberName(part[2])
		if err != nil {
			return nil, fmt.Errorf("line %d of the manifest: %w", n, err)
		}
		if other, twice := m[name]; twice && other != d {
			return nil, fmt.Errorf("the manifest has two digests of %s", name)
		}
		m[name] = d
	}
	return m, lines.Err()
}

// NewDigest returns the digest of an algorithm, "sha256" or "sha1" as definitions say
// it, that is sum.
func NewDigest(algorithm string, sum []byte) Digest {
	d := Digest{Algorithm: strings.ToUpper(algorithm), Hex: hex.EncodeToString(sum)}
	if algorithm == "" {
		d.Algorithm = "SHA256"
	}
	return d
}

// A Sum is a member and its digest.
type Sum struct {
	Name string
	Digest
}

// EncodeManifest returns a manifest. Its length follows from the names and algorithms
// alone.
func EncodeManifest(sums []Sum) []byte {
	var b bytes.Buffer
	for _, s := range sums {
		fmt.Fprintf(&b, "%s(%s)= %s\n", s.Algorithm, s.Name, s.Hex)
	}
	return b.Bytes()
}
