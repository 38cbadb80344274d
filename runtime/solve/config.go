package solve

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/layers"
	"bake.build/bake/runtime/plan"
)

// Layers are the layers that there are, wherever they are kept; *layers.Source is one.
type Layers interface {
	// Find returns those of the layers of the platform p that there are, by their keys.
	Find(ctx context.Context, p *plan.Platform, want []layers.Spec) (map[plan.Key]platforms.Layer, error)

	// Check returns a layer that was found once it is known to be whole, or
	// store.ErrMissing.
	Check(ctx context.Context, l platforms.Layer) (platforms.Layer, error)

	// Make returns a layer that fill makes, unless another build has done so, for
	// which it calls waiting. It is nil when fill has dropped it.
	Make(ctx context.Context, l layers.Spec, waiting func(), fill func(dir string) (platforms.Made, error)) (layer *platforms.Layer, made bool, err error)

	// Describe returns what the layer n is, or the one that n is made from, as its
	// driver knows without it.
	Describe(ctx context.Context, n *plan.Node) (platforms.Traits, error)
}

// Records are small values kept beside the layers.
type Records interface {
	PutRecord(kind, name string, v []byte) error
	GetRecord(kind, name string) ([]byte, error)
}

// A Leaser is a Store of layers that other processes may remove layers from.
type Leaser interface {
	// Lease keeps layers, whether they are in the store yet or not, until
	// release.
	Lease(keys ...plan.Key) (release func() error, err error)
}

// A Syncer is a Store of layers that writes them to the disk in the background. It is
// waited for at the end of a run.
type Syncer interface {
	Sync() error
}

// Exports makes the nodes that are no source, step or check: the artifacts.
type Exports interface {
	// Current returns the files of n's artifact when they are as they were
	// written for key, and otherwise says why they do not.
	Current(ctx context.Context, n *plan.Node, key plan.Key) (files []File, why string, err error)

	// Export writes the artifact of j.Node and returns its files.
	Export(ctx context.Context, j Job) ([]File, error)
}

// A Releaser is an Exports that makes results of a plan.Intermediate.
type Releaser interface {
	// Release is told once of each that Export has made, when nothing will use it any more.
	Release(n *plan.Node, key plan.Key) error
}

// A Settler is an Exports that keeps artifacts apart until their tests have
// passed.
type Settler interface {
	// Settle is told once that all tests of n's artifact have passed, or that one
	// failed, and returns where its files are now. Nothing reads them meanwhile.
	Settle(ctx context.Context, n *plan.Node, key plan.Key, passed bool) ([]File, error)
}

// A Configurer is an Exports whose artifacts remember how containers run of the image
// that their layers began with.
type Configurer interface {
	// ImageConfig returns what platforms.ImageConfigName holds for n's artifact, or
	// nil where its layers did not begin with a container image.
	ImageConfig(n *plan.Node, key plan.Key) ([]byte, error)
}

// Passed reports whether the test n has passed, in any build.
func Passed(s Records, n *plan.Node) bool {
	_, err := s.GetRecord(passedRecord, n.Key.String())
	return err == nil
}

// A Job is one artifact to be written.
type Job struct {
	Node   *plan.Node
	Key    plan.Key          // the identity of the artifact in this run
	Driver platforms.Driver  // of the layer
	Chain  []platforms.Layer // the layer, from the oldest to the newest
	Traits platforms.Traits  // what the layer is
	Used   []Used            // Node.Uses
	Out    platforms.Logger

	// Secrets returns the value of a secret that the node uses, which is masked.
	Secrets func(name string) ([]byte, error)

	// Machine is open on the layer, for a plan.MachineExport; nil for others.
	Machine platforms.Machine
}

// A Used is the result of a plan.Intermediate.
type Used struct {
	Key   plan.Key // its identity in this run
	Files []File
}

// A File is one file of a finished artifact, or one image on a platform.
type File struct {
	Path   string // absolute, or as the output folder was given; of an image, what users call it
	Format string // such as "qcow2"; "" for a file that describes the others, and for images
	Size   int64  // bytes
}

// OnError says what becomes of a machine in which a step failed.
type OnError string

// The choices of OnError.
const (
	Cleanup OnError = "cleanup" // it is closed
	Keep    OnError = "keep"    // its state is kept as a layer that can be opened
	Shell   OnError = "shell"   // Config.Shell is called with it, then it is closed
)

// A Claim is a share of a limited resource.
type Claim struct {
	Resource string // names the resource to users, such as "memory"
	Amount   int64  // what the claimant takes
	Capacity int64  // what there is
	Bytes    bool   // Amount and Capacity are sizes

	shown string // in place of Resource, when that is not for users
}

