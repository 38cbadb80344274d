package ebs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// someMap is a map of three blocks, and its file.
func someMap(t testing.TB) (Map, []byte) {
	t.Helper()
	m := Map{sha256.Sum256([]byte("a")), zeroSum, sha256.Sum256([]byte("c"))}
	path := filepath.Join(t.TempDir(), "map")
	if err := m.Save(path, "snap-1"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return m, b
}

// TestDamagedMap cuts the file of a map at each place and changes each of its bits: it
// is never taken for another map, whose missing blocks would count as zeros.
func TestDamagedMap(t *testing.T) {
	m, b := someMap(t)
	if of, got, why := parseMap(b); why != "" || of != "snap-1" || fmt.Sprint(got) != fmt.Sprint(m) {
		t.Fatalf("read %q %v: %s", of, got, why)
	}
	path := filepath.Join(t.TempDir(), "damaged")
	for n := range b {
		for _, damaged := range [][]byte{b[:n], flip(b, n*8+n%8), append(bytes.Clone(b), b[:n]...)} {
			if bytes.Equal(damaged, b) {
				continue
			}
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			wrong := (*DamagedError)(nil)
			if of, got, err := LoadMap(path); !errors.As(err, &wrong) {
				t.Fatalf("damaged at byte %d: read %d blocks of %q, %v", n, len(got), of, err)
			}
		}
	}
	// The format before this one had no length, no checksum and no snapshot.
	if _, _, why := parseMap([]byte("bake block map 1\n" + string(zeroSum[:]))); why == "" {
		t.Error("a map of the version before is read")
	}
}

func flip(b []byte, bit int) []byte {
	c := bytes.Clone(b)
	c[bit/8] ^= 1 << (bit % 8)
	return c
}

// FuzzMap reads any bytes as a map: what is read is written as the same bytes.
func FuzzMap(f *testing.F) {
	_, b := someMap(f)
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte(mapMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		of, m, why := parseMap(b)
		if why != "" {
			return
		}
		path := filepath.Join(t.TempDir(), "map")
		if err := m.Save(path, of); err != nil {
			t.Fatal(err)
		}
		again, same, err := LoadMap(path)
		if err != nil || again != of || len(same) != len(m) {
			t.Errorf("%d blocks of %q came back as %d of %q: %v", len(m), of, len(same), again, err)
		}
	})
}

// someJournal is the file of a journal with two blocks.
func someJournal(t testing.TB, path string) []byte {
	t.Helper()
	j, err := OpenJournal(path, "a disk")
	if err != nil {
		t.Fatal(err)
	}
	err = j.begin("snap-1")
	for i, text := range []string{"a", "b"} {
		err = errors.Join(err, j.sent(i, sha256.Sum256([]byte(text))))
	}
	if err := errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDamagedJournal cuts the file of a journal at each place and changes bits of all of
// its bytes: a block never counts as sent that was not, and a damaged head is another
// upload's.
func TestDamagedJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	b := someJournal(t, path)
	want := map[int]Sum{0: sha256.Sum256([]byte("a")), 1: sha256.Sum256([]byte("b"))}
	for n := range b {
		for _, damaged := range [][]byte{b[:n], flip(b, n*8+n%8), append(bytes.Clone(b[:n]), make([]byte, len(b)-n)...)} {
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := OpenJournal(path, "a disk")
			if err != nil {
				t.Fatal(err)
			}
			for i, sum := range j.done {
				if want[i] != sum {
					t.Errorf("damaged at byte %d: block %d was sent with %x", n, i, sum)
				}
			}
			if s := j.Snapshot(); s != "snap-1" && (s != "" || len(j.done) > 0) {
				t.Errorf("damaged at byte %d: it is of %q, with %d blocks", n, s, len(j.done))
			}
			if err := errors.Join(j.sent(7, zeroSum), j.Close()); err != nil {
				t.Fatal(err)
			}
			if j.Snapshot() == "" {
				continue
			}
			again, err := OpenJournal(path, "a disk")
			if err != nil || again.done[7] != zeroSum || len(again.done) != len(j.done) {
				t.Errorf("damaged at byte %d, and gone on with: %v, %v", n, again.done, err)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// FuzzJournal opens any bytes as a journal, which can be gone on with.
func FuzzJournal(f *testing.F) {
	b := someJournal(f, filepath.Join(f.TempDir(), "journal"))
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add([]byte(journalMagic + "{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := OpenJournal(path, "a disk")
		if err != nil {
			t.Fatal(err)
		}
		if j.Token() == "" {
			t.Error("it has no token")
		}
		if err := errors.Join(j.begin("snap-2"), j.sent(3, zeroSum), j.Close()); err != nil {
			t.Fatal(err)
		}
		if j, err = OpenJournal(path, "a disk"); err != nil || !j.has(3, zeroSum) || j.Snapshot() != "snap-2" {
			t.Errorf("gone on with: %v", err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestZeroSum(t *testing.T) {
	if want := Sum(sha256.Sum256(zeros[:])); zeroSum != want {
		t.Errorf("zeroSum is %x, want %x", zeroSum, want)
	}
}
