package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/internal/need"

	"golang.org/x/sys/unix"

	"bake.build/bake/platforms"
)

// TestLayersUnderAnOverlay uses layers as the root file systems of steps are
// made of them: that must leave the lower one as it is, and the upper folder,
// moved into a layer, must keep what overlayfs wrote there.
func TestLayersUnderAnOverlay(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	s, _ := open(t, dir)
	base := put(t, s, "base", "", map[string]string{"etc/conf": "x", "etc/gone": "x", "old/f": "x", "same": "x"})
	_, factsBefore, err := scan(context.Background(), base.Dir)
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := s.Put(context.Background(), Meta{Key: key("child"), Parent: base.Key.String()}, nil, func(out string) (platforms.Made, error) {
		return platforms.Made{}, overlaid(t, s, base.Dir, out)
	})
	if err != nil {
		t.Fatal(err)
	}
	_, factsAfter, err := scan(context.Background(), base.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range factsBefore {
		if factsBefore[i] != factsAfter[i] {
			t.Error("the use of a layer changed it")
		}
	}
	m, err := ReadManifest(e)
	if err != nil {
		t.Fatal(err)
	}
	var whiteout, opaque bool
	for _, f := range m.Files {
		whiteout = whiteout || f.Path == "etc/gone" && f.Type == Char && f.Major == 0 && f.Minor == 0
		opaque = opaque || f.Path == "old" && len(f.Xattrs) == 1 && f.Xattrs[0].Name == "trusted.overlay.opaque"
	}
	if !whiteout || !opaque {
		t.Errorf("whiteout %v, opaque directory %v: %+v", whiteout, opaque, m.Files)
	}
	whole(t, s)
	fresh, warned := open(t, dir)
	if _, err := fresh.Chain(context.Background(), key("child")); err != nil {
		t.Errorf("%v: %s", err, warned())
	}
}

// overlaid changes the tree lower by an overlay and moves the difference to
// out.
func overlaid(t *testing.T, s *Store, lower, out string) (err error) {
	tmp, remove, err := s.TempDir("overlay")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	in := func(name string) string { return filepath.Join(tmp, name) }
	for _, name := range []string{"upper", "work", "root"} {
		if err := makeDir(in(name), 0o755); err != nil {
			return err
		}
	}
	options := "lowerdir=" + lower + ",upperdir=" + in("upper") + ",workdir=" + in("work")
	if err := unix.Mount("overlay", in("root"), "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.WriteFile(in("root/etc/conf"), []byte("changed"), 0o644),
		os.Remove(in("root/etc/gone")),
		os.RemoveAll(in("root/old")),
		os.Mkdir(in("root/old"), 0o755),
		os.Chmod(in("root/same"), 0o600),
	)
	if err = errors.Join(err, unix.Unmount(in("root"), 0)); err != nil {
		return err
	}
	return errors.Join(os.Remove(out), os.Rename(in("upper"), out))
}
