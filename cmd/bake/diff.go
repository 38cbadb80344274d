package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bake.build/bake/internal/printable"
	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/ui"
)

func (a *app) diffCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:   "diff [DEFINITION] A B",
		Short: "list the files added, changed and removed between two layers or artifacts",
		Long: `Lists what B has over A, one file a line: A for added, M for changed, R for
removed. Layers are named as for bake shell, and built first when they are
missing.`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := defaultDefinition
			if len(args) == 3 {
				file, args = args[0], args[1:]
			}
			return a.diff(cmd.Context(), file, args[0], args[1], f)
		},
	}
	cmd.ValidArgsFunction = a.completer(addressable)
	f.addTo(cmd)
	return cmd
}

func (a *app) diff(ctx context.Context, file, from, to string, f *buildFlags) error {
	return a.withMachines(ctx, file, f, func(s *session) error {
		old, err := s.files(ctx, from, f)
		if err != nil {
			return err
		}
		now, err := s.files(ctx, to, f)
		if err != nil {
			return err
		}
		changes, err := compareFiles(ctx, old, now)
		if err != nil {
			return err
		}
		for _, c := range changes {
			fmt.Fprintf(a.stdout, "%c %10s  %s\n", c.what, ui.Size(c.size), printable.Name("/"+c.path))
		}
		return nil
	})
}

// A layerFiles is the file tree of one layer.
type layerFiles struct {
	layer *plan.Node
	tree  func(ctx context.Context, use func(dir string) error) error
	files map[string]fileFacts // by the path relative to the root
}

// files builds the layer that address names and lists its files.
func (s *session) files(ctx context.Context, address string, f *buildFlags) (*layerFiles, error) {
	layer, key, err := s.layer(ctx, address, f)
	if err != nil {
		return nil, err
	}
	driver, err := s.drivers.get(layer.Platform)
	if err != nil {
		return nil, err
	}
	treer, ok := driver.(platforms.Treer)
	if !ok {
		return nil, fmt.Errorf("%s: the platform %s cannot show the files of a layer", address, layer.Platform.Name)
	}
	chain, err := s.chain(ctx, driver, layer, key)
	if err != nil {
		return nil, err
	}
	l := &layerFiles{layer: layer, tree: func(ctx context.Context, use func(string) error) error {
		return treer.Tree(ctx, chain, use)
	}}
	err = l.tree(ctx, func(dir string) (err error) {
		l.files, err = listFiles(ctx, dir)
		return err
	})
	return l, err
}

// A fileChange is one line of a diff.
type fileChange struct {
	what byte // 'A', 'M' or 'R'
	path string
	size int64 // bytes, of the file as it is, or as it was when it is gone
}

// compareFiles lists what now has over old, sorted by path. Files of equal
// metadata that are not the same inode are hashed.
func compareFiles(ctx context.Context, old, now *layerFiles) ([]fileChange, error) {
	var changes []fileChange
	var unsure []string
	for path, n := range now.files {
		o, ok := old.files[path]
		switch {
		case !ok:
			changes = append(changes, fileChange{'A', path, n.size})
		case !o.sameMetadata(n):
			changes = append(changes, fileChange{'M', path, n.size})
		case n.regular && !o.sameInode(n):
			unsure = append(unsure, path)
		}
	}
	for path, o := range old.files {
		if _, ok := now.files[path]; !ok {
			changes = append(changes, fileChange{'R', path, o.size})
		}
	}
	was, err := hashFiles(ctx, old, unsure)
	if err != nil {
		return nil, err
	}
	is, err := hashFiles(ctx, now, unsure)
	if err != nil {
		return nil, err
	}
	for _, path := range unsure {
		if was[path] != is[path] {
			changes = append(changes, fileChange{'M', path, now.files[path].size})
		}
	}
	slices.SortFunc(changes, func(a, b fileChange) int {
		return strings.Compare(a.path, b.path)
	})
	return changes, nil
}
