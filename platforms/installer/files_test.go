package installer

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
)

// TestFilesOfInstallers asks for what http serves and reads back what cd_files holds:
// a folder, a file, and text of the definition.
func TestFilesOfInstallers(t *testing.T) {
	need.Tool(t, "bsdtar")
	dir := t.TempDir()
	for name, text := range map[string]string{"folder/sub/a.txt": "a", "folder/b.txt": "b", "ks.cfg": "kickstart"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	paths := []string{filepath.Join(dir, "folder"), filepath.Join(dir, "ks.cfg")}
	made := platforms.Files{"user-data": "#cloud-config\n", "meta-data": ""}
	want := map[string]string{"sub/a.txt": "a", "b.txt": "b", "ks.cfg": "kickstart", "user-data": "#cloud-config\n", "meta-data": ""}
	s, err := serve(paths, made, Host{Listen: "127.0.0.1:0", Name: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	base := s.address
	for name, text := range want {
		if got, status := get(t, base+name); status != http.StatusOK || got != text {
			t.Errorf("%s: %d %q", name, status, got)
		}
	}
	for _, name := range []string{"", "sub", "sub/../../ks.cfg", "other"} {
		if got, status := get(t, base+name); status != http.StatusNotFound {
			t.Errorf("%q: %d %q", name, status, got)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	from := platforms.Origin{Paths: map[string]string{platforms.FilesKey("cd_files", 0): paths[0], platforms.FilesKey("cd_files", 1): paths[1]}}
	cd, err := Options{CDFiles: made}.CD(from, dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		if out, err := exec.Command("bsdtar", "-xOf", cd, name).Output(); err != nil || string(out) != text {
			t.Errorf("%s on the CD: %q, %v", name, out, err)
		}
	}
	if _, err := filesOf(paths, platforms.Files{"ks.cfg": ""}); err == nil {
		t.Error("two files of one name are taken")
	}
}

func get(t *testing.T, url string) (text string, status int) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), r.StatusCode
}
