package solve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// importTo makes the first layer of a chain, in dir unless the platform keeps it.
func (t *task) importTo(op plan.Source, d platforms.Driver, dir string) (made platforms.Made, err error) {
	n := t.u.node()
	o := op.Origin()
	o.Pin = n.Pin
	o.Paths = maps.Clone(o.Paths)
	links, err := t.r.links(n)
	if err != nil {
		return made, err
	}
	err = t.tries(nil, func() error {
		if dir == "" {
			return nil
		}
		return empty(dir) // of what a failed try left
	}, func(ctx context.Context) error {
		return t.r.withLinks(ctx, links, &o, func() (err error) {
			if remote, ok := d.(platforms.RemoteImporter); ok && dir == "" {
				made, err = remote.ImportRemote(ctx, o, platforms.State{Key: t.u.id.key.String(), Name: n.Name, Needed: true}, t.out)
				return err
			}
			made, err = d.Import(ctx, o, dir, t.out)
			return err
		})
	})
	if err != nil {
		return platforms.Made{}, err
	}
	if dir == "" { // a container image is no origin of such a platform
		return made, nil
	}
	for _, l := range links {
		if l.option == o.Kind {
			return made, t.r.inherit(l.node, dir)
		}
	}
	return made, nil
}

// inherit leaves in dir how containers of the image run that the chain of n begins
// with, if it begins with one and the driver has left nothing of the kind.
func (r *run) inherit(n *plan.Node, dir string) error {
	name := filepath.Join(dir, platforms.ImageConfigName)
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	config, err := r.imageConfig(n)
	if err != nil || config == nil {
		return err
	}
	if err := os.WriteFile(name, config, 0o600); err != nil {
		return err
	}
	// When it was written is no part of the layer.
	for _, name := range []string{name, dir} {
		if err := os.Chtimes(name, platforms.FileTime, platforms.FileTime); err != nil {
			return err
		}
	}
	return nil
}

// imageConfig returns the run configuration of the image that n, a layer or an
// artifact of one, comes from, or nil.
func (r *run) imageConfig(n *plan.Node) ([]byte, error) {
	if !isLayer(n) {
		// Its layers may be gone.
		if c, ok := r.c.Exports.(Configurer); ok {
			return c.ImageConfig(n, r.sched.ids[n].key)
		}
		return nil, nil
	}
	layers, err := r.chainOf(n)
	if err != nil || layers[0].Dir == "" {
		return nil, err
	}
	config, err := os.ReadFile(filepath.Join(layers[0].Dir, platforms.ImageConfigName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return config, err
}

func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}

// A link is an option of an origin that names what another node made.
type link struct {
	option string
	node   *plan.Node
}

func (r *run) links(n *plan.Node) ([]link, error) {
	op, ok := n.Op.(plan.Linker)
	if !ok {
		return nil, nil
	}
	var links []link
	byOption := op.Links()
	for _, option := range slices.Sorted(maps.Keys(byOption)) {
		i := byOption[option]
		if i < 0 || i >= len(n.Deps) {
			return nil, fmt.Errorf("option %s: no dependency %d", option, i)
		}
		links = append(links, link{option, n.Deps[i]})
	}
	return links, nil
}

// withLinks calls use with the places of all links in o.Paths. They are valid
// only until use returns.
func (r *run) withLinks(ctx context.Context, links []link, o *platforms.Origin, use func() error) error {
	if len(links) == 0 {
		return use()
	}
	l := links[0]
	next := func(path string) error {
		if o.Paths == nil {
			o.Paths = map[string]string{}
		}
		o.Paths[l.option] = path
		return r.withLinks(ctx, links[1:], o, use)
	}
	if !isLayer(l.node) {
		path, _, err := r.artifactFile(l)
		if err != nil {
			return err
		}
		return next(path)
	}
	d, p, err := r.driver(l.node)
	if err != nil {
		return err
	}
	tree, ok := d.(platforms.Treer)
	if !ok {
		return fmt.Errorf("option %s: a layer of %s cannot be read as a tree", l.option, p.Name)
	}
	layers, err := r.chainOf(l.node)
	if err != nil {
		return err
	}
	return tree.Tree(ctx, layers, next)
}

// fitting are the formats that an option takes, the one that is the quickest to
// read first; "x-" is any variant of the disk format x. What was taken out of a
// machine may be anything.
func fitting(option string) []string {
	const anything = "file"
	switch option {
	case "disk":
		var disks []string
		for _, f := range platforms.DiskFormats() {
			disks = append(disks, f.Name+"-", f.Name)
		}
		return append(disks, "raw.zst", "raw.gz", "raw.xz", anything)
	case "ova":
		return []string{"ova", "ovf", anything}
	case "tar":
		return []string{"tar", "tar.zst", "tar.gz", anything}
	case "oci":
		return []string{"oci", "docker", anything}
	}
	return []string{option, anything}
}

// artifactFile returns the absolute path and the format of the file of an
// artifact that fits the option.
func (r *run) artifactFile(l link) (path, format string, err error) {
	files := r.artifactFiles(l.node)
	var have []string
	for _, f := range files {
		if f.Format != "" {
			have = append(have, f.Format)
		}
	}
	for _, want := range fitting(l.option) {
		for _, f := range files {
			if f.Format == want || strings.HasSuffix(want, "-") && strings.HasPrefix(f.Format, want) {
				path, err := filepath.Abs(f.Path)
				if named, ok := platforms.DiskFormatNamed(f.Format); ok && named.Folder {
					path = filepath.Dir(path)
				}
				return path, f.Format, err
			}
		}
	}
	return "", "", fmt.Errorf("option %s: artifact %s has no format that fits: it has %s", l.option, l.node.Name, strings.Join(have, ", "))
}

// artifactFiles returns the files of an artifact that is up to date, or was written in this run.
func (r *run) artifactFiles(n *plan.Node) []File {
	d := r.sched.Of(n)
	r.mu.Lock()
	defer r.mu.Unlock()
	if u := r.units[d.Key]; u != nil && u.role == roleExport {
		return u.files
	}
	return d.Files
}
