package build

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"bake.build/bake/builtins"
	"bake.build/bake/runtime/lock"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/eval"
)

// Trials evaluate files for tests of definitions: nothing is asked of a network or a
// platform, and no pin is made. Methods are safe for concurrent use.
type Trials struct {
	*Host

	mu      sync.Mutex
	modules map[string]*modules // by the root of the project
}

// OpenTrials opens the store for trials, which have to be closed.
func OpenTrials(c Config) (*Trials, error) {
	if c.Rights != nil {
		// Keys are those of the rights that machines need. Where they cannot be had, only
		// a build fails.
		_ = c.Rights()
	}
	h, err := OpenHost(c)
	if err != nil {
		return nil, err
	}
	return &Trials{Host: h, modules: map[string]*modules{}}, nil
}

// Open finds the project of a file, and the modules that it loads.
func (t *Trials) Open(ctx context.Context, file string) (*eval.Project, error) {
	p, err := eval.OpenProject(t.abs(file), t.Dir)
	if err != nil {
		return nil, of(KindDefinition, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	m, ok := t.modules[p.Root]
	if !ok {
		if m, err = modulesOf(ctx, t.Host, p); err != nil {
			return p, err
		}
		t.modules[p.Root] = m
	}
	return p, m.apply(ctx, p)
}

// Context returns what a file of the project is evaluated in, with parameters.
func (t *Trials) Context(p *eval.Project, params map[string]builtins.ParamInput) builtins.Config {
	return builtins.Config{Project: p, Platforms: t.Platforms, Formats: t.Formats, Params: params}
}

// Evaluation says how the project's definition is evaluated in a context.
func (t *Trials) Evaluation(p *eval.Project, c *builtins.Context, printed io.Writer) eval.Config {
	return t.evaluation(p, c, printed)
}

// Seal gives the nodes of a plan their keys, with the pins that the project's bake.lock
// has. The key of a source without one is that of its origin as it is written.
func (t *Trials) Seal(ctx context.Context, p *eval.Project, nodes *plan.Plan) error {
	file, err := lock.Load(filepath.Join(p.Root, lock.Name))
	if err != nil {
		return of(KindDefinition, err)
	}
	if err := nodes.HashInputs(ctx, t.Store.StatCache()); err != nil {
		return of(KindDefinition, err)
	}
	r := lock.Resolver{File: file, Drivers: t.Driver, Known: true}
	if err := r.Pin(ctx, nodes); err != nil {
		return of(KindDefinition, err)
	}
	return of(KindDefinition, nodes.Seal(t.fingerprint))
}

// Layer builds the layer that node makes, a node of the plan that was evaluated in c, and
// calls use with it. Origins are pinned as in any build.
func (t *Trials) Layer(ctx context.Context, p *eval.Project, c *builtins.Context, node *plan.Node, o Options, use func(*Layer) error) (err error) {
	config := t.Config
	config.Secrets = secretsFor(config.Secrets, c.SecretUses())
	b := &Build{
		Host: &Host{Config: config, notices: notices{notify: t.Notify, hold: true}}, Project: p, context: c,
		Definition: &builtins.Definition{Plan: c.Plan(), Secrets: c.SecretUses()},
	}
	if t.Rights != nil {
		b.rightsErr = of(KindHost, t.Rights())
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := b.pin(ctx, b.Definition.Plan); err != nil {
		return err
	}
	if err := errors.Join(b.seal(), b.CheckRights()); err != nil {
		return err
	}
	key, err := b.makeLayer(ctx, node, o)
	if err != nil {
		return err
	}
	layer, err := b.layerOf(ctx, node, key)
	if err != nil {
		return err
	}
	return use(layer)
}

// secretsFor returns those of the given secrets that are used: others are for other tests.
func secretsFor(given []string, uses []builtins.SecretUse) []string {
	return slices.DeleteFunc(slices.Clone(given), func(s string) bool {
		name, _, named := strings.Cut(s, "=")
		return named && !slices.ContainsFunc(uses, func(u builtins.SecretUse) bool { return u.Name == name })
	})
}
