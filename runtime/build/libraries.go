package build

import (
	"context"

	"bake.build/bake/starlark/eval"
)

// Libraries are the modules that a project loads, for those who evaluate its files by
// themselves. They are safe for concurrent use, and must be closed.
type Libraries struct{ set *modules }

// OpenLibraries finds the modules of a project as a build of it does. Where nothing is
// locked they are selected, and bake.lock stays as it is. Errors are SourceErrors.
func OpenLibraries(ctx context.Context, c Config, p *eval.Project) (*Libraries, error) {
	h := &Host{Config: c, notices: notices{notify: c.Notify}}
	set, err := modulesOf(ctx, h, p)
	l := &Libraries{set: set}
	if err != nil {
		_ = l.Close() // err is what counts
		return nil, &SourceError{p, err}
	}
	return l, nil
}

// Apply makes what the files of p load known to it, which has the same root.
func (l *Libraries) Apply(ctx context.Context, p *eval.Project) error { return l.set.apply(ctx, p) }

// Close closes the store, if it was opened.
func (l *Libraries) Close() error {
	if l.set == nil || l.set.host.Store == nil {
		return nil
	}
	return l.set.host.Store.Close()
}
