package ssh

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"bake.build/bake/platforms"
)

// Login are the options that say how bake logs in to machines. Drivers embed it
// in theirs, in which the tag defaults may name another default of user.
type Login struct {
	User         string           `bake:"user" json:"user,omitempty" help:"User to log in as. A user other than root needs sudo." default:"root"`
	Password     platforms.Secret `bake:"password" json:"password,omitempty" help:"Password of the user, for images that accept no key."`
	PrivateKey   platforms.Secret `bake:"private_key" json:"private_key,omitempty" help:"SSH private key, without a passphrase, that the image accepts for the user; the secret may come from a file."`
	SudoPassword platforms.Secret `bake:"sudo_password" json:"sudo_password,omitempty" help:"The user's password for sudo." default:"it does not ask"`
	BootTimeout  string           `bake:"boot_timeout,duration" json:"boot_timeout,omitempty" help:"Time limit for a machine to become ready." default:"10m"`
}

// Bastions is the option that names the hosts on the way to machines. Drivers of
// machines that may be in a network of their own embed it in theirs.
type Bastions struct {
	Bastion []string `bake:"bastion" json:"bastion,omitempty" help:"SSH jump hosts, each user@host:port, in order. ~/.ssh/config and the SSH agent say how to log in there, and ~/.ssh/known_hosts has to know them."`
}

// Apply has a connection go by the bastion hosts. The user's configuration of OpenSSH
// says how they are logged in to.
func (b Bastions) Apply(c *Config) error {
	if c.Jump = b.Bastion; len(c.Jump) == 0 {
		return nil
	}
	c.Agent = os.Getenv("SSH_AUTH_SOCK") != ""
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	path := filepath.Join(home, ".ssh", "config")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	c.ConfigFile = path
	return nil
}

// defaultBootTimeout is how long a machine may take when boot_timeout does not say.
const defaultBootTimeout = 10 * time.Minute

// Check says what is wrong with the options in themselves.
func (l Login) Check() error {
	_, err := l.timeout()
	return err
}

func (l Login) timeout() (time.Duration, error) {
	if l.BootTimeout == "" {
		return defaultBootTimeout, nil
	}
	d, err := platforms.ParseDuration(l.BootTimeout)
	if err != nil {
		return 0, fmt.Errorf("boot_timeout: %w", err)
	}
	return d, nil
}

// TellsSecret reports whether a machine that bake has logged in to has been told a
// secret, which its memory may hold from then on.
func (l Login) TellsSecret() bool { return l.Password != "" || l.SudoPassword != "" }

// Secrets gives the values of secrets; platforms.Host does.
type Secrets interface {
	Secret(platforms.Secret) ([]byte, error)
}

// Config returns what the options say of a connection, for a machine that key is
// let in to as well. user is who logs in where the option does not say.
func (l Login) Config(secrets Secrets, key *Key, user string) (c Config, err error) {
	c = Config{User: cmp.Or(l.User, user), Signers: []xssh.Signer{key.Signer()}}
	if c.Timeout, err = l.timeout(); err != nil {
		return c, fmt.Errorf("option %w", err)
	}
	if c.Password, err = value(secrets, l.Password); err != nil {
		return c, err
	}
	if c.SudoPassword, err = value(secrets, l.SudoPassword); err != nil {
		return c, err
	}
	own, err := value(secrets, l.PrivateKey)
	if err != nil || own == "" {
		return c, err
	}
	signer, err := xssh.ParsePrivateKey([]byte(own))
	if missing := (*xssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		return c, errors.New("option private_key: the key has a passphrase: give one without")
	} else if err != nil {
		return c, fmt.Errorf("option private_key: %w", err)
	}
	c.Signers = append(c.Signers, signer)
	return c, nil
}

// value returns the value of a secret, or "" for no secret.
func value(secrets Secrets, name platforms.Secret) (string, error) {
	if name == "" {
		return "", nil
	}
	v, err := secrets.Secret(name)
	return string(v), err
}
