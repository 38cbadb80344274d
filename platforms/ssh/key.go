package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"

	xssh "golang.org/x/crypto/ssh"
)

// A Key is a new ed25519 key, which exists in this process only.
type Key struct {
	signer     xssh.Signer
	authorized string
}

// NewKey makes a key.
func NewKey() (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	signer, err := xssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	line := strings.TrimSpace(string(xssh.MarshalAuthorizedKey(signer.PublicKey())))
	return &Key{signer: signer, authorized: line + " bake"}, nil
}

// Signer returns what proves to have the key.
func (k *Key) Signer() xssh.Signer { return k.signer }

// Authorized returns the public half as a line of authorized_keys, without the
// end of line. Its comment is "bake".
func (k *Key) Authorized() string { return k.authorized }

// CloudConfig is the user data by which cloud-init lets the key in.
func (k *Key) CloudConfig() string {
	return "#cloud-config\nssh_authorized_keys:\n  - " + k.Authorized() + "\n"
}
