package origin

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms/rootfs/archive"
)

// A rawLayer is a layer of given bytes, compressed as its media type says.
type rawLayer struct {
	blob, plain []byte
	media       types.MediaType
}

func (l rawLayer) Digest() (v1.Hash, error) { return v1.NewHash("sha256:" + hexDigest(l.blob)) }
func (l rawLayer) DiffID() (v1.Hash, error) { return v1.NewHash("sha256:" + hexDigest(l.plain)) }
func (l rawLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.blob)), nil
}
func (l rawLayer) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.plain)), nil
}
func (l rawLayer) Size() (int64, error)                { return int64(len(l.blob)), nil }
func (l rawLayer) MediaType() (types.MediaType, error) { return l.media, nil }

// imageOf returns an image of layers for an architecture, the first layer
// compressed with gzip, the others with zstd.
func imageOf(t testing.TB, arch string, layers ...[]byte) v1.Image {
	t.Helper()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: arch})
	if err != nil {
		t.Fatal(err)
	}
	for i, plain := range layers {
		l := rawLayer{gzipped(t, plain), plain, types.OCILayer}
		if i > 0 {
			l = rawLayer{zstded(t, plain), plain, types.OCILayerZStd}
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	return mutate.MediaType(img, types.OCIManifestSchema1)
}

// twoLayers is an image whose second layer changes the first.
func twoLayers(t testing.TB, arch string) v1.Image {
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir} }
	file := func(name, content string) tar.Header { return tar.Header{Name: name, Linkname: content} }
	return imageOf(t, arch,
		tarOf(t, dir("etc/"), file("etc/gone", "x"), file("etc/kept", "kept"), dir("opaque/"), file("opaque/old", "x"),
			dir("bin/"), tar.Header{Name: "bin/su", Linkname: "su", Mode: 0o4755}, dir("tree/"), file("tree/x", "x")),
		tarOf(t, file("etc/.wh.gone", ""), dir("opaque/"), file("opaque/.wh..wh..opq", ""), file("opaque/new", "new"),
			tar.Header{Name: "bin/su2", Linkname: "bin/su", Typeflag: tar.TypeLink}, file(".wh.tree", ""), file("arch", arch)))
}

