package vsphere

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/publish"
)

// publication is one of an artifact called web.
func publication(o Publication, content string) platforms.Publication {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings and numbers
	}
	return platforms.Publication{Name: "web", Content: content, Key: "key of " + content + string(text), Arch: "amd64", Boot: "bios+uefi", Options: text}
}

// disk makes a raw disk of 8 MiB with some data.
func (w *world) disk() (path string) {
	w.Helper()
	b := make([]byte, 8<<20)
	r := rand.NewChaCha8([32]byte{1})
	for _, at := range []int{0, 65536, 3 << 20, 8<<20 - 512} {
		_, _ = r.Read(b[at : at+512]) // which cannot fail
	}
	path = filepath.Join(w.TempDir(), "disk.raw")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.Fatal(err)
	}
	return path
}

// received keeps the bodies of uploads to machines.
func (w *world) received() func() [][]byte {
	bodies := w.keep(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/nfc/") })
	return func() (all [][]byte) {
		kept := bodies()
		for _, path := range slices.Sorted(maps.Keys(kept)) {
			all = append(all, kept[path])
		}
		return all
	}
}

// keep keeps the bodies of requests, by the last words of their paths, or by all of them
// where these are not alone.
func (w *world) keep(which func(r *http.Request) bool) func() map[string][]byte {
	var mu sync.Mutex
	all := map[string][]byte{}
	w.server.HTTP = func(_ http.ResponseWriter, r *http.Request) bool {
		if which(r) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				w.Error(err)
			}
			mu.Lock()
			name := path.Base(r.URL.Path)
			if strings.HasPrefix(r.URL.Path, "/nfc/") {
				name = r.URL.Path
			}
			all[name] = body
			mu.Unlock()
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		return false
	}
	return func() map[string][]byte {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(all)
	}
}

