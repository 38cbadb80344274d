package origin

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/platforms"
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

// TestTagsOfOneImage holds that an image with two tags is one, and that a layout of
// several is refused before anything runs.
func TestTagsOfOneImage(t *testing.T) {
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	img := twoLayers(t, "amd64")
	add := func(img v1.Image, tag string) {
		t.Helper()
		if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{refName: tag})); err != nil {
			t.Fatal(err)
		}
	}
	add(img, "a")
	add(img, "b")
	pin := func(tag string) error {
		o := originOf(t, "oci", Options{OCI: tag, Arch: "amd64"}, map[string]string{"oci": dir})
		_, err := Pin(t.Context(), o, newHost(t))
		return err
	}
	for _, tag := range []string{"", ":a", ":b"} {
		if err := pin(tag); err != nil {
			t.Errorf("tag %q: %v", tag, err)
		}
	}
	other, err := mutate.Config(img, v1.Config{Env: []string{"A=b"}})
	if err != nil {
		t.Fatal(err)
	}
	add(other, "c")
	var wrong *platforms.OptionError
	if err := pin(""); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "holds 2 images") {
		t.Errorf("of two: %v", err)
	}
	if err := pin(":c"); err != nil {
		t.Errorf("one of two: %v", err)
	}
}
