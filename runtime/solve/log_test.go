package solve

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestLogKeepsHeadAndTail(t *testing.T) {
	for _, tc := range []struct {
		writes int
		want   string
	}{
		{4, "0000111122223333"},
		{5, "00001111\n[… 4 bytes left out …]\n33334444"},
		{6, "00001111\n[… 8 bytes left out …]\n44445555"},
	} {
		path := filepath.Join(t.TempDir(), "logs", "x.log")
		l, err := createLog(path)
		if err != nil {
			t.Fatal(err)
		}
		l.head, l.tail = 8, 8
		for i := range tc.writes {
			if _, err := l.Write([]byte(strings.Repeat(fmt.Sprint(i), 4))); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != tc.want {
			t.Errorf("%d writes: %q, %v, want %q", tc.writes, got, err, tc.want)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.log.*")); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

func TestLogOfOneLargeWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l, err := createLog(path)
	if err != nil {
		t.Fatal(err)
	}
	l.head, l.tail = 3, 4
	if _, err := l.Write([]byte("0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "012\n[… 9 bytes left out …]\ncdef" {
		t.Errorf("%q", got)
	}
}

func TestTail(t *testing.T) {
	many := ""
	for i := range 100 {
		many += fmt.Sprintf("line %d\n", i)
	}
	for _, tc := range []struct {
		name   string
		writes []string
		want   string // the lines, joined by "|"
	}{
		{"nothing", nil, ""},
		{"a part of a line", []string{"a", "b"}, "ab"},
		{"lines", []string{"a\nb", "\n"}, "a|b"},
		{"progress", []string{"10%\r", "20%\r30%", "\r\ndone\r\n"}, "30%|done"},
		{"not text", []string{"a\xffb\n"}, "a\uFFFDb"},
	} {
		var tl tail
		for _, s := range tc.writes {
			tl.Write([]byte(s))
		}
		if got := strings.Join(tl.last(), "|"); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	var one, pieces tail
	one.Write([]byte(many))
	for _, s := range strings.SplitAfter(many, "i") {
		pieces.Write([]byte(s))
	}
	for _, tl := range []*tail{&one, &pieces} {
		if l := tl.last(); len(l) != tailLines || l[0] != "line 80" || l[19] != "line 99" {
			t.Errorf("tail %q", l)
		}
	}
	var long tail
	long.Write([]byte(strings.Repeat("x", 1<<20)))
	long.Write([]byte(strings.Repeat("x", 1<<20)))
	if n := len(long.last()[0]); n > 2*tailWidth || cap(long.part) > 4*tailWidth {
		t.Errorf("a long line takes %d bytes, %d held", n, cap(long.part))
	}
}

func TestLogsArePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "x.log")
	l, err := createLog(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, filepath.Dir(path)} {
		if fi, err := os.Stat(p); err != nil || fi.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
			t.Errorf("%s: mode %v, %v", p, fi.Mode(), err)
		}
	}
}

func TestOldLogsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for i, age := range []time.Duration{0, time.Hour, 2 * time.Hour, 2 * logAge} {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, make([]byte, 10), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		most int64
		want string
	}{{1000, "0 1 2"}, {25, "0 1"}, {5, ""}} {
		if err := sweepLogs(dir, now, tc.most); err != nil {
			t.Fatal(err)
		}
		var left []string
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			left = append(left, e.Name())
		}
		if got := strings.Join(left, " "); got != tc.want {
			t.Errorf("at most %d bytes: %q is left, want %q", tc.most, got, tc.want)
		}
	}
	if err := sweepLogs(filepath.Join(dir, "missing"), now, 0); err != nil {
		t.Error(err)
	}
}
