//go:build unix

package regular

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRefuses opens what is no regular file, also through a link. A name that
// is opened as it is would make the test wait for ever.
func TestRefuses(t *testing.T) {
	t.Chdir(t.TempDir()) // names of sockets are short
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Skip("needs named pipes:", err)
	}
	l, err := net.Listen("unix", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, err := range []error{os.Symlink("pipe", "link"), os.Mkdir("dir", 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"pipe": "a named pipe", "link": "a named pipe", "socket": "a socket", "dir": "a directory", "/dev/null": "a device",
	} {
		for what, read := range map[string]func(string, int64) ([]byte, error){"Read": Read, "ReadGiven": ReadGiven} {
			_, err := read(name, 10)
			if !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s(%q): %v, want that it is %s", what, name, err, want)
			}
		}
	}
	if _, err := Read("nothing", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

func TestRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(name, 10); err != nil || string(b) != "0123456789" {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := Read(name, 9); err == nil || b != nil {
		t.Errorf("a file larger than the limit: %q, %v", b, err)
	}
}

// TestGivenStream reads a pipe that the shell hands over.
func TestGivenStream(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		time.Sleep(10 * time.Millisecond)
		w.WriteString("value")
		w.Close()
	}()
	// The number stays valid for as long as r is open.
	name := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if b, err := ReadGiven(name, 10); err != nil || string(b) != "value" {
		t.Errorf("%q, %v", b, err)
	}
}
