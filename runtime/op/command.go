package op

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// scriptPath is where the machine finds the script while it runs.
const scriptPath = "/run/bake/step"

// A Command is a script and what it runs with.
type Command struct {
	Script      string            `key:"script"` // the text
	Args        []string          `key:"args"`
	Interpreter []string          `key:"interpreter"` // empty means the script's own "#!" line, otherwise "/bin/sh -e"
	Env         map[string]string `key:"env"`
	Secrets     []Secret          `key:"secret"`
	User        string            `key:"user"`    // "" means root
	Workdir     string            `key:"workdir"` // "" means "/"
	Caches      []string          `key:"cache"`   // absolute directories of the machine
	NoNetwork   bool              `key:"no_network"`
	ExitCodes   []int             `key:"exit_codes"` // that mean success; empty means 0
}

// A Secret is how a command gets a secret: in a variable of its environment or
// in a file in memory. Exactly one of Env and Path is set.
type Secret struct {
	Name string `key:"name"`
	Env  string `key:"env"`
	Path string `key:"path"` // absolute, below /run
}

// Run runs the command in m.
func (c *Command) Run(ctx context.Context, m platforms.Machine, env plan.Env) error {
	return c.run(ctx, m, env, false)
}

// run is Run of a command that may end the connection to the machine.
func (c *Command) run(ctx context.Context, m platforms.Machine, env plan.Env, disconnect bool) error {
	cmd, err := c.cmd(env)
	if err != nil {
		return err
	}
	cmd.ExpectDisconnect = disconnect
	return c.judge(m.Run(ctx, cmd))
}

// judge returns what err, the end of the command, means by the valid exit codes.
func (c *Command) judge(err error) error {
	if len(c.ExitCodes) == 0 {
		return err
	}
	code := 0
	if exit := (*platforms.ExitError)(nil); errors.As(err, &exit) && exit.Signal == "" {
		code = exit.Code
	} else if err != nil {
		return err
	}
	if slices.Contains(c.ExitCodes, code) {
		return nil
	}
	if err == nil {
		err = &platforms.ExitError{Code: code, Reason: "not among the valid exit codes"}
	}
	return err
}

func (c *Command) cmd(env plan.Env) (platforms.Cmd, error) {
	cmd := platforms.Cmd{
		Args:      append(append(c.interpreter(), scriptPath), c.Args...),
		Dir:       c.Workdir,
		User:      c.User,
		Stdout:    env.Out,
		Stderr:    env.Out,
		NoNetwork: c.NoNetwork,
		Secret:    len(c.Secrets) > 0,
		Waiting:   env.Waiting,
		Files:     []platforms.File{{Path: scriptPath, Data: []byte(c.Script), Mode: 0o755, User: c.User}},
	}
	for _, dir := range c.Caches {
		cmd.Caches = append(cmd.Caches, platforms.Cache{ID: cacheID(env.Trust, dir), Dir: dir})
	}
	var files []platforms.File
	var err error
	cmd.Env, files, err = c.environ(env)
	cmd.Files = append(cmd.Files, files...)
	return cmd, err
}

// environ returns the variables of the command, and its secrets that are files.
func (c *Command) environ(env plan.Env) (vars []string, files []platforms.File, err error) {
	for _, name := range sortedKeys(c.Env) {
		vars = append(vars, name+"="+c.Env[name])
	}
	for _, s := range c.Secrets {
		value, err := env.Secrets(s.Name)
		if err != nil {
			return nil, nil, err
		}
		if s.Env != "" {
			vars = append(vars, s.Env+"="+string(value))
		} else {
			files = append(files, platforms.File{Path: s.Path, Data: value, Mode: 0o400, User: c.User})
		}
	}
	return vars, files, nil
}

// interpreter returns the words that run the script. A "#!" line is read here
// and not by the kernel, so that it works where /run forbids execution.
func (c *Command) interpreter() []string {
	if len(c.Interpreter) > 0 {
		return slices.Clone(c.Interpreter)
	}
	if line, ok := strings.CutPrefix(c.Script, "#!"); ok {
		line, _, _ = strings.Cut(line, "\n")
		word, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		if arg = strings.TrimSpace(arg); arg != "" {
			return []string{word, arg}
		}
		if word != "" {
			return []string{word}
		}
	}
	return []string{"/bin/sh", "-e"}
}

// cacheID names the cache of a directory: the same directory is the same cache
// on all machines of a platform for steps that trust each other, and no other is.
func cacheID(trust, dir string) string {
	id := strings.TrimPrefix(path.Clean(dir), "/")
	if trust == "" {
		return id
	}
	sum := sha256.Sum256([]byte(trust))
	return id + "." + hex.EncodeToString(sum[:8])
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Check says what is wrong with the command's data, as an error for the user.
func (c *Command) Check() error {
	if strings.TrimSpace(c.Script) == "" {
		return errors.New("the script is empty")
	}
	for _, dir := range c.Caches {
		if !path.IsAbs(dir) || path.Clean(dir) == "/" {
			return fmt.Errorf("caches: %q is not the absolute path of a directory", dir)
		}
	}
	if c.Workdir != "" && !path.IsAbs(c.Workdir) {
		return fmt.Errorf("workdir: %q is not absolute", c.Workdir)
	}
	for _, s := range c.Secrets {
		if s.Path != "" && (path.Clean(s.Path) != s.Path || !strings.HasPrefix(s.Path, "/run/") || strings.HasPrefix(s.Path, "/run/bake/")) {
			return fmt.Errorf("secrets: %q: a file of a secret has an absolute path below /run, outside of /run/bake", s.Path)
		}
	}
	return nil
}

// secretNames returns the names of the secrets that the command uses.
func (c *Command) secretNames() []string {
	names := make([]string, len(c.Secrets))
	for i, s := range c.Secrets {
		names[i] = s.Name
	}
	return names
}