// TestPublish uploads a disk, finds it again, changes what can be changed, and removes
// older ones.
func TestPublish(t *testing.T) {
	w := newWorld(t)
	d := w.open(func(o *Options) { o.Datastore = "LocalDS_0"; o.Network = "VM Network" })
	bodies := w.received()
	o := Publication{Description: "a web server", ImageFolder: "images", Retention: publish.Retention{Keep: 1}}
	p := publication(o, "aa11")
	if err := d.CheckPublish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, why, err := d.Published(t.Context(), p); err != nil || !strings.Contains(why, "no image web-") {
		t.Fatalf("published: %q, %v", why, err)
	}
	disk := w.disk()
	found, err := d.Publish(t.Context(), p, platforms.ImageSource{Disk: disk}, &platformtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Place != "DC0" || !strings.HasPrefix(found[0].Name, "web-") {
		t.Fatalf("found %+v", found)
	}
	vm := w.vm(found[0].Name)
	if !vm.Config.Template || vm.Self.Value != found[0].ID || vm.Config.Annotation != "a web server" || vm.Config.Hardware.NumCPU != 2 || vm.Config.Hardware.MemoryMB != 2048 {
		t.Errorf("the image is %+v", vm.Config)
	}
	if folder := w.server.Map().Get(*vm.Parent).(*simulator.Folder); folder.Name != "images" {
		t.Errorf("the image is in %s", folder.Name)
	}
	devices := object.VirtualDeviceList(vm.Config.Hardware.Device)
	if len(devices.SelectByType((*types.ParaVirtualSCSIController)(nil))) != 1 || len(devices.SelectByType((*types.VirtualVmxnet3)(nil))) != 1 {
		t.Errorf("the image's devices: %v", devices)
	}
	if n := len(w.host.Left()); n != 0 {
		t.Errorf("in the ledger: %+v", w.host.Left())
	}
	if list := bodies(); len(list) != 1 {
		t.Fatalf("%d uploads", len(list))
	}
	t.Run("bytes", func(t *testing.T) { sameDisk(t, disk, bodies()[0]) })

	if found, why, err := d.Published(t.Context(), p); err != nil || why != "" || len(found) != 1 {
		t.Errorf("published %+v: %q, %v", found, why, err)
	}
	again := publication(Publication{ImageFolder: "images", Retention: o.Retention}, "aa11")
	if found, err := d.Publish(t.Context(), again, platforms.ImageSource{Disk: disk}, &platformtest.Log{}); err != nil || found[0].ID != vm.Self.Value || len(bodies()) != 1 {
		t.Errorf("changed to %+v: %v", found, err)
	}
	if vm := w.vm(found[0].Name); strings.TrimSpace(vm.Config.Annotation) != "" || !vm.Config.Template {
		t.Errorf("what was taken out of the definition: %q", vm.Config.Annotation)
	}

	// Another one: the older one goes, unless something lies on it.
	log := &platformtest.Log{}
	next, err := d.Publish(t.Context(), publication(o, "bb22"), platforms.ImageSource{Disk: disk}, log)
	if err != nil || next[0].Name == found[0].Name {
		t.Fatalf("another one %+v: %v", next, err)
	}
	if w.server.VMs()[found[0].Name] != nil || !strings.Contains(log.String(), found[0].Name+" is older than the 1 that are kept and is removed") {
		t.Errorf("the older one is there: %s", log.String())
	}

	// A name that is another's.
	taken := o
	taken.ImageName = "taken"
	w.move(d, "DC0_C0_RP1_VM0", "images", "taken")
	w.fails(d.CheckPublish(t.Context(), publication(taken, "cc33")), "DC0: the name taken is taken by the image vm-")
}

// move moves a virtual machine of the model to a folder, under another name.
func (w *world) move(d *driver, name, folder, to string) {
	w.Helper()
	j, err := d.job(w.Context(), publication(Publication{ImageFolder: folder}, "00"), &platformtest.Log{})
	if err != nil {
		w.Fatal(err)
	}
	f, err := j.folder(w.Context(), true)
	if err != nil {
		w.Fatal(err)
	}
	c, err := d.vim(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	vm := w.vm(name).Self
	_, err = d.do(w.Context(), "move", nil, func(ctx context.Context) (*object.Task, error) {
		return object.NewFolder(c, f).MoveInto(ctx, []types.ManagedObjectReference{vm})
	})
	if err == nil {
		_, err = d.do(w.Context(), "rename", nil, func(ctx context.Context) (*object.Task, error) {
			return object.NewVirtualMachine(c, vm).Rename(ctx, to)
		})
	}
	if err != nil {
		w.Fatal(err)
	}
}

// sameDisk has qemu-img compare an uploaded disk with the raw one.
func sameDisk(t *testing.T, raw string, upload []byte) {
	need.Tool(t, "qemu-img")
	path := filepath.Join(t.TempDir(), "disk.vmdk")
	if err := os.WriteFile(path, upload, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "vmdk", raw, path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := exec.Command("qemu-img", "check", "-f", "vmdk", path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestUploadFaults breaks uploads off: what can be sent again is, and nothing is left
// otherwise.
func TestUploadFaults(t *testing.T) {
	for name, c := range map[string]struct {
		http   func(n int, w http.ResponseWriter, r *http.Request) bool // of upload n, counted from 1
		answer func(method string, body any) types.BaseMethodFault
		gone   bool   // nothing is reached from the first upload on
		want   string // of the error, or "" for none
	}{
		"broken once": {http: func(n int, _ http.ResponseWriter, r *http.Request) bool {
			if n > 1 {
				return false
			}
			_, _ = io.CopyN(io.Discard, r.Body, 1000) // which is to break
			panic(http.ErrAbortHandler)
		}},
		"busy once": {http: func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return n == 1
		}},
		"broken always": {http: func(int, http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, want: "upload disk.vmdk to 127.0.0.1"},
		"refused": {http: func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusForbidden)
			return true
		}, want: "the answer is 403 Forbidden"},
		"datastore full": {answer: func(m string, _ any) types.BaseMethodFault {
			if m == "ImportVApp" {
				return &types.InsufficientStorageSpace{}
			}
			return nil
		}, want: "the datastore is full: free some space"},
		"lease over": {answer: func(m string, _ any) types.BaseMethodFault {
			if m == "HttpNfcLeaseComplete" {
				return &types.Timedout{}
			}
			return nil
		}, want: "import: "},
		"lease over meanwhile": {http: func(_ int, _ http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body) // which may break
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}, answer: func(m string, _ any) types.BaseMethodFault {
			if m == "HttpNfcLeaseProgress" {
				return &types.Timedout{}
			}
			return nil
		}, want: "the lease of the transfer has ended"},
		"network gone": {http: func(int, http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, gone: true, want: "upload disk.vmdk to 127.0.0.1"},
		"descriptor": {answer: func(m string, _ any) types.BaseMethodFault {
			if m == "CreateImportSpec" {
				return &types.NoPermission{PrivilegeId: "VApp.Import"}
			}
			return nil
		}, want: "the user lacks the privilege VApp.Import"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.open(func(o *Options) { o.Datastore = "LocalDS_0"; o.Network = "VM Network" })
			uploads := 0
			var gone atomic.Bool
			w.server.HTTP = func(rw http.ResponseWriter, r *http.Request) bool {
				if gone.Load() {
					panic(http.ErrAbortHandler)
				}
				if !strings.HasPrefix(r.URL.Path, "/nfc/") || c.http == nil {
					return false
				}
				uploads++
				gone.Store(c.gone)
				return c.http(uploads, rw, r)
			}
			w.server.Answer = c.answer
			before := len(w.server.VMs())
			_, err := d.Publish(t.Context(), publication(Publication{}, "aa11"), platforms.ImageSource{Disk: w.disk()}, &platformtest.Log{})
			w.server.Answer, w.server.HTTP = nil, nil
			if c.want == "" {
				if err != nil || len(w.server.VMs()) != before+1 || len(w.host.Left()) != 0 {
					t.Errorf("%v; %d machines, in the ledger %+v", err, len(w.server.VMs())-before, w.host.Left())
				}
				return
			}
			w.fails(err, c.want)
			w.collect(d)
			if n := len(w.server.VMs()); n != before {
				t.Errorf("%d machines are left: %v", n-before, w.server.VMs())
			}
		})
	}
}

// collect does what bake gc does with what is in the ledger.
func (w *world) collect(d *driver) {
	w.Helper()
	for _, r := range w.host.Left() {
		if _, err := d.Collect(w.Context(), r); err != nil {
			w.Error(err)
		}
	}
}

func TestPublication(t *testing.T) {
	for _, c := range []struct {
		o    Publication
		want string
	}{
		{Publication{ImageName: strings.Repeat("x", 81)}, "image_name: it has 81 characters"},
		{Publication{ImageName: "a/b"}, "image_name: "},
		{Publication{Hardware: &hardware.Options{CPUs: -1}}, "hardware: cpus: "},
		{Publication{Retention: publish.Retention{Keep: -1}}, "keep: "},
	} {
		(&world{T: t}).fails(c.o.Check(), c.want)
	}
	o := Publication{Hardware: &hardware.Options{CPUs: 4, NIC: "e1000"}}
	_, _, err := o.kept()
	if option := (*platforms.OptionError)(nil); !errors.As(err, &option) {
		t.Errorf("a network card of a layer's own machine: %v", err)
	}
	o.Hardware.NIC = ""
	if cpus, _, err := o.kept(); err != nil || cpus != 4 {
		t.Errorf("%d CPUs: %v", cpus, err)
	}
}