// A Config is what a run is made with. Store, Layers, Drivers and Events are required.
type Config struct {
	Store   Records // may be a Leaser and a Syncer, too
	Layers  Layers
	Exports Exports // required when the plan has artifacts
	Drivers func(p *plan.Platform) (platforms.Driver, error)
	Events  *event.Stream

	// Jobs is how many machines run at once; 0 means one for each CPU, and two
	// at least.
	Jobs int

	// MaxExports is how many artifacts are written at once, beside the machines;
	// 0 means one for every two CPUs.
	MaxExports int

	// Claims returns what n takes of further resources. A machine keeps the
	// claims of the first node that runs in it. It may be nil.
	Claims func(n *plan.Node) []Claim

	// Project names those whose steps may trust each other with caches, such as
	// the absolute path of the project's root directory.
	Project string

	// KeepGoing runs what does not depend on a failed node.
	KeepGoing bool

	OnError OnError

	// Shell is called with the machine in which n failed. It must not close it.
	Shell func(ctx context.Context, n *plan.Node, m platforms.Machine, failure error) error

	// Secrets returns the value of a secret. It is asked at most once for each.
	Secrets func(name string) ([]byte, error)

	// TempDir makes directories for steps; see plan.Env. It is required where one asks
	// for some.
	TempDir func(prefix string) (dir string, remove func() error, err error)

	// LogDir is where the log of each node is written; "" means nowhere.
	LogDir string

	// grace is how long a call may go on after its context has ended before the
	// machine is closed under it; 0 means a few seconds.
	grace time.Duration

	// Why explains a layer that is not there, such as "script changed",
	// or returns "". It may be nil.
	Why func(n *plan.Node) string
}

func (c *Config) jobs() int {
	if c.Jobs > 0 {
		return c.Jobs
	}
	return max(2, runtime.NumCPU())
}

func (c *Config) maxExports() int {
	if c.MaxExports > 0 {
		return c.MaxExports
	}
	return max(1, runtime.NumCPU()/2)
}

func (c *Config) gracePeriod() time.Duration {
	if c.grace > 0 {
		return c.grace
	}
	return 5 * time.Second
}

// A role is what a node is to the solver.
type role int

const (
	roleSource role = iota
	roleStep
	roleCheck
	roleExport
)

func roleOf(n *plan.Node) role {
	switch n.Op.(type) {
	case plan.Source:
		return roleSource
	case plan.Step:
		return roleStep
	case plan.Check:
		return roleCheck
	}
	return roleExport
}

// fromMachine reports whether n is an artifact that is read in a machine.
func fromMachine(n *plan.Node) bool {
	_, ok := n.Op.(plan.MachineExport)
	return ok
}

// isLayer reports whether the result of n is a layer.
func isLayer(n *plan.Node) bool { r := roleOf(n); return r == roleSource || r == roleStep }

// layerOf returns the layer that n acts on: its parent, or for what acts on an
// artifact the layer that the artifact was made from.
func layerOf(n *plan.Node) (*plan.Node, error) {
	for m := n; len(m.Deps) > 0; {
		if m = m.Deps[0]; isLayer(m) {
			return m, nil
		}
	}
	return nil, errors.New("no layer to act on")
}

// needs returns the nodes whose results n uses.
func needs(n *plan.Node) []*plan.Node { return slices.Concat(n.Deps, n.Uses) }

// isIntermediate reports whether the result of n is for other nodes alone.
func isIntermediate(n *plan.Node) bool {
	_, ok := n.Op.(plan.Intermediate)
	return ok
}

// A NodeError is the failure of one node. Its text and Tail hold no secret.
type NodeError struct {
	Node    *plan.Node
	Err     error
	Tail    []string // the last lines of the node's log
	LogPath string   // the whole log; "" when there is none
	Kept    plan.Key // the layer that holds the state at the failure, for Keep
}

// Title names what failed: the step by the name that the definition or a library
// gives it, or else by its kind.
func (e *NodeError) Title() string {
	kind := e.Node.Op.Kind()
	if e.Node.Name == "" || strings.HasPrefix(e.Node.Name, kind+":") {
		return kind
	}
	return e.Node.Name
}

func (e *NodeError) Error() string {
	s := fmt.Sprintf("%s: %v", e.Title(), e.Err)
	if len(e.Node.Pos) > 0 {
		s = plan.Place(e.Node.Pos).String() + ": " + s
	}
	return s
}

func (e *NodeError) Unwrap() error { return e.Err }

// A PanicError is a panic of an op or of a driver, caught so that the rest of
// the build is not taken down.
type PanicError struct {
	Value string
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("panic (a bug of bake): %s\n%s", e.Value, e.Stack)
}
