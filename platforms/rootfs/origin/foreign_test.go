package origin

import (
	"archive/tar"
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckTar(t *testing.T) {
	var named bytes.Buffer // a tar archive whose first name is a magic of another format
	w := tar.NewWriter(&named)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "070701-x", Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// Archives that begin with a member about the next one, or about all, as those of
	// git archive and of files with attributes do.
	begin := func(h tar.Header) string {
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if b.Len() < 512 {
			t.Fatalf("%+v has no header", h)
		}
		return b.String()
	}
	for name, test := range map[string]struct{ head, want string }{
		"tar":       {named.String(), ""},
		"git":       {begin(tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": strings.Repeat("0", 40)}}), ""},
		"attribute": {begin(tar.Header{Typeflag: tar.TypeReg, Name: "a", PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}}), ""},
		"GNU name":  {begin(tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("a", 200), Format: tar.FormatGNU}), ""},
		"end mark":  {strings.Repeat("\x00", 1024), ""},
		"nothing":   {"", "it is empty"},
		"zip":       {"PK\x03\x04\x14" + strings.Repeat("z", 600), "it is no tar archive, but a ZIP archive"},
		"7z":        {"7z\xbc\xaf\x27\x1c" + strings.Repeat("z", 600), "it is no tar archive, but a 7z archive"},
		"cpio":      {"070701" + strings.Repeat("0", 600), "it is no tar archive, but a cpio archive"},
		"short zip": {"PK\x05\x06" + strings.Repeat("\x00", 18), "it is no tar archive, but an empty ZIP archive"},
		"disk":      {strings.Repeat("\x90", 510) + "\x55\xaa" + strings.Repeat("z", 600), "it is no tar archive, but a disk with a partition table"},
		"text":      {strings.Repeat("hello ", 100), "it is no tar archive: its first 512 bytes are no header of one"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkTar(bufio.NewReader(strings.NewReader(test.head)))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestEmptyArchive holds that an origin without files is an error, and not an image
// without files.
func TestEmptyArchive(t *testing.T) {
	dir := t.TempDir()
	if err := checkFilled(dir); err == nil || err.Error() != "the archive has no files" {
		t.Errorf("error %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := checkFilled(dir); err != nil {
		t.Error(err)
	}
}
