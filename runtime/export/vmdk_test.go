package export

import (
	"bytes"
	"strings"
	"testing"

	"bake.build/bake/internal/vmdk"
)

func TestSetIdentity(t *testing.T) {
	id := vmdk.Identity{CID: "0123abcd", Long: "long", UUID: "own"}
	want := "# Disk\nversion=1\nCID=0123abcd\nparentCID=ffffffff\nend\n" + id.Database()
	for _, cid := range []string{"4fca8045", "fca8045", "1", ""} {
		b := make([]byte, 512)
		n := copy(b, "# Disk\nversion=1\nCID="+cid+"\nparentCID=ffffffff\nend\n")
		copy(b[n+1:], "d\n") // of an earlier identifier that was longer
		if err := setIdentity(b, id); err != nil {
			t.Fatal(err)
		}
		if got := string(bytes.TrimRight(b, "\x00")); got != want {
			t.Errorf("CID %q: %q, want %q", cid, got, want)
		}
	}
	full := []byte("\nCID=1\n" + strings.Repeat("x", 100))
	for _, b := range [][]byte{full, []byte("parentCID=1\n"), []byte("\nCID=1"), nil} {
		if err := setIdentity(b, id); err == nil {
			t.Errorf("%q: no error", b)
		}
	}
}