func checkTwoLayers(t *testing.T, tree, arch string) {
	t.Helper()
	for name, want := range map[string]string{"etc/kept": "kept", "opaque/new": "new", "bin/su2": "su", "arch": arch} {
		if got, err := os.ReadFile(filepath.Join(tree, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"etc/gone", "opaque/old", "tree", "etc/.wh.gone", "opaque/.wh..wh..opq", ".wh.tree"} {
		if _, err := os.Lstat(filepath.Join(tree, name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	var a, b unix.Stat_t
	if err := unix.Lstat(filepath.Join(tree, "bin/su"), &a); err != nil {
		t.Fatal(err)
	}
	if err := unix.Lstat(filepath.Join(tree, "bin/su2"), &b); err != nil || a.Ino != b.Ino || a.Mode&0o4000 == 0 {
		t.Errorf("su: mode %o, the same file: %v, %v", a.Mode, a.Ino == b.Ino, err)
	}
}

// newRegistry returns the address of a registry on the loopback and a count of
// the blobs that were asked of it.
func newRegistry(t testing.TB) (host string, blobs *atomic.Int32, breakBlobs *atomic.Int32) {
	blobs, breakBlobs = new(atomic.Int32), new(atomic.Int32)
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			blobs.Add(1)
			if breakBlobs.Add(-1) >= 0 {
				w.Header().Set("Content-Length", "1000")
				w.Write([]byte("half"))
				panic(http.ErrAbortHandler)
			}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), blobs, breakBlobs
}

func push(t testing.TB, ref string, what remote.Taggable) {
	t.Helper()
	tag, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	switch x := what.(type) {
	case v1.Image:
		err = remote.Write(tag, x)
	case v1.ImageIndex:
		err = remote.WriteIndex(tag, x)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func indexOf(t testing.TB, arches ...string) v1.ImageIndex {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, arch := range arches {
		p := ociPlatform(arch)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: twoLayers(t, p.Architecture), Descriptor: v1.Descriptor{Platform: &p}})
	}
	return index
}

func TestOCIRegistry(t *testing.T) {
	need.Root(t)
	host, blobs, breakBlobs := newRegistry(t)
	ref := host + "/team/base:1"
	push(t, ref, indexOf(t, "amd64", "arm64", "armhf"))
	h := newHost(t)
	for arch, want := range map[string]string{"amd64": "amd64", "arm64": "arm64", "armhf": "arm"} {
		o, err := Pin(t.Context(), originOf(t, "oci", Options{OCI: ref, Arch: arch}, nil), h)
		if err != nil {
			t.Fatal(err)
		}
		breakBlobs.Store(1)
		tree, _, err := importNew(t, o, h)
		if err != nil {
			t.Fatal(err)
		}
		checkTwoLayers(t, tree, want)
	}
	o, err := Pin(t.Context(), originOf(t, "oci", Options{OCI: ref, Arch: "s390x"}, nil), h)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := importNew(t, o, h); err == nil {
		t.Error("imported the image of another architecture")
	}
	// The tag moves; what is pinned can still be had, and is in the cache.
	o, err = Pin(t.Context(), originOf(t, "oci", Options{OCI: ref, Arch: "amd64"}, nil), h)
	if err != nil {
		t.Fatal(err)
	}
	push(t, ref, twoLayers(t, "riscv64"))
	kept, err := Pin(t.Context(), o, h)
	if err != nil || kept.Pin.ID != o.Pin.ID {
		t.Errorf("pin %+v, %v", kept.Pin, err)
	}
	breakBlobs.Store(0)
	blobs.Store(0)
	if _, _, err := importNew(t, kept, h); err != nil || blobs.Load() > 1 { // the configuration is not cached
		t.Errorf("%v, %d blobs", err, blobs.Load())
	}
	o.Pin = nil
	if moved, err := Pin(t.Context(), o, h); err != nil || moved.Pin.ID == kept.Pin.ID {
		t.Errorf("pin %+v, %v", moved.Pin, err)
	} else if _, _, err := importNew(t, moved, h); err == nil || !strings.Contains(err.Error(), "not made for linux/amd64") {
		t.Errorf("got %v", err)
	}
	for _, ref := range []string{host + "/none:1", "not a reference"} {
		if _, err := Pin(t.Context(), originOf(t, "oci", Options{OCI: ref}, nil), h); err == nil {
			t.Errorf("%s was pinned", ref)
		}
	}
	checkNothingLeft(t, h)
}

func TestOCILocal(t *testing.T) {
	need.Root(t)
	h := newHost(t)
	folder := filepath.Join(h.dir, "layout")
	path, err := layout.Write(folder, indexOf(t, "amd64", "arm64"))
	if err != nil {
		t.Fatal(err)
	}
	ociTar := filepath.Join(h.dir, "oci.tar")
	f, err := os.Create(ociTar)
	if err != nil {
		t.Fatal(err)
	}
	if err := archive.Pack(t.Context(), f, string(path), archive.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	docker := filepath.Join(h.dir, "docker.tar")
	plain := mutate.MediaType(empty.Image, types.DockerManifestSchema2)
	layers, err := twoLayers(t, "amd64").Layers()
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.ConfigFile(plain, &v1.ConfigFile{OS: "linux", Architecture: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, layers...); err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(docker, name.MustParseReference("x:1"), img); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{folder, ociTar, docker} {
		o := originOf(t, "oci", Options{Arch: "amd64"}, map[string]string{"oci": p})
		if pinned, err := Pin(t.Context(), o, h); err != nil || pinned.Pin != nil {
			t.Errorf("%s: pin %v, %v", p, pinned.Pin, err)
		}
		tree, _, err := importNew(t, o, h)
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		checkTwoLayers(t, tree, "amd64")
	}
	if _, _, err := importNew(t, originOf(t, "oci", Options{Arch: "s390x"}, map[string]string{"oci": docker}), h); err == nil {
		t.Error("imported the image of another architecture")
	}
	empty := t.TempDir()
	if _, _, err := importNew(t, originOf(t, "oci", Options{}, map[string]string{"oci": empty}), h); err == nil || !strings.Contains(err.Error(), "neither an OCI layout nor") {
		t.Errorf("got %v", err)
	}
	checkNothingLeft(t, h)
	damageEach(t, h, folder)
}

// damageEach flips a bit in each blob of a layout in turn: no damage to what
// is used goes unnoticed.
func damageEach(t *testing.T, h testHost, folder string) {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(folder, "blobs/sha256/*"))
	if err != nil || len(blobs) < 4 {
		t.Fatal(blobs, err)
	}
	noticed := 0
	for _, b := range blobs {
		good, err := os.ReadFile(b)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(b, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := importNew(t, originOf(t, "oci", Options{Arch: "amd64"}, map[string]string{"oci": folder}), h); err != nil {
			noticed++
		}
		if err := os.WriteFile(b, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if noticed != 4 { // manifest, configuration, two layers
		t.Errorf("damage was noticed in %d of %d blobs, want 4", noticed, len(blobs))
	}
}

// TestOCIHostile imports layers that try to get out of the tree.
func TestOCIHostile(t *testing.T) {
	need.Root(t)
	for what, layers := range map[string][][]byte{
		"dots":          {tarOf(t, tar.Header{Name: "../../escaped", Linkname: "x"})},
		"dots whiteout": {tarOf(t, tar.Header{Name: "a/../../.wh.victim", Linkname: ""})},
		"whiteout ..":   {tarOf(t, tar.Header{Name: ".wh...", Linkname: ""})},
		"link": {tarOf(t, tar.Header{Name: "out", Linkname: "OUTSIDE", Typeflag: tar.TypeSymlink}),
			tarOf(t, tar.Header{Name: "out/escaped", Linkname: "x"})},
		"hard link": {tarOf(t, tar.Header{Name: "stolen", Linkname: "../../victim", Typeflag: tar.TypeLink})},
		"link whiteout": {tarOf(t, tar.Header{Name: "out", Linkname: "OUTSIDE", Typeflag: tar.TypeSymlink}),
			tarOf(t, tar.Header{Name: "out/.wh.victim", Linkname: ""})},
	} {
		t.Run(what, func(t *testing.T) {
			h := newHost(t)
			outside := filepath.Join(h.dir, "outside")
			if err := os.Mkdir(outside, 0o755); err != nil {
				t.Fatal(err)
			}
			victim := filepath.Join(outside, "victim")
			if err := os.WriteFile(victim, []byte("alive"), 0o644); err != nil {
				t.Fatal(err)
			}
			for i := range layers {
				if bytes.Contains(layers[i], []byte("OUTSIDE")) {
					layers[i] = tarOf(t, tar.Header{Name: "out", Linkname: outside, Typeflag: tar.TypeSymlink})
				}
			}
			docker := filepath.Join(h.dir, "image.tar")
			if err := tarball.WriteToFile(docker, name.MustParseReference("x:1"), imageOf(t, "amd64", layers...)); err != nil {
				t.Fatal(err)
			}
			_, _, err := importNew(t, originOf(t, "oci", Options{Arch: "amd64"}, map[string]string{"oci": docker}), h)
			// A link that stays inside of the tree as seen from the machine is
			// followed there; everything else is an error.
			if err == nil && !strings.HasPrefix(what, "link") {
				t.Error("was imported")
			}
			if data, err := os.ReadFile(victim); err != nil || string(data) != "alive" {
				t.Errorf("the victim: %q, %v", data, err)
			}
			if found, _ := filepath.Glob(filepath.Join(h.dir, "*escaped*")); len(found) > 0 {
				t.Errorf("escaped: %v", found)
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
				t.Errorf("outside: %v, %v", entries, err)
			}
		})
	}
}

// TestOCIHostileArchive imports archives that name files of the host as their
// own, or that would never end.
func TestOCIHostileArchive(t *testing.T) {
	h := newHost(t)
	secret := filepath.Join(h.dir, "secret")
	if err := os.WriteFile(secret, []byte(`{"schemaVersion": 2, "manifests": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		h    tar.Header
		want string
	}{
		"absolute link": {tar.Header{Name: "index.json", Typeflag: tar.TypeSymlink, Linkname: secret}, "leads out"},
		"relative link": {tar.Header{Name: "manifest.json", Typeflag: tar.TypeSymlink, Linkname: "../../secret"}, "leads out"},
		"pipe":          {tar.Header{Name: "index.json", Typeflag: tar.TypeFifo}, "neither a file nor"},
	} {
		t.Run(what, func(t *testing.T) {
			image := filepath.Join(h.dir, "image.tar")
			if err := os.WriteFile(image, tarOf(t, c.h), 0o644); err != nil {
				t.Fatal(err)
			}
			_, _, err := importNew(t, originOf(t, "oci", Options{Arch: "amd64"}, map[string]string{"oci": image}), h)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	checkNothingLeft(t, h)
}

func TestOCIWrongDiffID(t *testing.T) {
	h := newHost(t)
	plain := tarOf(t, tar.Header{Name: "x", Linkname: "1"})
	img, err := mutate.AppendLayers(empty.Image, rawLayer{gzipped(t, plain), []byte("something else"), types.DockerLayer})
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ := newRegistry(t)
	push(t, host+"/x:1", img)
	_, _, err = importNew(t, originOf(t, "oci", Options{OCI: host + "/x:1"}, nil), h)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("its content has the digest sha256:%s", hexDigest(plain))) {
		t.Errorf("got %v", err)
	}
}
