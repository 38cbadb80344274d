package origin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// TestTaggedImages: of a layout with two images a tag picks one.
func TestTaggedImages(t *testing.T) {
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"v1", "registry.example/web:v2"} {
		img, err := mutate.Config(twoLayers(t, "amd64"), v1.Config{Env: []string{"TAG=" + tag}})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{refName: tag})); err != nil {
			t.Fatal(err)
		}
	}
	for tag, want := range map[string]string{"v1": "TAG=v1", "v2": "TAG=registry.example/web:v2", "registry.example/web:v2": "TAG=registry.example/web:v2"} {
		img, err := folderImage(dir, tag, v1.Platform{OS: "linux", Architecture: "amd64"})
		if err != nil {
			t.Errorf("%s: %v", tag, err)
			continue
		}
		to := t.TempDir()
		if err := keepConfig(img, to); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(to, "image.json"))
		var config v1.Config
		if err == nil {
			err = json.Unmarshal(b, &config)
		}
		if err != nil || len(config.Env) != 1 || config.Env[0] != want {
			t.Errorf("%s: %q, %v, want %s", tag, config.Env, err, want)
		}
	}
	for tag, want := range map[string]string{"v3": "v1, registry.example/web:v2", "": "name it after a colon"} {
		if _, err := folderImage(dir, tag, v1.Platform{OS: "linux", Architecture: "amd64"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("tag %q: %v, want %q", tag, err, want)
		}
	}
}
