package store

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"bake.build/bake/runtime/plan"
)

const (
	statMagic = "bake statcache 1\n"

	// maxStats bounds the number of files remembered; the last used ones stay.
	maxStats = 200_000

	// A file is not remembered for some time after its last change: within the
	// resolution of file times, a second change might leave them the same. File
	// systems with times of whole seconds need racyCoarse; the others count at
	// least the ticks of the kernel's clock, of 10 ms.
	racyCoarse = 2 * time.Second
	racyFine   = 100 * time.Millisecond
)

// A StatCache is a plan.FileHasher that remembers digests in the store. It
// trusts one for as long as the file at the path has the same device, inode,
// size, modification time and change time. It is safe for concurrent use.
type StatCache struct {
	store *Store
	now   func() time.Time

	load sync.Once
	mu   sync.Mutex
	m    map[string]statEntry
	// changed says that Save has something to write.
	changed bool
}

var _ plan.FileHasher = (*StatCache)(nil)

type statEntry struct {
	dev, ino     uint64
	size         int64
	mtime, ctime Stamp
	used         int64 // day of the last use, since 1970
	digest       [32]byte
}

func (a statEntry) same(b statEntry) bool {
	return a.dev == b.dev && a.ino == b.ino && a.size == b.size && a.mtime == b.mtime && a.ctime == b.ctime
}

func newStatCache(s *Store) *StatCache { return &StatCache{store: s, now: time.Now} }

// StatCache returns the store's memory of the digests of input files.
func (s *Store) StatCache() *StatCache { return s.stats }

// HashFile implements plan.FileHasher.
func (c *StatCache) HashFile(path string, info fs.FileInfo) (plan.Digest, error) {
	want, known := statOf(info)
	if !known {
		return plan.HashFile{}.HashFile(path, info)
	}
	// The same file under two spellings of its path does no harm, so that those
	// that are absolute need no cleaning.
	abs := path
	if !filepath.IsAbs(path) {
		var err error
		if abs, err = filepath.Abs(path); err != nil {
			return plan.HashFile{}.HashFile(path, info)
		}
	}
	c.load.Do(c.read)
	today := c.now().Unix() / 86400
	c.mu.Lock()
	e, ok := c.m[abs]
	if ok && e.same(want) && e.used != today {
		e.used = today
		c.m[abs], c.changed = e, true
	}
	c.mu.Unlock()
	if ok && e.same(want) {
		return plan.Digest(hex.EncodeToString(e.digest[:])), nil
	}
	return c.hash(abs, path, today)
}

// hash hashes the file and remembers the digest if the file was surely the
// same all the time.
func (c *StatCache) hash(abs, path string, today int64) (plan.Digest, error) {
	start := c.now()
	before, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	d, err := plan.HashFile{}.HashFile(path, before)
	if err != nil {
		return "", err
	}
	after, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	a, ok := statOf(before)
	b, _ := statOf(after)
	young := func(s Stamp) bool {
		racy := racyFine
		if s.Nsec == 0 {
			racy = racyCoarse
		}
		return !time.Unix(s.Sec, int64(s.Nsec)).Before(start.Add(-racy))
	}
	if !ok || !a.same(b) || young(a.mtime) || young(a.ctime) {
		return d, nil
	}
	if _, err := hex.Decode(a.digest[:], []byte(d)); err != nil {
		return "", fmt.Errorf("hash %s: %w", path, err)
	}
	a.used = today
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m[abs], c.changed = a, true
	return d, nil
}

func (c *StatCache) file() string { return filepath.Join(c.store.dir, statName) }

// read loads what was saved. A cache that cannot be read is an empty one.
func (c *StatCache) read() {
	m, err := readStats(c.file())
	if err != nil {
		c.store.warn(fmt.Sprintf("the cache of input digests is ignored: %v", err))
		m = map[string]statEntry{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m = m
}

func readStats(path string) (map[string]statEntry, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]statEntry{}, nil
	} else if err != nil {
		return nil, err
	}
	return decodeStats(b)
}

// Save writes what was learnt, together with what other processes saved
// meanwhile. Close calls it.
func (c *StatCache) Save() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.changed {
		return nil
	}
	// For writeFile, which is called under the global lock.
	if _, err := c.store.staging(); isReadOnly(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("save the cache of input digests: %w", err)
	}
	l, err := c.store.global()
	if err != nil {
		return fmt.Errorf("save the cache of input digests: %w", err)
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	// Entries are checked against the file whenever they are used, so that it
	// does no harm whichever of two wins.
	if others, err := readStats(c.file()); err == nil {
		for path, e := range others {
			if _, ok := c.m[path]; !ok {
				c.m[path] = e
			}
		}
	}
	c.trim()
	if err := c.store.writeFile(c.file(), encodeStats(c.m)); isReadOnly(err) {
		return nil // it only saves time
	} else if err != nil {
		return fmt.Errorf("save the cache of input digests: %w", err)
	}
	c.changed = false
	return nil
}

// trim drops the entries that were not used for longest.
func (c *StatCache) trim() {
	if len(c.m) <= maxStats {
		return
	}
	paths := make([]string, 0, len(c.m))
	for p := range c.m {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(cmp.Compare(c.m[a].used, c.m[b].used), cmp.Compare(a, b))
	})
	// Some room keeps the next saves from trimming again.
	for _, p := range paths[:len(paths)-maxStats*9/10] {
		delete(c.m, p)
	}
}

func encodeStats(m map[string]statEntry) []byte {
	e := encoder{b: make([]byte, 0, 64+128*len(m))}
	e.b = append(e.b, statMagic...)
	e.uint(uint64(len(m)))
	for path, s := range m {
		e.str(path)
		e.uint(s.dev)
		e.uint(s.ino)
		e.int(s.size)
		for _, t := range []Stamp{s.mtime, s.ctime} {
			e.int(t.Sec)
			e.uint(uint64(t.Nsec))
		}
		e.int(s.used)
		e.b = append(e.b, s.digest[:]...)
	}
	sum := crc32.ChecksumIEEE(e.b)
	return append(e.b, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
}

func decodeStats(b []byte) (map[string]statEntry, error) {
	n := len(b) - 4
	if n < len(statMagic) || string(b[:len(statMagic)]) != statMagic {
		return nil, errors.New("decode statcache: not of version 1")
	}
	sum := uint32(b[n])<<24 | uint32(b[n+1])<<16 | uint32(b[n+2])<<8 | uint32(b[n+3])
	if crc32.ChecksumIEEE(b[:n]) != sum {
		return nil, errors.New("decode statcache: checksum differs")
	}
	d := newDecoder(b[len(statMagic):n])
	count := d.count(41)
	m := make(map[string]statEntry, count)
	for range count {
		path := d.str()
		s := statEntry{dev: d.uint(), ino: d.uint(), size: d.int()}
		s.mtime = Stamp{d.int(), d.uint32()}
		s.ctime = Stamp{d.int(), d.uint32()}
		s.used = d.int()
		copy(s.digest[:], d.take(len(s.digest)))
		m[path] = s
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail("bytes follow the last entry")
	}
	if d.err != nil {
		return nil, fmt.Errorf("decode statcache: %w", d.err)
	}
	return m, nil
}
