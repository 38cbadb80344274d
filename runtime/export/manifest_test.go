package export

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestManifestNamesItsOwnFiles reads manifests whose files are not below the
// artifact's directory: what publish removes must be.
func TestManifestNamesItsOwnFiles(t *testing.T) {
	dir := t.TempDir()
	for path, ok := range map[string]bool{
		"a.tar": true, "a.oci/index.json": true,
		"": false, ".": false, "./": false, "a/..": false, "../a": false, "a/../../b": false, "/etc/passwd": false,
	} {
		text := fmt.Sprintf(`{"schema": %q, "files": [{"path": %q}]}`, Schema, path)
		if err := os.WriteFile(filepath.Join(dir, ManifestName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadManifest(dir); (err == nil) != ok {
			t.Errorf("%q: %v", path, err)
		}
	}
}
