package main

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/vmware/govmomi/simulator"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/ovf"
	"bake.build/bake/internal/vmdk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/vsphere"
	"bake.build/bake/platforms/vsphere/vspheretest"
)

// measureVSphere uploads an OVA, and a disk, to vcsim in this process, against an HTTP PUT
// of the same bytes to a server in this process. Both go over TLS and both servers take
// the SHA-1 of what comes, as vcsim does.
func measureVSphere(ctx context.Context, b *bench) (rows []row, err error) {
	const n = 5
	dir, err := b.subdir("vsphere")
	if err != nil {
		return nil, err
	}
	disk, stream, ova := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.vmdk"), filepath.Join(dir, "web.ova")
	if err := stageVSphere(ctx, disk, stream, ova); err != nil {
		return nil, err
	}
	w, err := newVSphere(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	var plain, imported, deflated, published []float64
	for i := range n {
		b.logf("uploads to vcsim and by HTTP PUT: run %d", i+1)
		for _, m := range []struct {
			times *[]float64
			run   func() error
		}{
			{&plain, func() error { return w.put(ctx, func(out io.Writer) error { return copyInto(out, stream) }) }},
			{&imported, func() error { return w.importOVA(ctx, ova, i) }},
			{&deflated, func() error { return w.put(ctx, func(out io.Writer) error { return streamDisk(ctx, out, disk) }) }},
			{&published, func() error { return w.publish(ctx, disk, i) }},
		} {
			begin := time.Now()
			if err := m.run(); err != nil {
				return nil, err
			}
			*m.times = append(*m.times, time.Since(begin).Seconds())
		}
	}
	info, err := os.Stat(stream)
	if err != nil {
		return nil, err
	}
	return []row{
		row{Name: fmt.Sprintf("upload of an OVA of %d MiB to vcsim", info.Size()>>20), Got: median(imported), Unit: "s", Runs: n, Than: "HTTP PUT of its disk", Base: median(plain), Limit: 1.2}.finish(),
		row{Name: "  of a disk of 2 GiB, which is compressed meanwhile", Got: median(published), Unit: "s", Runs: n, Than: "deflate into an HTTP PUT", Base: median(deflated), Limit: 1.2}.finish(),
	}, nil
}

// stageVSphere writes a disk, the stream of it, and an OVA of that.
func stageVSphere(ctx context.Context, disk, stream, ova string) (err error) {
	if err := writeOVADisk(disk); err != nil {
		return err
	}
	f, err := os.Create(stream)
	if err != nil {
		return err
	}
	if err := errors.Join(streamDisk(ctx, f, disk), f.Close()); err != nil {
		return err
	}
	if f, err = os.Create(ova); err != nil {
		return err
	}
	m := &ovf.Machine{
		Name: "web", Hardware: (hardware.Options{DiskBus: "pvscsi"}).Described(false), Options: ovf.Options{Flavor: ovf.VMware},
		Disks: []ovf.Disk{{File: "disk.vmdk", Size: -1, Capacity: ovaDisk}},
	}
	return errors.Join(ovf.WriteOVA(f, m, nil, func(_ int, out io.Writer) error { return copyInto(out, stream) }), f.Close())
}

func streamDisk(ctx context.Context, out io.Writer, disk string) error {
	return vmdk.WriteStream(ctx, out, "disk.vmdk", disk, ovaDisk, vmdk.IdentityOf([32]byte{1}), func(int64) {})
}

func copyInto(out io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, f)
	return err
}

// A vSphere is vcsim with a driver on it, and the server that takes what is PUT.
type vSphere struct {
	dir    string
	server *vspheretest.Server
	plain  *httptest.Server
	driver platforms.Driver
}

func newVSphere(dir string) (*vSphere, error) {
	model := simulator.VPX()
	model.Folder, model.Pool, model.Pod = 0, 1, 0
	s, err := vspheretest.New(model)
	if err != nil {
		return nil, err
	}
	w := &vSphere{dir: dir, server: s}
	w.plain = httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(sha1.New(), r.Body); err != nil {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	}))
	options, err := json.Marshal(vsphere.Options{
		Server: s.URL, ServerUser: vspheretest.User, ServerPassword: "vcenter", Thumbprint: s.Thumbprint, Cluster: "DC0_C0", Datastore: "LocalDS_0", Network: "VM Network",
	})
	if err == nil {
		w.driver, err = vsphere.Spec().New(options, &benchHost{dir})
	}
	if err != nil {
		w.plain.Close()
		s.Close()
		return nil, err
	}
	return w, nil
}

func (w *vSphere) close() error {
	err := w.driver.(platforms.Closer).Close()
	w.plain.Close()
	w.server.Close()
	return err
}

// put sends what write writes by HTTP.
func (w *vSphere) put(ctx context.Context, write func(io.Writer) error) error {
	r, out := io.Pipe()
	go func() { out.CloseWithError(write(out)) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, w.plain.URL, r)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the server is ours
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return errors.Join(err, res.Body.Close())
}

// importOVA makes the first layer of an OVA, with its snapshot.
func (w *vSphere) importOVA(ctx context.Context, path string, i int) error {
	o := platforms.Origin{Kind: "ova", Paths: map[string]string{"ova": path}}
	_, err := w.driver.(platforms.RemoteImporter).ImportRemote(ctx, o, platforms.State{Key: fmt.Sprintf("%064x", i), Name: "ova"}, benchLogger{})
	return err
}

// publish makes a template of a disk.
func (w *vSphere) publish(ctx context.Context, disk string, i int) error {
	p := platforms.Publication{Name: "web", Content: fmt.Sprintf("%064x", i), Key: fmt.Sprintf("%064x", i), Arch: "amd64", Boot: "bios"}
	_, err := w.driver.(platforms.Publisher).Publish(ctx, p, platforms.ImageSource{Disk: disk}, benchLogger{})
	return err
}

// A benchHost is what the driver is lent: a ledger that nobody reads.
type benchHost struct{ dir string }

func (h *benchHost) TempDir(prefix string) (string, func() error, error) {
	dir, err := os.MkdirTemp(h.dir, prefix)
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func (h *benchHost) CacheDir(name string) (string, error) {
	dir := filepath.Join(h.dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}

func (*benchHost) Secret(platforms.Secret) ([]byte, error) { return []byte(vspheretest.Password), nil }
func (h *benchHost) Ledger() platforms.Ledger              { return h }
func (*benchHost) Build() string                           { return "bench" }
func (*benchHost) Project() string                         { return "acme/bench" }

func (*benchHost) Begin(platforms.Resource) (func() error, error) {
	return func() error { return nil }, nil
}

func (*benchHost) Ask(context.Context, string) (string, error) {
	return "", errors.New("nobody is there")
}

// A benchLogger keeps nothing.
type benchLogger struct{}

func (benchLogger) Write(b []byte) (int, error)   { return len(b), nil }
func (benchLogger) Progress(string, int64, int64) {}
