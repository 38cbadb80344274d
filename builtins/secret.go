package builtins

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

func secretBuiltin() Builtin {
	return Declare("secret", `Names a secret, whose value is known only while a step runs.

The value comes from --secret NAME=… or from the variable BAKE_SECRET_NAME of the environment. It cannot be printed, formatted or joined to a string: it reaches a step through secrets= alone, and only its name is part of the key.

Logs, events and errors have *** in its place, also where a tool writes it in base64, in hex, in a URL, in JSON or quoted by a shell. What a step makes of it in another way, such as an encrypted or a reversed text, is not known and not masked.`,
		"secret", func(c *Call, a *secretArgs) (starlark.Value, error) {
			if !secretName.MatchString(a.Name) {
				return nil, fmt.Errorf("name: %q: want letters, digits, \"-\" and \"_\", a letter first", a.Name)
			}
			if a.Env != "" && !envName.MatchString(a.Env) {
				return nil, fmt.Errorf("env: %q is not the name of a variable", a.Env)
			}
			return &Secret{name: a.Name, env: a.Env, thread: c.thread}, nil
		})
}

type secretArgs struct {
	Name string `bake:"name,required" help:"The secret's name."`
	Env  string `bake:"env,keyword" help:"Environment variable that holds the value." default:"BAKE_SECRET_ and the name in capitals"`
}

var secretName = lazyregexp.New(`^[A-Za-z][A-Za-z0-9_-]*$`)

// A SecretUse is a secret that at least one step uses.
type SecretUse struct {
	Name string
	Env  string     // the variable of bake's environment that may have its value
	Pos  []plan.Pos // of the first step that uses it
}

func (c *Context) useSecret(s *Secret, pos []plan.Pos) error {
	for _, known := range c.secrets {
		if known.Name != s.name {
			continue
		}
		if known.Env != s.variable() {
			return fmt.Errorf("secrets: %q comes from the variable %s, and at %s from %s", s.name, s.variable(), known.Pos[0], known.Env)
		}
		return nil
	}
	c.secrets = append(c.secrets, SecretUse{Name: s.name, Env: s.variable(), Pos: pos})
	return nil
}

var (
	_ starlark.HasBinary  = (*Secret)(nil)
	_ starlark.Comparable = (*Secret)(nil)
)

// A Secret is the opaque value of a definition that stands for a secret.
type Secret struct {
	name   string
	env    string
	thread *starlark.Thread // that evaluates the definition
}

// KindName implements platforms.KindNamer, for arguments.
func (*Secret) KindName() string { return "secret" }

func (s *Secret) variable() string {
	if s.env != "" {
		return s.env
	}
	return "BAKE_SECRET_" + capitals(s.name)
}

func capitals(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func (s *Secret) misuse() error {
	return fmt.Errorf("secret %q cannot be used in a string; pass it through secrets=", s.name)
}

// String is what str(), print and the formatting of strings call. It cannot
// return an error, so it stops the evaluation.
func (s *Secret) String() string {
	eval.Stop(s.thread, s.misuse())
	return "<secret>"
}

func (s *Secret) Type() string         { return "secret" }
func (s *Secret) Freeze()              {}
func (s *Secret) Truth() starlark.Bool { return true }

// Hash implements starlark.Value.
func (s *Secret) Hash() (uint32, error) {
	h := fnv.New32a()
	h.Write([]byte(s.name))
	return h.Sum32(), nil
}

// Binary implements starlark.HasBinary: no operator takes a secret.
func (s *Secret) Binary(op syntax.Token, other starlark.Value, _ starlark.Side) (starlark.Value, error) {
	if op == syntax.IN || op == syntax.NOT_IN {
		return nil, nil
	}
	return nil, s.misuse()
}

// CompareSameType implements starlark.Comparable: secrets are equal when their
// names are.
func (s *Secret) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	same := s.name == y.(*Secret).name
	switch op {
	case syntax.EQL:
		return same, nil
	case syntax.NEQ:
		return !same, nil
	}
	return false, errors.New("secrets have no order")
}

// SecretBindings are an argument that says how secrets reach a command.
type SecretBindings []secretBinding

type secretBinding struct {
	op.Secret
	value *Secret
}

// KindName implements Kind.
func (*SecretBindings) KindName() string { return "dict or list of secrets" }

// Unpack implements starlark.Unpacker.
func (b *SecretBindings) Unpack(v starlark.Value) error {
	if m, ok := v.(starlark.IterableMapping); ok {
		for k, v := range starlark.Entries(m) {
			where, ok := starlark.AsString(k)
			if !ok {
				return fmt.Errorf("got a %s for a key, want the name of a variable or the path of a file", k.Type())
			}
			if err := b.bind(where, v); err != nil {
				return err
			}
		}
		return nil
	}
	seq, ok := v.(starlark.Sequence)
	if !ok {
		return fmt.Errorf("got %s, want a %s", v.Type(), b.KindName())
	}
	for e := range starlark.Elements(seq) {
		where := ""
		if s, ok := e.(*Secret); ok {
			where = capitals(s.name)
		}
		if err := b.bind(where, e); err != nil {
			return err
		}
	}
	return nil
}

func (b *SecretBindings) bind(where string, v starlark.Value) error {
	s, ok := v.(*Secret)
	if !ok {
		return fmt.Errorf(`got %s for %q, want a secret, such as secret("token")`, v.Type(), where)
	}
	bound := secretBinding{value: s, Secret: op.Secret{Name: s.name}}
	switch {
	case strings.HasPrefix(where, "/"):
		bound.Path = where
	case envName.MatchString(where):
		bound.Env = where
	default:
		return fmt.Errorf("%q is neither the name of a variable nor an absolute path", where)
	}
	for _, other := range *b {
		if other.Env == bound.Env && other.Path == bound.Path {
			return fmt.Errorf("%q is given twice", where)
		}
	}
	*b = append(*b, bound)
	return nil
}
