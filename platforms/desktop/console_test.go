package desktop

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestFollowConsole reads a file that grows, is written anew and is replaced, as
// hypervisors do when a machine starts again.
func TestFollowConsole(t *testing.T) {
	dir := t.TempDir()
	path, log := filepath.Join(dir, "console"), filepath.Join(dir, "log")
	c, err := followConsole(path, log, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	said := func(text string, flags int) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(text)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := c.Wait(ctx, regexp.MustCompile(regexp.QuoteMeta(strings.TrimSpace(text)))); err != nil {
			t.Fatalf("%q is not read: %v", text, err)
		}
	}
	said("first line\n", os.O_APPEND)
	said("second line\n", os.O_APPEND)
	said("anew\n", os.O_TRUNC)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	said("another file, which is longer than the first one was\n", os.O_EXCL)
	if err := c.Attach(t.Context(), strings.NewReader("typed"), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), "takes no input") {
		t.Errorf("what is typed: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	want := "first line\nsecond line\nanew\nanother file, which is longer than the first one was\n"
	if text, err := os.ReadFile(log); err != nil || string(text) != want {
		t.Errorf("the log has %q, %v", text, err)
	}
	if _, err := followConsole(path, log, nil); err == nil {
		t.Error("a log that exists was written")
	}
}
