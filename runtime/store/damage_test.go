package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/platforms"
)

// flip changes one bit in the middle of a file and leaves its times as they
// were.
func flip(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, info.Size()/2); err != nil {
		return err
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, info.Size()/2); err != nil {
		return err
	}
	return os.Chtimes(path, info.ModTime(), info.ModTime())
}

// damages change the layer's directory in ways that Get must notice.
var damages = map[string]func(dir string) error{
	"bit in a file":     func(dir string) error { return flip(filepath.Join(dir, "data/etc/conf")) },
	"bit in the record": func(dir string) error { return flip(filepath.Join(dir, metaName)) },
	"bit in a manifest": func(dir string) error { return flip(filepath.Join(dir, manifestName)) },
	"no record":         func(dir string) error { return os.Remove(filepath.Join(dir, metaName)) },
	"empty record":      func(dir string) error { return os.Truncate(filepath.Join(dir, metaName), 0) },
	"no manifest":       func(dir string) error { return os.Remove(filepath.Join(dir, manifestName)) },
	"no content":        func(dir string) error { return os.RemoveAll(filepath.Join(dir, dataName)) },
	"missing file":      func(dir string) error { return os.Remove(filepath.Join(dir, "data/etc/conf")) },
	"missing empty dir": func(dir string) error { return os.Remove(filepath.Join(dir, "data/empty")) },
	"extra file":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "data/etc/new"), nil, 0o644) },
	"extra file at top": func(dir string) error { return os.WriteFile(filepath.Join(dir, "data/new"), nil, 0o644) },
	"truncated file":    func(dir string) error { return os.Truncate(filepath.Join(dir, "data/etc/conf"), 3) },
	"changed mode":      func(dir string) error { return os.Chmod(filepath.Join(dir, "data/etc/conf"), 0o4755) },
	"changed mode of /": func(dir string) error { return os.Chmod(filepath.Join(dir, "data"), 0o700) },
	"changed time": func(dir string) error {
		return os.Chtimes(filepath.Join(dir, "data/etc/conf"), time.Time{}, time.Unix(1, 0))
	},
	"changed target":     func(dir string) error { return relink(filepath.Join(dir, "data/link"), "etc/cong") },
	"file for directory": func(dir string) error { return replace(filepath.Join(dir, "data/empty")) },
	"file above files":   func(dir string) error { return replace(filepath.Join(dir, "data/etc")) },
	"broken hard link":   func(dir string) error { return unlinkHard(filepath.Join(dir, "data/hard2")) },
	"extra file, times put back": func(dir string) error {
		info, err := os.Stat(filepath.Join(dir, "data/etc"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "data/etc/new"), nil, 0o644); err != nil {
			return err
		}
		return os.Chtimes(filepath.Join(dir, "data/etc"), info.ModTime(), info.ModTime())
	},
}

func relink(path, target string) error {
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if err := errors.Join(os.Remove(path), os.Symlink(target, path)); err != nil {
		return err
	}
	return os.Chtimes(filepath.Dir(path), info.ModTime(), info.ModTime())
}

func replace(path string) error {
	return errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o755))
}

// unlinkHard makes a copy of a hard link, like it in all but its inode.
func unlinkHard(path string) error {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(path), os.WriteFile(path, b, info.Mode().Perm()),
		os.Chtimes(path, info.ModTime(), info.ModTime()), os.Chtimes(filepath.Dir(path), dir.ModTime(), dir.ModTime()))
}

// sound fills a layer that has something to damage.
func sound(dir string) (platforms.Made, error) {
	err := tree(dir, map[string]string{"etc/conf": strings.Repeat("text\n", 100), "empty/": "", "hard1": "x"})
	return platforms.Made{}, errors.Join(err, os.Symlink("etc/conf", filepath.Join(dir, "link")), os.Link(filepath.Join(dir, "hard1"), filepath.Join(dir, "hard2")))
}

