package fetch

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"bake.build/bake/internal/regular"
	"bake.build/bake/internal/sparse"
)

// Digests are in hex. Those of SHA-512 have twice as many digits as those of
// SHA-256, which tells one from the other.

// IsSHA256 reports whether s is a SHA-256 in hex.
func IsSHA256(s string) bool { return isHex(s, sha256.Size) }

// IsSHA512 reports whether s is a SHA-512 in hex.
func IsSHA512(s string) bool { return isHex(s, sha512.Size) }

func isHex(s string, size int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == size
}

// NewHash returns the hash that digests like digest come from: SHA-512, or
// SHA-256 for anything else.
func NewHash(digest string) hash.Hash {
	if IsSHA512(digest) {
		return sha512.New()
	}
	return sha256.New()
}

// Named returns the digest with its algorithm, such as "sha256:…".
func Named(digest string) string {
	if IsSHA512(digest) {
		return "sha512:" + digest
	}
	return "sha256:" + digest
}

// ParseNamed returns the digest of what Named has written.
func ParseNamed(s string) (digest string, err error) {
	if d, ok := strings.CutPrefix(s, "sha256:"); ok && IsSHA256(d) {
		return d, nil
	}
	if d, ok := strings.CutPrefix(s, "sha512:"); ok && IsSHA512(d) {
		return d, nil
	}
	return "", fmt.Errorf("%q is not a digest", s)
}

// HashFile returns the digest of a file, by the hash of like: see NewHash.
func HashFile(ctx context.Context, path, like string) (digest string, err error) {
	f, err := regular.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := NewHash(like)
	if err := sparse.CopyAll(ctx, h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
