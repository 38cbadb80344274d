package drivers

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"bake.build/bake/runtime/disk/grub"
	"bake.build/bake/runtime/disk/tree"
)

// A Kernel is what is known of the drivers of one.
type Kernel struct {
	version string
	builtin set
	modules set // that can be loaded once the root file system is there
	initrd  string
	early   set // and before that; nil where that is not known
	err     error
	read    chan struct{} // closed when early and err are set
}

type set map[string]bool

// Read returns what the tree says of a kernel's drivers, or nil where the tree does
// not have the lists that come with a kernel. It reads on the calling goroutine, but
// the initial file system, which takes a second for one of 100 MB, on another one,
// which Check and Wait wait for.
func Read(t *tree.Tree, k grub.Kernel) (*Kernel, error) {
	dir := "usr/lib/modules/" + k.Version
	if _, e := t.Follow(dir); e == nil {
		dir = "lib/modules/" + k.Version
	}
	r := &Kernel{version: k.Version, initrd: k.Initrd, read: make(chan struct{})}
	var err error
	if r.builtin, err = list(t, dir+"/modules.builtin"); err != nil || r.builtin == nil {
		return nil, err
	}
	if r.modules, err = list(t, dir+"/modules.dep"); err != nil || r.modules == nil {
		return nil, err
	}
	_, e := t.Follow(k.Initrd)
	if k.Initrd == "" || e == nil || !e.IsRegular() {
		r.early = set{}
		close(r.read)
		return r, nil
	}
	f, err := t.Content(e.Inode)
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(r.read)
		r.early, r.err = archiveModules(f)
		r.err = errors.Join(r.err, f.Close())
	}()
	return r, nil
}

// Wait returns when nothing of the tree is read any more.
func (k *Kernel) Wait() { <-k.read }

// maxList bounds the memory for a list: those of distributions have half a MiB.
const maxList = 16 << 20

// list reads a list of modules of which each line begins with the path of one, or
// returns nil where there is none.
func list(t *tree.Tree, name string) (set, error) {
	_, e := t.Follow(name)
	if e == nil || !e.IsRegular() {
		return nil, nil
	}
	f, err := t.Content(e.Inode)
	if err != nil {
		return nil, fmt.Errorf("read /%s: %w", name, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxList))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read /%s: %w", name, err)
	}
	s := set{}
	for line := range strings.Lines(string(text)) {
		file, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		s.add(file)
	}
	return s, nil
}

// add adds a module by the path of its file, which may be compressed.
func (s set) add(file string) {
	name, rest, ok := strings.Cut(path.Base(file), ".ko")
	if ok && (rest == "" || rest[0] == '.') {
		s[strings.ReplaceAll(name, "-", "_")] = true
	}
}

// A lack is why something cannot be attached.
type lack struct {
	module string
	early  bool // it is in the kernel's modules and not in its initial file system
}

// lacks returns what k lacks for a device of a disk or, unless early, of a card.
func (k *Kernel) lacks(d Device, early bool) []lack {
	var list []lack
	for _, m := range d.Modules {
		switch {
		case k.builtin[m]:
		case !k.modules[m]:
			list = append(list, lack{module: m})
		case early && k.early != nil && !k.early[m]:
			list = append(list, lack{m, true})
		}
	}
	return list
}

// Check returns what will not work on a hypervisor as it attaches things unless it
// is told otherwise, in words for users.
func (k *Kernel) Check(h Hypervisor) ([]string, error) {
	k.Wait()
	if k.err != nil {
		return nil, fmt.Errorf("read %s: %w", k.initrd, k.err)
	}
	var list []string
	for _, c := range []struct {
		what    string
		devices []Device
		early   bool
	}{{"disk", h.Disks, true}, {"network card", h.Cards, false}} {
		if len(c.devices) == 0 {
			continue
		}
		missing := k.lacks(c.devices[0], c.early)
		if len(missing) == 0 {
			continue
		}
		var others []string
		for _, d := range c.devices[1:] {
			if len(k.lacks(d, c.early)) == 0 {
				others = append(others, d.Name)
			}
		}
		list = append(list, k.explain(h, c.what, c.devices[0], missing, others))
	}
	return list, nil
}

func (k *Kernel) explain(h Hypervisor, what string, d Device, missing []lack, others []string) string {
	var names []string
	where, fix := "the kernel "+k.version, "install a kernel that has it, such as linux-image-amd64 in place of Debian's cloud kernel"
	for _, l := range missing {
		names = append(names, l.module)
		if l.early {
			where, fix = k.initrd, "have it made with more drivers"
		}
	}
	s := fmt.Sprintf("%s attaches a %s by %s, and %s has no driver for that (%s): %s", h.Name, what, d.Name, where, strings.Join(names, ", "), fix)
	if len(others) > 0 {
		s += ", or choose " + strings.Join(others, " or ") + " there"
	}
	return s
}
