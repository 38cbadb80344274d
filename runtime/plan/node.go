package plan

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"bake.build/bake/platforms"
)

// A Node is one vertex of the plan. Its key covers Op, the keys of Deps, the
// pin and the platform's fingerprint, and nothing else.
type Node struct {
	ID       int // position in the order of definition, from 0
	Op       Op
	Platform *Platform // where its machine runs; nil when it needs none
	Deps     []*Node   // Deps[0] is the parent layer
	Key      Key       // zero until Seal

	// Pin is what the origin of a source resolved to, or nil.
	Pin *platforms.Pin

	// Preimage is what Key is the hash of; nil until Seal.
	Preimage Preimage

	// Uses are nodes that n is made with beside its Deps, and that its own key says all
	// of already, such as the disk that a format is written from. They run where n runs,
	// and are not hashed.
	Uses []*Node

	// After are nodes that must have succeeded first: the tests of the layers
	// that this node builds on. They gate and are not hashed.
	After []*Node

	Name string // shown to users: the step's name, or one made from its content
	Pos  []Pos  // call stack, innermost first; never hashed
	Run  RunOptions
}

// RunOptions say how a node is run and never change its key.
type RunOptions struct {
	Timeout time.Duration // 0 means none
	Retries int           // how often a failed step is tried again
	Always  bool          // never taken from the store
}

// Or returns what a node is run with that two others stand for: the time that suits
// both, and the retries of either.
func (o RunOptions) Or(other RunOptions) RunOptions {
	longest := max(o.Timeout, other.Timeout)
	if o.Timeout == 0 || other.Timeout == 0 {
		longest = 0
	}
	return RunOptions{Timeout: longest, Retries: max(o.Retries, other.Retries), Always: o.Always}
}

// A Pos is one frame of a definition's call stack.
type Pos struct {
	File string // as shown to users
	Line int    // from 1
	Col  int    // from 1
	Func string // the function that the position is in; "" at top level
}

// Place returns the innermost position of a call stack that is not in a
// library, whose files have names that begin with "@". A stack that is in a
// library throughout gives its innermost position, an empty one the zero Pos.
func Place(stack []Pos) Pos {
	for _, p := range stack {
		if !strings.HasPrefix(p.File, "@") {
			return p
		}
	}
	if len(stack) > 0 {
		return stack[0]
	}
	return Pos{}
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col) }

// A Platform is a platform value of a definition.
type Platform struct {
	Name    string          // name in the table of platforms
	Label   string          // what the definition calls this value, or ""; never hashed
	Options json.RawMessage // canonical JSON of the options
	Secrets []string        // names of the secrets in the options
	Pos     []Pos           // where the value was made
}

// Called returns what users call the platform value.
func (p *Platform) Called() string { return cmp.Or(p.Label, p.Name) }

// ID returns what distinguishes the platform value from others: not its label.
func (p *Platform) ID() string { return p.Name + string(p.Options) }

// An Op is what a node does: its data. An Op is a pointer to a struct. Every
// field of the struct has the tag key:"name", under which its value enters the
// key, or key:"-", when it must not. See Encode for the types allowed.
type Op interface {
	Kind() string // such as "shell"; part of the key
}

// A Source is an Op that begins a chain.
type Source interface {
	Op
	Origin() platforms.Origin
}

// A Step is an Op that makes a layer from a layer.
type Step interface {
	Op
	Apply(ctx context.Context, m platforms.Machine, env Env) error
}

// A Check is an Op that looks at a machine of its own on a layer and keeps
// nothing of it.
type Check interface {
	Op
	Check(ctx context.Context, m platforms.Machine, env Env) error
}

// A Launcher is a Check that can look at a machine of a finished artifact: its
// Deps[0] may be an export, and its Platform is where the machine runs.
type Launcher interface {
	Check
	Launch() Launch
}

// A Publication is an Op that makes something of a layer known to others: it
// waits for the tests of all that is made of the layer.
type Publication interface {
	Op
	Publishes()
}

// An Intermediate is an Op whose result is for the nodes that use it, is made where one
// of them runs, and goes when they have ended.
type Intermediate interface {
	Op
	Intermediate()
}

// A MachineExport is an Op that makes an artifact of files that it reads in a
// machine on its layer. Other artifacts are made of the layer itself.
type MachineExport interface {
	Op
	FromMachine()
}

// A Launch says how an artifact is launched.
type Launch struct {
	Format  string // of the artifact's file; "" means the first that is a disk
	UEFI    bool   // the disk boots by UEFI only
	NoLogin bool   // nothing runs in the machine
}

// An Env is what a running step may use.
type Env struct {
	Out     platforms.Logger
	Secrets func(name string) ([]byte, error) // the value of a secret

	// TempDir makes a directory of this host that only its user can read. It goes when
	// remove is called or, if this process dies, with the next one.
	TempDir func(prefix string) (dir string, remove func() error, err error)

	// Trust names the steps that may share caches: what one leaves there, the
	// others use.
	Trust string

	// Waiting is called when the op has to wait for what, and over when that
	// has ended: the time does not count as the op's own. It may be nil.
	Waiting func(what string) (over func())
}

// A Reader is an Op that reads files of the project. Seal fills the digest of
// each Input before it computes keys.
type Reader interface {
	Op
	Inputs() []*Input
}
