package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"bake.build/bake/platforms"
)

// safe is a source of secrets.
type safe map[platforms.Secret]string

func (s safe) Secret(name platforms.Secret) ([]byte, error) {
	v, ok := s[name]
	if !ok {
		return nil, fmt.Errorf("no secret %q", name)
	}
	return []byte(v), nil
}

// TestLogin turns options into what a connection needs.
func TestLogin(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := xssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := xssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	secrets := safe{"p": "pass", "s": "su", "key": string(pem.EncodeToMemory(plain)), "locked": string(pem.EncodeToMemory(locked)), "rubbish": "?"}
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Login{Password: "p", SudoPassword: "s", PrivateKey: "key", BootTimeout: "90s"}.Config(secrets, key, "admin")
	if err != nil || c.User != "admin" || c.Password != "pass" || c.SudoPassword != "su" || c.Timeout != 90*time.Second || len(c.Signers) != 2 {
		t.Errorf("got %+v, %v", c, err)
	}
	c, err = Login{User: "bob"}.Config(secrets, key, "admin")
	if err != nil || c.User != "bob" || c.Password != "" || c.Timeout != 10*time.Minute || len(c.Signers) != 1 {
		t.Errorf("got %+v, %v", c, err)
	}
	for want, l := range map[string]Login{
		`no secret "q"`:                         {Password: "q"},
		`no secret "r"`:                         {SudoPassword: "r"},
		"private_key: the key has a passphrase": {PrivateKey: "locked"},
		"option private_key: ":                  {PrivateKey: "rubbish"},
		"option boot_timeout: ":                 {BootTimeout: "soon"},
	} {
		if _, err := l.Config(secrets, key, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", l, err, want)
		}
	}
	for l, want := range map[Login]bool{{}: false, {PrivateKey: "k"}: false, {Password: "p"}: true, {SudoPassword: "s"}: true} {
		if l.TellsSecret() != want {
			t.Errorf("%+v tells a secret: %t", l, !want)
		}
	}
}
