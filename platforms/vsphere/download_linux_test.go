package vsphere

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/vmdk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// The files of vcsim's disks hold no data: a handler in front of it answers with a stream,
// as a host does.

// stream is a disk as a host sends it.
func (w *world) stream(disk string) []byte {
	w.Helper()
	info, err := os.Stat(disk)
	if err != nil {
		w.Fatal(err)
	}
	var b bytes.Buffer
	if err := vmdk.WriteStream(w.Context(), &b, "disk.vmdk", disk, info.Size(), vmdk.Identity{}, func(int64) {}); err != nil {
		w.Fatal(err)
	}
	return b.Bytes()
}

// snapshotOf makes a snapshot of a machine of the model and returns its reference as a
// layer.
func (w *world) snapshotOf(d *driver, name string) string {
	w.Helper()
	c, err := d.vim(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	vm := w.vm(name)
	made, err := d.do(w.Context(), "snapshot", nil, func(ctx context.Context) (*object.Task, error) {
		return object.NewVirtualMachine(c, vm.Self).CreateSnapshot(ctx, "clean", "", false, false)
	})
	if err != nil {
		w.Fatal(err)
	}
	return vm.Config.InstanceUuid + "/" + made.(types.ManagedObjectReference).Value
}

func TestDownload(t *testing.T) {
	w := newWorld(t)
	d := w.open()
	ref := w.snapshotOf(d, "DC0_C0_RP1_VM0")
	disk := w.disk()
	stream := w.stream(disk)
	want, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(stream)
	damaged[65536+13] ^= 0xff
	for name, c := range map[string]struct {
		answer func(n int, rw http.ResponseWriter) // of request n, counted from 1
		want   string
	}{
		"whole": {func(_ int, rw http.ResponseWriter) { _, _ = rw.Write(stream) }, ""},
		"broken once": {func(n int, rw http.ResponseWriter) {
			if n == 1 {
				_, _ = rw.Write(stream[:len(stream)/2])
				panic(http.ErrAbortHandler)
			}
			_, _ = rw.Write(stream)
		}, ""},
		"damaged": {func(_ int, rw http.ResponseWriter) { _, _ = rw.Write(damaged) }, "VMDK: the grain of sector 0"},
		"gone":    {func(_ int, rw http.ResponseWriter) { rw.WriteHeader(http.StatusNotFound) }, "the answer is 404 Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{T: t, server: w.server, host: w.host}
			n := 0
			w.server.HTTP = func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, "/nfc/") {
					return false
				}
				n++
				c.answer(n, rw)
				return true
			}
			defer func() { w.server.HTTP = nil }()
			dst := filepath.Join(t.TempDir(), "disk.raw")
			err := d.Disk(t.Context(), []platforms.Layer{{Ref: ref}}, dst, &platformtest.Log{})
			if c.want != "" {
				w.fails(err, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d: %v", len(got), len(want), err)
			}
		})
	}
	w.fails(d.Pull(t.Context(), "DC0_C0_RP1_VM1", filepath.Join(t.TempDir(), "x"), &platformtest.Log{}), "is on, so that its disk changes: turn it off")
	w.fails(d.Pull(t.Context(), "DC0_C0_RP1_VM7", filepath.Join(t.TempDir(), "x"), &platformtest.Log{}), `image: there is no "DC0_C0_RP1_VM7" (did you mean`)
}

func TestCompareSum(t *testing.T) {
	sum := sha1.Sum([]byte("disk"))
	entry := types.HttpNfcLeaseManifestEntry{Key: "/vm-1/disk:0", Sha1: strings.ToUpper(hex.EncodeToString(sum[:]))}
	if err := compareSum([]types.HttpNfcLeaseManifestEntry{entry}, entry.Key, sum[:]); err != nil {
		t.Error(err)
	}
	other := entry
	other.Sha1 = strings.Repeat("0", 40)
	(&world{T: t}).fails(compareSum([]types.HttpNfcLeaseManifestEntry{other}, entry.Key, sum[:]), "the disk arrived damaged")
	if err := compareSum([]types.HttpNfcLeaseManifestEntry{other}, "/vm-1/disk:1", sum[:]); err != nil {
		t.Error(err)
	}
}
