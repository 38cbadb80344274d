package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"bake.build/bake/runtime/plan"
)

// later is a clock by which the files of a test are old.
func later() time.Time { return time.Now().Add(time.Hour) }

func sum(content string) plan.Digest {
	d := sha256.Sum256([]byte(content))
	return plan.Digest(hex.EncodeToString(d[:]))
}

func hashFile(t *testing.T, c *StatCache, path string) plan.Digest {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.HashFile(path, info)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func needChangeTimes(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: file times are not trusted elsewhere")
	}
}

func TestStatCacheRemembers(t *testing.T) {
	needChangeTimes(t)
	dir := t.TempDir()
	s, _ := open(t, dir)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := s.StatCache()
	if hashFile(t, c, path); len(c.m) != 0 {
		t.Error("a file that was written just now is remembered")
	}
	c.now = later
	if d := hashFile(t, c, path); d != sum("one") || len(c.m) != 1 {
		t.Fatalf("digest %s, %d entries", d, len(c.m))
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}

	// A wrong digest in the file shows that it is read and not hashed.
	s2, _ := open(t, dir)
	c2 := s2.StatCache()
	c2.now = later
	c2.load.Do(c2.read)
	e := c2.m[path]
	e.digest[0]++
	c2.m[path] = e
	if hashFile(t, c2, path) == sum("one") {
		t.Error("a remembered file was hashed again")
	}

	changes := map[string]func() error{
		"content of the same size and time": func() error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte("two"), 0o644); err != nil {
				return err
			}
			return os.Chtimes(path, info.ModTime(), info.ModTime())
		},
		"another file moved there": func() error {
			if err := os.WriteFile(path+".new", []byte("two"), 0o644); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte("one"), 0o644); err != nil {
				t.Fatal(err)
			}
			if d := hashFile(t, c, path); d != sum("one") {
				t.Fatalf("digest before is %s", d)
			}
			time.Sleep(20 * time.Millisecond) // file times have the resolution of a tick
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if d := hashFile(t, c, path); d != sum("two") {
				t.Errorf("digest is of the old content")
			}
		})
	}
}

func TestStatCacheMergesWriters(t *testing.T) {
	needChangeTimes(t)
	dir, files := t.TempDir(), t.TempDir()
	var wg sync.WaitGroup
	for i := range 8 {
		s, _ := open(t, dir)
		path := filepath.Join(files, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte{byte(i)}, 0o644); err != nil {
			t.Fatal(err)
		}
		s.stats.now = later
		hashFile(t, s.stats, path)
		wg.Go(func() {
			if err := s.stats.Save(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	m, err := readStats(filepath.Join(dir, statName))
	if err != nil {
		t.Fatal(err)
	}
	if len(m) != 8 {
		t.Errorf("%d of 8 entries were kept", len(m))
	}
}

func TestStatCacheSurvivesDamage(t *testing.T) {
	dir := t.TempDir()
	s, warned := open(t, dir)
	if err := os.WriteFile(filepath.Join(dir, statName), []byte(statMagic+"rubbish"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	if d := hashFile(t, s.StatCache(), path); d != sum("one") {
		t.Errorf("digest is %s", d)
	}
	if runtime.GOOS == "linux" && warned() == "" {
		t.Error("nothing was said of the damaged file")
	}
}

func TestStatCacheIsBounded(t *testing.T) {
	s, _ := open(t, t.TempDir())
	c := s.StatCache()
	c.m, c.changed = map[string]statEntry{}, true
	for i := range maxStats + 1 {
		c.m[fmt.Sprint(i)] = statEntry{used: int64(i)}
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.m[fmt.Sprint(maxStats)]; !ok || len(c.m) > maxStats {
		t.Errorf("%d entries; the last used one stays: %v", len(c.m), ok)
	}
	if _, ok := c.m["0"]; ok {
		t.Error("the one that was not used for longest stays")
	}
}

func FuzzDecodeStats(f *testing.F) {
	f.Add(encodeStats(map[string]statEntry{"/a": {dev: 1, ino: 2, size: 3, mtime: Stamp{4, 5}, ctime: Stamp{-6, 7}, used: 8}}))
	f.Add([]byte(statMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeStats(b)
		if err != nil {
			return
		}
		if again, err := decodeStats(encodeStats(m)); err != nil || !maps.Equal(m, again) {
			t.Fatalf("%v decodes to %v, %v", m, again, err)
		}
	})
}
