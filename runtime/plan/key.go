package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
)

// Schema is the version of the key encoding. Raising it makes every cached
// layer unknown.
const Schema = "bake/2"

// A Key identifies a node by everything that can change its result.
type Key [sha256.Size]byte

func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Short returns the first twelve hex digits, for display.
func (k Key) Short() string { return hex.EncodeToString(k[:6]) }

// IsZero reports whether the key was not computed yet.
func (k Key) IsZero() bool { return k == Key{} }

// ParseKey reads a key of 64 hex digits.
func ParseKey(s string) (Key, error) {
	var k Key
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(k) {
		return k, fmt.Errorf("parse key %q: want %d hex digits", s, 2*len(k))
	}
	copy(k[:], b)
	return k, nil
}

// A Digest is the SHA-256 of some content, in hex; "" means not known.
type Digest string

// A Field is one named part of a key's preimage.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Preimage is what a key is the hash of, kept so that a change of key can be
// explained.
type Preimage []Field

// Key hashes the preimage. Names and values are length-prefixed, so that no
// two preimages give the same bytes.
func (p Preimage) Key() Key {
	h := sha256.New()
	writeString(h, Schema)
	for _, f := range p {
		writeString(h, f.Name)
		writeString(h, f.Value)
	}
	var k Key
	h.Sum(k[:0])
	return k
}

func writeString(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

// MarshalText implements encoding.TextMarshaler: a key is hex in JSON.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Key) UnmarshalText(text []byte) (err error) {
	*k, err = ParseKey(string(text))
	return err
}
