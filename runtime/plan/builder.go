package plan

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

// A Builder collects the nodes of one definition. It is safe for concurrent
// use, since modules of a definition may be loaded in parallel.
type Builder struct {
	mu    sync.Mutex
	nodes []*Node
}

// Add appends n to the plan and sets its ID. The caller does not change n
// after this.
func (b *Builder) Add(n *Node) *Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	n.ID = len(b.nodes)
	b.nodes = append(b.nodes, n)
	return n
}

// Plan returns what was added so far, not yet sealed. Dependencies come before
// their dependents.
func (b *Builder) Plan() *Plan {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &Plan{Nodes: append([]*Node(nil), b.nodes...)}
}

// A Plan is the graph of nodes of one definition, dependencies first.
type Plan struct {
	Nodes []*Node
}

// HashInputs computes the digests of every input of the plan, in parallel.
// The error is an *Error at the position of the input.
func (p *Plan) HashInputs(ctx context.Context, files FileHasher) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, n := range p.Nodes {
		r, ok := n.Op.(Reader)
		if !ok {
			continue
		}
		for _, in := range r.Inputs() {
			if in.Digest != "" {
				continue
			}
			g.Go(func() error {
				if err := in.Hash(ctx, files); err != nil {
					return &Error{Pos: n.Pos, Err: fmt.Errorf("%s: %w", n.Op.Kind(), err)}
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// Seal computes the keys of all nodes. Inputs must have been hashed and pins
// set. fingerprint returns the fingerprint of a platform's driver. Seal may be
// called again after a pin was changed.
func (p *Plan) Seal(fingerprint func(*Platform) (string, error)) error {
	for _, n := range p.Nodes {
		pre, err := Encode(n.Op)
		if err != nil {
			return &Error{Pos: n.Pos, Err: err}
		}
		if n.Platform != nil {
			fp, err := fingerprint(n.Platform)
			if err != nil {
				return &Error{Pos: n.Platform.Pos, Err: err}
			}
			pre = append(pre, Field{"platform", fp})
		}
		if n.Pin != nil {
			pre = append(pre, Field{"pin", n.Pin.ID})
		}
		for i, d := range n.Deps {
			if d.Key.IsZero() {
				panic(fmt.Sprintf("plan: node %d comes before its dependency %d", n.ID, d.ID))
			}
			pre = append(pre, Field{fmt.Sprintf("parent[%d]", i), d.Key.String()})
		}
		n.Preimage, n.Key = pre, pre.Key()
	}
	return nil
}

// An Error is an error at a place of a definition.
type Error struct {
	Pos []Pos // call stack, innermost first
	Err error
}

func (e *Error) Error() string {
	if len(e.Pos) == 0 {
		return e.Err.Error()
	}
	return Place(e.Pos).String() + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }
