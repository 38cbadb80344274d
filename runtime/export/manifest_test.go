package export

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"bake.build/bake/platforms"
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

// FuzzReadManifest has manifests name no file but those of their artifact, also in
// the list of checksums.
func FuzzReadManifest(f *testing.F) {
	f.Add([]byte(`{"schema":"` + Schema + `","files":[{"format":"tar","path":"a/b.tar","size":1,"sha256":"sha256:00"}],"params":{"a":"b"}}`))
	f.Add([]byte(`{"schema":"` + Schema + `","files":[{"path":"../x"},{"path":"a\nb"}],"image_config":{"Env":null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ManifestName), text, 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := ReadManifest(dir)
		if err != nil {
			return
		}
		for _, file := range m.Files {
			if p := filepath.Join(dir, filepath.FromSlash(file.Path)); filepath.Dir(p) == filepath.Dir(dir) || p == dir {
				t.Errorf("the file %q is not in the artifact", file.Path)
			}
		}
		m.Sums()
		if _, err := m.encode(); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

// FuzzImageConfig has the configurations of imported images keep what the definition
// changes.
func FuzzImageConfig(f *testing.F) {
	f.Add([]byte(`{"Env":["A=1","PATH"],"ExposedPorts":null,"Volumes":{"/x":{}},"Labels":null,"Healthcheck":{}}`))
	f.Add([]byte(`{"Env":[null,"=",""],"Cmd":null}`))
	f.Fuzz(func(t *testing.T, imported []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, platforms.ImageConfigName), imported, 0o644); err != nil {
			t.Fatal(err)
		}
		j := &Job{req: &Request{Layers: []platforms.Layer{{Dir: dir}}}, op: &Op{Config: []byte(`{"env":{"A":"2"},"ports":["80"],"labels":{"l":"1"},"volumes":["/v"]}`)}}
		config, tag, err := j.imageConfig()
		if err != nil {
			return
		}
		if tag != "latest" || !slices.Contains(config.Env, "A=2") || config.Labels["l"] != "1" {
			t.Errorf("%+v, %q", config, tag)
		}
	})
}
