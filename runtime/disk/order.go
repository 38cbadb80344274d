package disk

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path"
	"slices"

	"bake.build/bake/internal/sparse"
	"bake.build/bake/runtime/disk/ext4"
	"bake.build/bake/runtime/disk/tree"
)

// order returns the order in which what is in the tree gets its place: what each
// layer holds, the names of its directories first, and last what bake adds. What a
// layer holds and a later one has replaced or removed keeps its place open. It is
// nil where there are no layers.
func (o *Options) order(t *tree.Tree) ([]ext4.Place, error) {
	if len(o.Layers) == 0 {
		return nil, nil
	}
	c := &composer{
		final: map[string]*tree.Entry{}, placed: map[*tree.Inode]bool{}, gone: map[string]bool{}, owner: map[string]int{},
		seed: o.hashSeed(), dirs: map[string]*dirNames{".": {names: map[string]bool{"lost+found": true}, blocks: 1}},
	}
	// The functions never fail, so neither does Walk.
	_ = t.Walk(func(path string, e *tree.Entry) error {
		if c.final[path] = e; e.Data != nil {
			c.name(path, e)
		}
		return nil
	})
	var layers []*tree.Tree
	for i, dir := range o.Layers {
		l, err := tree.Scan(dir)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
		_ = l.Walk(func(path string, e *tree.Entry) error {
			if !e.IsDir() && !e.IsWhiteout() {
				c.owner[path] = i
			}
			return nil
		})
	}
	for i, l := range layers {
		c.directories(l)
		if err := c.layer(i, l); err != nil {
			return nil, err
		}
	}
	_ = t.Walk(func(_ string, e *tree.Entry) error {
		c.place(e.Inode)
		return nil
	})
	return c.order, nil
}

// A composer puts the order together.
type composer struct {
	final  map[string]*tree.Entry // of the tree, by path
	owner  map[string]int         // the highest layer that has a file at a path
	placed map[*tree.Inode]bool
	gone   map[string]bool // directories that are no longer there and have a gap
	order  []ext4.Place

	seed ext4.Seed            // of the hashes of names
	dirs map[string]*dirNames // by path, as far as the layers are placed
}

// A dirNames is what the names of a directory take, with all that it has ever had:
// what it has less in a layer must not move what comes after.
type dirNames struct {
	names  map[string]bool
	blocks uint64 // that have a place
}

// name adds a name to those of its directory, and returns the directory.
func (c *composer) name(p string, e *tree.Entry) string {
	if e.IsDir() && c.dirs[p] == nil {
		c.dirs[p] = &dirNames{names: map[string]bool{}}
	}
	dir := path.Dir(p)
	if c.dirs[dir] == nil {
		c.dirs[dir] = &dirNames{names: map[string]bool{}}
	}
	c.dirs[dir].names[path.Base(p)] = true
	return dir
}

// directories makes places for the names that a layer brings: for as many blocks as
// its directories take with them and did not without.
func (c *composer) directories(l *tree.Tree) {
	var changed []string
	seen := map[string]bool{}
	change := func(dir string) {
		if !seen[dir] {
			seen[dir] = true
			changed = append(changed, dir)
		}
	}
	_ = l.Walk(func(p string, e *tree.Entry) error {
		if p != "." {
			change(c.name(p, e))
		}
		if e.IsDir() {
			change(p)
		}
		return nil
	})
	for _, dir := range changed {
		d := c.dirs[dir]
		n := c.seed.DirBlocks(slices.Collect(maps.Keys(d.names)))
		if n <= d.blocks {
			continue
		}
		place := ext4.Place{Names: n - d.blocks}
		if now := c.final[dir]; now != nil && now.IsDir() {
			place.Inode = now.Inode
		}
		c.order, d.blocks = append(c.order, place), n
	}
}

func (c *composer) place(in *tree.Inode) {
	if !c.placed[in] {
		c.placed[in] = true
		c.order = append(c.order, ext4.Place{Inode: in})
	}
}

// layer places what layer i, whose files are l, has brought.
func (c *composer) layer(i int, l *tree.Tree) error {
	names := map[*tree.Inode][]string{}
	_ = l.Walk(func(path string, e *tree.Entry) error {
		names[e.Inode] = append(names[e.Inode], path)
		return nil
	})
	return l.Walk(func(path string, e *tree.Entry) error {
		switch now := c.final[path]; {
		case e.IsWhiteout():
			return nil
		case e.IsDir() && now != nil && now.IsDir():
			c.place(now.Inode)
			return nil
		case e.IsDir():
			if !c.gone[path] {
				c.gone[path] = true
				c.order = append(c.order, ext4.Place{})
			}
			return nil
		}
		if names[e.Inode][0] != path {
			return nil // placed by its first name
		}
		for _, name := range names[e.Inode] {
			if now := c.final[name]; now != nil && !now.IsDir() && c.owner[name] == i && now.Data == nil {
				c.place(now.Inode)
				return nil
			}
		}
		blocks, err := ghost(l, e.Inode)
		c.order = append(c.order, ext4.Place{Blocks: blocks})
		return err
	})
}

// ghost returns how many blocks a file had that is no longer there.
func ghost(l *tree.Tree, in *tree.Inode) (blocks uint64, err error) {
	if !in.IsRegular() || in.Size == 0 {
		return 0, nil
	}
	r, err := l.Content(in)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f, ok := r.(*os.File)
	if !ok {
		return 0, errors.New("a file of a layer is not on the host")
	}
	buf, zeros := make([]byte, ext4.BlockSize), make([]byte, ext4.BlockSize)
	const last = ^int64(ext4.BlockSize - 1)
	done := int64(0)
	err = sparse.Each(f, in.Size, func(start, end int64) error {
		for at := max(start&last, done); at < end; at += ext4.BlockSize {
			n, err := f.ReadAt(buf[:min(ext4.BlockSize, in.Size-at)], at)
			if err != nil {
				return err
			}
			if !bytes.Equal(buf[:n], zeros[:n]) {
				blocks++
			}
			done = at + ext4.BlockSize
		}
		return nil
	})
	return blocks, err
}
