package vsphere

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/internal/vmdk"
	"bake.build/bake/platforms"
)

// Disk implements platforms.Disker: a disk of the layer is read by a lease.
func (d *driver) Disk(ctx context.Context, chain []platforms.Layer, dst string, out platforms.Logger) error {
	return d.FurtherDisk(ctx, chain, 0, dst, out)
}

// FurtherDisks implements platforms.FurtherDisker.
func (d *driver) FurtherDisks(ctx context.Context, chain []platforms.Layer) (int, error) {
	b, err := d.base(ctx, chain[len(chain)-1].Ref)
	if err != nil {
		return 0, err
	}
	c, err := d.vim(ctx)
	if err != nil {
		return 0, err
	}
	of := b.ref
	if b.snapshot != nil { // which has the disks of its own time
		of = b.snapshot.ref
	}
	var list []types.ObjectContent
	if err := property.DefaultCollector(c).Retrieve(ctx, []types.ManagedObjectReference{of}, []string{"config.hardware.device"}, &list); err != nil {
		return 0, fmt.Errorf("look for the disks of %s: %w", b.name, explain(err))
	}
	disks := 0
	for _, o := range list {
		for _, p := range o.PropSet {
			if all, ok := p.Val.(types.ArrayOfVirtualDevice); ok {
				disks = len(object.VirtualDeviceList(all.VirtualDevice).SelectByType((*types.VirtualDisk)(nil)))
			}
		}
	}
	return max(0, disks-1), nil
}

// FurtherDisk implements platforms.FurtherDisker: the disk n is read, counted from 0.
func (d *driver) FurtherDisk(ctx context.Context, chain []platforms.Layer, n int, dst string, out platforms.Logger) error {
	b, err := d.base(ctx, chain[len(chain)-1].Ref)
	if err != nil {
		return err
	}
	return d.download(ctx, b, n, dst, out)
}

// Pull implements platforms.Puller, for the id of a template or a virtual machine that is
// off, such as vm-123, or its name or path.
func (d *driver) Pull(ctx context.Context, image, dst string, out platforms.Logger) error {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	s, err := d.site(ctx)
	if err != nil {
		return err
	}
	inv, err := loadInventory(ctx, c, typeVM)
	if err != nil {
		return err
	}
	i, ok := inv.items[types.ManagedObjectReference{Type: typeVM, Value: image}]
	if !ok {
		if i, err = inv.named("image", image, inv.of(s.datacenter.ref, typeVM)); err != nil {
			return err
		}
	}
	v, err := d.vm(ctx, i.ref)
	if err != nil {
		return err
	}
	if v.on {
		return fmt.Errorf("%s is on, so that its disk changes: turn it off", v.name)
	}
	return d.download(ctx, &base{vm: v}, 0, dst, out)
}

// download writes the disk n, counted from 0, of a virtual machine or a snapshot to the new file dst, as
// a raw image with holes.
func (d *driver) download(ctx context.Context, b *base, n int, dst string, out platforms.Logger) (err error) {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	o := object.NewVirtualMachine(c, b.ref)
	var lease *nfc.Lease
	if b.snapshot != nil {
		lease, err = o.ExportSnapshot(ctx, &b.snapshot.ref)
	} else {
		lease, err = o.Export(ctx)
	}
	if err != nil {
		return fmt.Errorf("export %s: %w", b.name, explain(err))
	}
	if err := d.downloadBy(ctx, lease, n, dst, out); err != nil {
		abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
		defer cancel()
		_ = lease.Abort(abort, nil) // a lease that cannot be aborted times out
		return fmt.Errorf("export %s: %w", b.name, err)
	}
	return nil
}

func (d *driver) downloadBy(ctx context.Context, lease *nfc.Lease, n int, dst string, out platforms.Logger) (err error) {
	info, err := d.leaseReady(ctx, lease)
	if err != nil {
		return err
	}
	key, from, err := d.nthDisk(ctx, info, n)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(dst, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var sum hash.Hash
	err = d.transfer(ctx, lease, info, func(ctx context.Context, percent *atomic.Int64) error {
		return d.transferTries(ctx, "read the disk from "+from.Host, out, func(ctx context.Context) error {
			sum = sha1.New() // what manifests of leases have
			if err := f.Truncate(0); err != nil {
				return err
			}
			return d.readOnce(ctx, from, f, sum, out, percent)
		})
	})
	if err != nil {
		return err
	}
	manifest, err := lease.GetManifest(ctx)
	if err != nil && !is[*types.NotSupported](err) { // before vSphere 6
		return fmt.Errorf("read the digests: %w", explain(err))
	}
	if err := compareSum(manifest, key, sum.Sum(nil)); err != nil {
		return err
	}
	return explain(lease.Complete(ctx))
}

// nthDisk returns the key of the disk n of a lease, counted from 0, and where it is read.
func (d *driver) nthDisk(ctx context.Context, info *types.HttpNfcLeaseInfo, n int) (key string, from *url.URL, err error) {
	c, err := d.vim(ctx)
	if err != nil {
		return "", nil, err
	}
	for _, device := range info.DeviceUrl {
		if device.Disk == nil || !*device.Disk {
			continue
		}
		if n--; n >= 0 {
			continue
		}
		u, err := c.ParseURL(device.Url)
		if err != nil {
			return "", nil, fmt.Errorf("the address of the disk: %w", err)
		}
		if device.SslThumbprint != "" { // of the host, which the server vouches for
			c.SetThumbprint(u.Host, device.SslThumbprint)
		}
		return device.Key, u, nil
	}
	return "", nil, errors.New("it does not have the disk")
}

// readOnce reads a disk, which is unpacked while it comes.
func (d *driver) readOnce(ctx context.Context, from *url.URL, f *os.File, sum hash.Hash, out platforms.Logger, percent *atomic.Int64) error {
	c, err := d.vim(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
	if err != nil {
		return err
	}
	err = c.Do(ctx, req, func(res *http.Response) error {
		if res.StatusCode != http.StatusOK {
			return &refusedError{res.StatusCode, "the answer is " + res.Status}
		}
		body := io.TeeReader(res.Body, sum)
		size, err := vmdk.ReadStream(ctx, body, f, func(done, size int64) {
			watch.Reset(stallTimeout)
			percent.Store(99 * done / max(1, size))
			out.Progress("download", done, size)
		})
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, body); err != nil { // what is behind the end, for the digest
			return err
		}
		return f.Truncate(size)
	})
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// compareSum compares the digest of what was read with that of the server, if it has one.
func compareSum(manifest []types.HttpNfcLeaseManifestEntry, key string, sum []byte) error {
	for _, m := range manifest {
		want := m.Sha1
		if m.ChecksumType != "" && !strings.EqualFold(m.ChecksumType, string(types.HttpNfcLeaseManifestEntryChecksumTypeSha1)) {
			continue
		}
		if m.Key == key && want != "" && !strings.EqualFold(want, hex.EncodeToString(sum)) {
			return fmt.Errorf("the disk arrived damaged: its SHA-1 is %x, and the server's is %s", sum, want)
		}
	}
	return nil
}
