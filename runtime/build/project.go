package build

import (
	"context"
	"errors"

	"bake.build/bake/starlark/eval"
)

// ProjectAt returns the project of a root directory, absolute and free of symbolic links,
// with the trees of the modules that its files load; none where the error says why.
func ProjectAt(ctx context.Context, c Config, root string) (*eval.Project, error) {
	p := eval.NewProject(root, c.Dir)
	h := &Host{Config: c, notices: notices{notify: c.Notify}}
	m, err := modulesOf(ctx, h, p)
	if err == nil {
		err = m.apply(ctx, p)
	}
	if h.Store != nil {
		err = errors.Join(err, h.Store.Close())
	}
	if err != nil {
		return p, &SourceError{p, err}
	}
	return p, nil
}