func TestGetDropsDamaged(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			first, _ := open(t, dir)
			if _, _, err := first.Put(context.Background(), Meta{Key: key("a"), Name: "step"}, nil, sound); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond) // file times have the resolution of a tick
			if err := errors.Join(damage(first.layerDir(key("a"))), first.Close()); err != nil {
				t.Fatal(err)
			}
			s, warned := open(t, dir)
			if _, err := s.Get(context.Background(), key("a")); !errors.Is(err, ErrMissing) {
				t.Fatalf("get of a damaged layer: %v", err)
			}
			if w := warned(); !strings.Contains(w, key("a").Short()) || !strings.Contains(w, "dropped") {
				t.Errorf("warned: %q", w)
			}
			if s.Has(key("a")) {
				t.Error("the layer is still there")
			}
			clean(t, s)
			if _, filled, err := s.Put(context.Background(), Meta{Key: key("a")}, nil, sound); err != nil || !filled {
				t.Errorf("put again: filled %v, %v", filled, err)
			}
			whole(t, s)
		})
	}
}

func TestVerifyDropsDamaged(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := open(t, t.TempDir())
			put(t, s, "good", "", map[string]string{"f": "x"})
			if _, _, err := s.Put(context.Background(), Meta{Key: key("bad")}, nil, sound); err != nil {
				t.Fatal(err)
			}
			put(t, s, "child", "bad", nil)
			if err := damage(s.layerDir(key("bad"))); err != nil {
				t.Fatal(err)
			}
			reports := map[string]error{}
			if err := s.Verify(context.Background(), true, func(e Entry, err error) { reports[e.Key.String()] = err }); err != nil {
				t.Fatal(err)
			}
			if err := reports[key("bad").String()]; len(reports) != 3 || !errors.Is(err, ErrDamaged) {
				t.Errorf("reported %v", reports)
			}
			if s.Has(key("bad")) || !s.Has(key("good")) || !s.Has(key("child")) {
				t.Error("not the damaged layer alone was dropped")
			}
		})
	}
}

// TestRottenBits flips a bit behind the back of the file's times, as a disk
// does, and finds it by Verify.
func TestRottenBits(t *testing.T) {
	s, _ := open(t, t.TempDir())
	e := put(t, s, "a", "", map[string]string{"f": "content"})
	path := filepath.Join(e.Dir, "f")
	if err := flip(path); err != nil {
		t.Fatal(err)
	}
	// The facts of the changed file stand for times that rot did not touch.
	_, facts, err := scan(context.Background(), e.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.writeFile(filepath.Join(filepath.Dir(e.Dir), factsName), encodeFacts(s.ids, facts)); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(context.Background(), false, nil); err != nil || !s.Has(key("a")) {
		t.Fatalf("the quick check hashes what seems unchanged: %v", err)
	}
	var found error
	if err := s.Verify(context.Background(), true, func(_ Entry, err error) { found = err }); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(found, ErrDamaged) || !strings.Contains(found.Error(), "content") || s.Has(key("a")) {
		t.Errorf("verify reports %v", found)
	}
}

// TestFactsAreRenewed has files that look changed and are not.
func TestFactsAreRenewed(t *testing.T) {
	changes := map[string]func(s *Store, dir string) error{
		"hard link beside": func(s *Store, dir string) error {
			return os.Link(filepath.Join(dir, "data/etc/conf"), filepath.Join(s.dir, cacheName, "link"))
		},
		"facts missing": func(s *Store, dir string) error { return os.Remove(filepath.Join(dir, factsName)) },
		"facts damaged": func(s *Store, dir string) error { return os.Truncate(filepath.Join(dir, factsName), 30) },
		"facts rotten":  func(s *Store, dir string) error { return flip(filepath.Join(dir, factsName)) },
		"mode and back": func(s *Store, dir string) error {
			path := filepath.Join(dir, "data/etc/conf")
			return errors.Join(os.Chmod(path, 0o600), os.Chmod(path, 0o644))
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first, _ := open(t, dir)
			if _, _, err := first.Put(context.Background(), Meta{Key: key("a")}, nil, sound); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
			if err := change(first, first.layerDir(key("a"))); err != nil {
				t.Fatal(err)
			}
			s, warned := open(t, dir)
			e, err := s.Get(context.Background(), key("a"))
			if err != nil {
				t.Fatalf("%v: %s", err, warned())
			}
			_, want, err := scan(context.Background(), e.Dir)
			if err != nil {
				t.Fatal(err)
			}
			got, ids := s.readFacts(filepath.Dir(e.Dir), e.Files)
			if fmt.Sprint(got) != fmt.Sprint(want) || ids != s.ids {
				t.Errorf("facts are %v %v, want %v", got, ids, want)
			}
		})
	}
}

