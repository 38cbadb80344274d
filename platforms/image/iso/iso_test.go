package iso

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// sample has enough names for more than one sector of directory.
func sample() map[string]string {
	files := map[string]string{
		"user-data": "#cloud-config\n", "meta-data": "instance-id: x\n", "empty": "",
		"sub/deep/er/Long name, with spaces.txt": strings.Repeat("text\n", 1000),
		"sub/a.tar.gz":                           "a",
	}
	for i := range 120 {
		files[fmt.Sprintf("many/file-with-a-long-name-%03d.txt", i)] = fmt.Sprint(i)
	}
	return files
}

func list(files map[string]string) []File {
	var l []File
	for name, text := range files {
		l = append(l, Text(name, text))
	}
	return l
}

// TestReadBack reads both trees of an image with isoinfo.
func TestReadBack(t *testing.T) {
	need.Tool(t, "isoinfo")
	path := filepath.Join(t.TempDir(), "x.iso")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(f, "cidata", list(sample())); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	isoinfo := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("isoinfo", append([]string{"-i", path}, args...)...).Output()
		if err != nil {
			t.Fatalf("isoinfo %v: %v", args, err)
		}
		return string(out)
	}
	if d := isoinfo("-d"); !strings.Contains(d, "Volume id: cidata\n") || !strings.Contains(d, "Joliet with UCS level 3") {
		t.Errorf("the descriptor is\n%s", d)
	}
	names := strings.Split(isoinfo("-f", "-J"), "\n")
	for name, text := range sample() {
		if !slices.Contains(names, "/"+name) {
			t.Errorf("%s is missing", name)
		}
		if got := isoinfo("-J", "-x", "/"+name); got != text {
			t.Errorf("%s: %d bytes, want %d", name, len(got), len(text))
		}
	}
	plain := isoinfo("-f")
	for _, name := range []string{"/USER_DAT.;1", "/META_DAT.;1", "/SUB/DEEP/ER/LONG_NAM.TXT;1", "/MANY/FILE_119.TXT;1", "/SUB/A_TAR.GZ;1"} {
		if !strings.Contains(plain, name+"\n") {
			t.Errorf("%s is missing in\n%s", name, plain)
		}
	}
	if got := isoinfo("-x", "/META_DAT.;1"); got != "instance-id: x\n" {
		t.Errorf("by its short name: %q", got)
	}
}

func TestSameImage(t *testing.T) {
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		if err := Write(w, "x", list(sample())); err != nil { // in another order each time
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) || a.Len()%sector != 0 {
		t.Errorf("images of %d and %d bytes differ", a.Len(), b.Len())
	}
}

func TestRefused(t *testing.T) {
	for name, files := range map[string][]File{
		"leaves":            {Text("../x", "")},
		"absolute":          {Text("/x", "")},
		"empty name":        {Text("", "")},
		"twice":             {Text("x", ""), Text("x", "")},
		"file as directory": {Text("x", ""), Text("x/y", "")},
		"long name":         {Text(strings.Repeat("x", 65), "")},
		"large":             {{Name: "x", Size: 1 << 32}},
	} {
		if err := Write(&bytes.Buffer{}, "x", files); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	short := Text("x", "1234")
	short.Size = 5
	if err := Write(&bytes.Buffer{}, "x", []File{short}); err == nil {
		t.Error("a file that shrinks: no error")
	}
}
