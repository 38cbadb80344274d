package disk

import (
	"bytes"
	"errors"
	"io"

	"bake.build/bake/runtime/disk/ext4"
	"bake.build/bake/runtime/disk/tree"
)

// order returns the order in which what is in the tree gets its place: the files
// that bake adds, then those of each layer, by their names. What a layer holds
// and a later one has replaced or removed keeps its place open.
func (o *Options) order(t *tree.Tree) ([]ext4.Place, error) {
	c := &composer{final: map[string]*tree.Entry{}, placed: map[*tree.Inode]bool{}, gone: map[string]bool{}, owner: map[string]int{}}
	// The functions never fail, so neither does Walk.
	_ = t.Walk(func(path string, e *tree.Entry) error {
		if c.final[path] = e; e.Data != nil {
			c.place(e.Inode)
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
	buf, zeros := make([]byte, ext4.BlockSize), make([]byte, ext4.BlockSize)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			blocks++
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return blocks, nil
		} else if err != nil {
			return 0, err
		}
	}
}