// TestLossOfPower has a layer whose content did not reach the disk though its
// files have the right size and times.
func TestLossOfPower(t *testing.T) {
	tests := map[string]struct {
		durable, rebooted bool
		damage            func(path string) error
		lost              bool
	}{
		"zeros after reboot":           {rebooted: true, damage: zero, lost: true},
		"truncated after reboot":       {rebooted: true, damage: func(p string) error { return os.Truncate(p, 0) }, lost: true},
		"whole after reboot":           {rebooted: true, damage: func(string) error { return nil }},
		"durable is not read again":    {durable: true, rebooted: true, damage: zero},
		"same boot is not read again":  {damage: zero},
		"truncated though the records": {durable: true, rebooted: true, damage: func(p string) error { return os.Truncate(p, 0) }, lost: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first, _ := open(t, dir)
			first.boot = "one"
			e := put(t, first, "a", "", map[string]string{"f": "content"})
			if test.durable {
				if err := first.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			if err := test.damage(filepath.Join(e.Dir, "f")); err != nil {
				t.Fatal(err)
			}
			// What was lost is what the facts do not tell.
			_, facts, err := scan(context.Background(), e.Dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := first.writeFile(filepath.Join(filepath.Dir(e.Dir), factsName), encodeFacts(first.ids, facts)); err != nil {
				t.Fatal(err)
			}
			s, _ := open(t, dir)
			s.boot = "one"
			if test.rebooted {
				s.boot = "two"
			}
			_, err = s.Get(context.Background(), key("a"))
			if lost := errors.Is(err, ErrMissing); lost != test.lost || err != nil && !lost {
				t.Errorf("get: %v, want lost %v", err, test.lost)
			}
			_, err = os.Stat(filepath.Join(filepath.Dir(e.Dir), durableName))
			if test.rebooted && !test.lost && err != nil || !test.rebooted && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("mark of durability: %v", err)
			}
		})
	}
}

// zero makes the content zeros and leaves the times.
func zero(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, make([]byte, info.Size()), 0o644); err != nil {
		return err
	}
	return os.Chtimes(path, info.ModTime(), info.ModTime())
}

func TestRebuiltParent(t *testing.T) {
	s, warned := open(t, t.TempDir())
	put(t, s, "base", "", map[string]string{"f": "1"})
	put(t, s, "child", "base", map[string]string{"g": "1"})
	if chain, err := s.Chain(context.Background(), key("child")); err != nil || len(chain) != 2 || chain[0].Name != "base" || chain[1].Name != "child" {
		t.Fatalf("chain %v, %v", chain, err)
	}
	if err := s.Drop(key("base")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(context.Background(), key("child")); err != nil {
		t.Errorf("get without the parent: %v", err)
	}
	if _, err := s.Chain(context.Background(), key("child")); !errors.Is(err, ErrMissing) {
		t.Errorf("chain without the parent: %v", err)
	}
	put(t, s, "base", "", map[string]string{"f": "2"})
	if s.Has(key("child")) {
		t.Error("a layer on another parent counts as there")
	}
	if _, err := s.Get(context.Background(), key("child")); !errors.Is(err, ErrMissing) {
		t.Errorf("get on another parent: %v", err)
	}
	if w := warned(); !strings.Contains(w, "parent") {
		t.Errorf("warned: %q", w)
	}
}
