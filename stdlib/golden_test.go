package stdlib_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"bake.build/bake/internal/need"
)

// testGolden has the real programs of a Debian judge what the library writes for a
// golden base. Its archive of packages and its files come from this process.
func testGolden(t *testing.T, bin, dir string) {
	need.Tool(t, "gpg", "dpkg-deb", "zstd", "bsdtar", "ansible-playbook", "ssh")
	files := filepath.Join(dir, "files")
	project := filepath.Join(dir, "project")
	cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(project, "files.sh"), files)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make the files: %v\n%s", err, out)
	}
	handler := http.FileServer(http.Dir(files))
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()

	key, err := os.ReadFile(filepath.Join(files, "repo.asc"))
	if err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	for name, text := range map[string][]byte{"repo.asc": key, "ca.pem": ca} {
		if err := os.WriteFile(filepath.Join(project, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	params := []string{"http=" + plain.URL, "https=" + secure.URL}
	for param, name := range map[string]string{"tar": "files.tar.zst", "zip": "files.zip"} {
		text, err := os.ReadFile(filepath.Join(files, name))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(text)
		params = append(params, param+"="+hex.EncodeToString(sum[:]))
	}
	var args []string
	for _, p := range params {
		args = append(args, "-p", p)
	}
	t.Run("golden", func(t *testing.T) { bakeTest(t, bin, dir, append(args, "golden.star")...) })
	t.Run("outside", func(t *testing.T) { testOutside(t, project, filepath.Join(dir, "cache"), params) })
	t.Run("twice", func(t *testing.T) {
		bakeTest(t, bin, dir, append(args, "twice.star", "all *")...)
		testTwice(t, project, filepath.Join(dir, "cache"), params)
	})
}
