package op

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/local"
	"bake.build/bake/runtime/plan"
)

// A Local runs a script on this host that changes the machine from outside of it, by
// SSH. Of the command, User, Workdir, Caches and NoNetwork are for machines, and so are
// secrets in files.
type Local struct {
	Command  Command    `key:"command"`
	Files    []CopyFrom `key:"files"` // what its working directory holds
	Programs []string   `key:"-"`     // of this host, that it needs
}

// Kind implements plan.Op.
func (*Local) Kind() string { return "shell_local" }

// Inputs implements plan.Reader.
func (l *Local) Inputs() []*plan.Input { return inputsOf(l.Files) }

// SecretNames returns the names of the secrets that the script uses.
func (l *Local) SecretNames() []string { return l.Command.secretNames() }

// Apply implements plan.Step. It fails when a file is no longer what the key says.
func (l *Local) Apply(ctx context.Context, m platforms.Machine, env plan.Env) (err error) {
	dir, remove, err := env.TempDir("local")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	c, err := l.lay(ctx, dir, env)
	if err != nil {
		return err
	}
	return l.Command.judge(local.Run(ctx, m, c))
}

// lay puts what the program needs into the empty directory dir, each thing in a
// directory of its own.
func (l *Local) lay(ctx context.Context, dir string, env plan.Env) (local.Cmd, error) {
	script, work, keys := filepath.Join(dir, "step"), filepath.Join(dir, "work"), filepath.Join(dir, "ssh")
	c := local.Cmd{
		Args: append(append(l.Command.interpreter(), script), l.Command.Args...),
		Dir:  work, Keys: keys, Out: env.Out, Secret: len(l.Command.Secrets) > 0,
	}
	var err error
	if c.Env, _, err = l.Command.environ(env); err != nil {
		return c, err
	}
	for _, d := range []string{work, keys} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return c, err
		}
	}
	if err := os.WriteFile(script, []byte(l.Command.Script), 0o700); err != nil {
		return c, err
	}
	for _, f := range l.Files {
		err := f.Input.Stream(ctx, func(e plan.Entry, content io.Reader) error {
			return layEntry(filepath.Join(work, f.Name, filepath.FromSlash(e.Rel)), e, content)
		})
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// layEntry makes a file, a link or a directory at path. Of directories it finds, it
// leaves what they hold.
func layEntry(path string, e plan.Entry, content io.Reader) (err error) {
	switch e.Info.Mode().Type() {
	case fs.ModeDir:
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case fs.ModeSymlink:
		return os.Symlink(e.Link, path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, e.Info.Mode().Perm()|0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: two of the files have this name", e.Path)
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, content)
	return err
}

// Check says what is wrong with the op's data, as an error for the user.
func (l *Local) Check() error {
	if slices.ContainsFunc(l.Command.Secrets, func(s Secret) bool { return s.Path != "" }) {
		return errors.New("secrets: a program of this host gets secrets in variables, not in files")
	}
	return l.Command.Check()
}
