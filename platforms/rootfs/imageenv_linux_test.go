package rootfs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
)

// TestEnvironmentOfImage: a step has the variables of the image that its first
// layer comes from, and its own before them.
func TestEnvironmentOfImage(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	layer := baseLayer(t, dir)
	if err := os.WriteFile(filepath.Join(dir, platforms.ImageConfigName), []byte(`{"Env":["PATH=/opt/bin:/bin","HOW=image","OWN=image"],"User":"ann","WorkingDir":"/srv"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := newDriver(t, "{}", testHost{t.TempDir()}).Boot(t.Context(), []platforms.Layer{layer}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var out bytes.Buffer
	err = m.Run(t.Context(), platforms.Cmd{Args: []string{"sh", "-c", `echo "$PATH $HOW $OWN $(pwd) $(id -u)"`}, Env: []string{"OWN=step"}, Stdout: &out, Stderr: &out})
	if want := "/opt/bin:/bin image step / 0\n"; err != nil || out.String() != want {
		t.Errorf("%q, %v, want %q", out.String(), err, want)
	}
}
