package export

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
)

const imported = `{"Entrypoint":["/entry"],"Cmd":["old"],"Env":["PATH=/opt/bin:/bin","LANG=C"],"User":"web","WorkingDir":"/srv","Labels":{"a":"1"},"ExposedPorts":{"80/tcp":{}},"StopSignal":"SIGQUIT"}`

// TestImageConfig has skopeo tell how an image runs, that of an imported one
// and what export says of it.
func TestImageConfig(t *testing.T) {
	need.Tool(t, "skopeo")
	for _, c := range []struct {
		name, imported, set string
		want                v1.Config
		ref                 string
	}{
		{"nothing", "", "", v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, Cmd: []string{"/bin/sh"}}, "latest"},
		{"imported", imported, "", v1.Config{Entrypoint: []string{"/entry"}, Cmd: []string{"old"}, Env: []string{"PATH=/opt/bin:/bin", "LANG=C"},
			User: "web", WorkingDir: "/srv", Labels: map[string]string{"a": "1"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}, StopSignal: "SIGQUIT"}, "latest"},
		{"both", imported, `{"entrypoint":["/new"],"env":{"LANG":"de","X":"y"},"user":"1:2","labels":{"b":"2"},"ports":["53/udp","443"],"volumes":["/data"],"tag":"v1"}`,
			v1.Config{Entrypoint: []string{"/new"}, Env: []string{"PATH=/opt/bin:/bin", "LANG=de", "X=y"}, User: "1:2", WorkingDir: "/srv",
				Labels: map[string]string{"a": "1", "b": "2"}, StopSignal: "SIGQUIT", Volumes: map[string]struct{}{"/data": {}},
				ExposedPorts: map[string]struct{}{"80/tcp": {}, "53/udp": {}, "443/tcp": {}}}, "v1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(t, t.TempDir(), "oci", "docker")
			r.Layers = []platforms.Layer{{Key: strings.Repeat("c3", 32), Dir: t.TempDir()}}
			if err := os.CopyFS(filepath.Join(r.Layers[0].Dir, "fs"), os.DirFS(sampleTree(t)+"/etc")); err != nil {
				t.Fatal(err)
			}
			if c.imported != "" {
				if err := os.WriteFile(filepath.Join(r.Layers[0].Dir, platforms.ImageConfigName), []byte(c.imported), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r.Op.Name, r.Op.Config = "My_Web..x", json.RawMessage(c.set)
			mustRun(t, r)
			for _, ref := range []string{
				"oci:" + filepath.Join(r.OutDir, "My_Web..x.oci") + ":" + c.ref,
				"docker-archive:" + filepath.Join(r.OutDir, "My_Web..x.docker.tar") + ":my_web-x:" + c.ref,
				"oci-archive:" + filepath.Join(r.OutDir, "My_Web..x.docker.tar") + ":my_web-x:" + c.ref,
			} {
				out, err := exec.Command("skopeo", "inspect", "--config", ref).CombinedOutput()
				var got v1.ConfigFile
				if err == nil {
					err = json.Unmarshal(out, &got)
				}
				if err != nil {
					t.Errorf("%s: %v\n%s", ref, err, out)
				} else if !reflect.DeepEqual(got.Config, c.want) {
					t.Errorf("%s: %+v\nwant %+v", ref, got.Config, c.want)
				}
			}
		})
	}
}

// TestNothingRemovedIsBelow: what a layer removes, or puts another file in the
// place of, is in no layer below it; replaced files of the first layer are.
func TestNothingRemovedIsBelow(t *testing.T) {
	need.Root(t)
	need.Tool(t, "umoci")
	layer := func(key string, files map[string]string, removed ...string) platforms.Layer {
		dir := t.TempDir()
		for name, text := range files {
			p := filepath.Join(dir, "fs", name)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range removed {
			p := filepath.Join(dir, "fs", name)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mknod(p, unix.S_IFCHR, 0); err != nil {
				t.Fatal(err)
			}
		}
		return platforms.Layer{Key: strings.Repeat(key, 32), Dir: dir}
	}
	r := request(t, t.TempDir(), "oci")
	r.Op.Compression = "none"
	r.Layers = []platforms.Layer{
		layer("01", map[string]string{"etc/shared": "SHARED-1", "etc/key": "SECRET-1", "var/log/d/x": "SECRET-2", "again": "SECRET-3"}),
		layer("02", map[string]string{"etc/key2": "SECRET-4", "etc/conf": "SECRET-5", "etc/shared": "shared"}, "again"),
		layer("03", map[string]string{"etc/conf": "conf", "again": "again"}, "etc/key", "etc/key2", "var/log/d"),
	}
	if err := os.Link(filepath.Join(r.Layers[1].Dir, "fs/etc/key2"), filepath.Join(r.Layers[1].Dir, "fs/etc/kept")); err != nil {
		t.Fatal(err)
	}
	mustRun(t, r)
	blobs := exec.Command("grep", "-rhoaE", "SECRET-[0-9]|SHARED-[0-9]", filepath.Join(r.OutDir, "web.oci"))
	out, _ := blobs.Output()
	if got := strings.Join(strings.Fields(string(out)), " "); got != "SHARED-1 SECRET-4" && got != "SECRET-4 SHARED-1" {
		t.Errorf("the blobs have %q, want the replaced file of the first layer, and that with a second name", got)
	}
	to := filepath.Join(t.TempDir(), "bundle")
	if out, err := exec.Command("umoci", "unpack", "--image", filepath.Join(r.OutDir, "web.oci:latest"), to).CombinedOutput(); err != nil {
		t.Fatalf("umoci: %v\n%s", err, out)
	}
	list := exec.Command("sh", "-c", `find . -type f | sort | while read -r f; do echo "$f=$(cat "$f")"; done`)
	list.Dir = filepath.Join(to, "rootfs")
	got, err := list.Output()
	if want := "./again=again ./etc/conf=conf ./etc/kept=SECRET-4 ./etc/shared=shared"; err != nil || strings.Join(strings.Fields(string(got)), " ") != want {
		t.Errorf("umoci unpacks %s, %v, want %s", got, err, want)
	}
}
