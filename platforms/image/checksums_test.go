package image

import (
	"crypto/sha512"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/platforms"
)

func sum512(s string) string {
	h := sha512.Sum512([]byte(s))
	return hex.EncodeToString(h[:])
}

func TestFindChecksum(t *testing.T) {
	a, b, long := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 128)
	for name, c := range map[string]struct{ list, want, err string }{
		"sha256sum":        {b + "  other.img\n" + a + "  web.img\n", a, ""},
		"binary":           {a + " *web.img\n", a, ""},
		"in a folder":      {a + "  ./images/web.img\n", a, ""},
		"tagged":           {"SHA256 (web.img) = " + a + "\n", a, ""},
		"capitals":         {strings.ToUpper(a) + "  web.img\r\n", a, ""},
		"signed":           {"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# web.img: 12 bytes\nSHA256 (web.img) = " + a + "\n-----BEGIN PGP SIGNATURE-----\niQIz\n", a, ""},
		"the longest":      {a + "  web.img\n" + long + "  web.img\n", long, ""},
		"nothing but it":   {a + "\n", a, ""},
		"name with spaces": {a + "  web.img of today\n", "", "no SHA-256 or SHA-512 of web.img"},
		"another's":        {a + "  web.img.asc\n", "", "no SHA-256 or SHA-512 of web.img"},
		"two":              {a + "  1/web.img\n" + b + "  2/web.img\n", "", "two digests"},
		"md5":              {strings.Repeat("a", 32) + "  web.img\n", "", "no SHA-256"},
		"empty":            {"", "", "no SHA-256"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := findChecksum(strings.NewReader(c.list), "web.img")
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v; want %q, %q", got, err, c.want, c.err)
			}
		})
	}
}

// The lists of the tools themselves.
func TestFindChecksumOfTools(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "web.img"), []byte("the disk"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"sha512sum", "web.img"}, {"sha512sum", "--tag", "web.img"}, {"sha512sum", "--binary", "./web.img"}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		list, err := cmd.Output()
		if err != nil {
			t.Skipf("needs sha512sum: %v", err)
		}
		if got, err := findChecksum(strings.NewReader(string(list)), "web.img"); err != nil || got != sum512("the disk") {
			t.Errorf("%v: %q, %v", args, got, err)
		}
	}
}

// A file at a URL is pinned to what its list says, and has to be that.
func TestChecksumList(t *testing.T) {
	content, list := "the disk", sum512("the disk")+"  web.img\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/web.img":
			w.Write([]byte(content))
		case "/SHA512SUMS":
			w.Write([]byte(list))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	given := Digests{Checksums: server.URL + "/SHA512SUMS"}
	h := dirHost{t.TempDir()}
	pin := func(o platforms.Origin) (*platforms.Pin, error) {
		f, err := FileOf(o, server.URL+"/web.img", given)
		if err != nil {
			t.Fatal(err)
		}
		return f.Pin(t.Context(), o, h)
	}
	o := platforms.Origin{Kind: "disk"}
	var err error
	if o.Pin, err = pin(o); err != nil || o.Pin.ID != "sha512:"+sum512("the disk") {
		t.Fatalf("pin %v, %v", o.Pin, err)
	}
	fetch := func() error {
		f, err := FileOf(o, server.URL+"/web.img", given)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Verified(t.Context(), h, nil)
		return err
	}
	content = "another disk"
	if err := fetch(); err == nil || !strings.Contains(err.Error(), "wanted sha512:"+sum512("the disk")) {
		t.Errorf("another content: %v", err)
	}
	content = "the disk"
	if err := fetch(); err != nil {
		t.Error(err)
	}
	list = sum512("the next disk") + "  web.img\n"
	if now, err := pin(o); err != nil || now != o.Pin {
		t.Errorf("a pin whose file is at hand does not move: %v, %v", now, err)
	}
	h = dirHost{t.TempDir()}
	if now, err := pin(o); err != nil || now.ID != "sha512:"+sum512("the next disk") {
		t.Errorf("a pin that nobody can get any more: %v, %v", now, err)
	}
	list = "nothing\n"
	if _, err := pin(platforms.Origin{Kind: "disk"}); err == nil || !strings.Contains(err.Error(), "no SHA-256 or SHA-512 of web.img") {
		t.Errorf("a list without it: %v", err)
	}
}

// A local list is read where the origin is, and holds for local files as well.
func TestLocalChecksums(t *testing.T) {
	dir := t.TempDir()
	disk, list := filepath.Join(dir, "web.img"), filepath.Join(dir, "SHA512SUMS")
	for path, text := range map[string]string{disk: "the disk", list: sum512("another") + "  web.img\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o := platforms.Origin{Kind: "disk", Paths: map[string]string{"disk": disk, "checksums": list}}
	f, err := FileOf(o, "", Digests{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Verified(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), "has the digest sha512:"+sum512("the disk")) {
		t.Errorf("got %v", err)
	}
	delete(o.Paths, "checksums")
	if _, err := FileOf(o, "", Digests{Checksums: "https://127.0.0.1:1/S"}); err == nil {
		t.Error("a list at a URL was taken for a local file")
	}
}

func FuzzFindChecksum(f *testing.F) {
	f.Add(strings.Repeat("a", 64)+"  web.img\n", "web.img")
	f.Add("SHA512 (a) = "+strings.Repeat("c", 128), "a")
	f.Fuzz(func(t *testing.T, list, base string) {
		if d, err := findChecksum(strings.NewReader(list), base); err == nil && len(d) != 64 && len(d) != 128 {
			t.Errorf("digest %q", d)
		}
	})
}
