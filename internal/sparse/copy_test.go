package sparse

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// holey makes a file of size bytes with data at the offsets.
func holey(t *testing.T, size int64, at ...int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	for _, off := range at {
		if _, err := f.WriteAt([]byte("data"), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCopy(t *testing.T) {
	for name, at := range map[string][]int64{
		"all holes": nil, "at the beginning": {0}, "at the end": {5<<20 - 1}, "between": {1 << 20, 3<<20 + 17}, "across pieces": {1<<20 - 2},
	} {
		t.Run(name, func(t *testing.T) {
			const size = 5<<20 + 3
			f := holey(t, size, at...)
			want, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			var told []int64
			var b bytes.Buffer
			if err := Copy(context.Background(), &b, f, size, func(done int64) { told = append(told, done) }); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), want) {
				t.Error("the content differs")
			}
			if !slices.IsSorted(told) || told[len(told)-1] != size {
				t.Errorf("told %v", told)
			}
			b.Reset()
			if err := CopyAll(context.Background(), &b, f); err != nil || !bytes.Equal(b.Bytes(), want) {
				t.Errorf("CopyAll: %v", err)
			}
			out := holey(t, 0)
			if err := Clone(context.Background(), out, f); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(out.Name()); err != nil || !bytes.Equal(got, want) {
				t.Errorf("Clone: the content differs (%v)", err)
			}
			ranges := func(f *os.File) (list []int64) {
				if err := Each(f, size, func(start, end int64) error { list = append(list, start, end); return nil }); err != nil {
					t.Fatal(err)
				}
				return list
			}
			if a, b := ranges(f), ranges(out); !slices.Equal(a, b) {
				t.Errorf("data at %d, in the clone at %d", a, b)
			}
		})
	}
}

func TestCopyOfLess(t *testing.T) {
	f := holey(t, 1000, 10)
	if err := Copy(context.Background(), io.Discard, f, 2000, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Copy(ctx, io.Discard, f, 1000, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	boom := errors.New("boom")
	if err := Each(f, 1000, func(int64, int64) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
}
