package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/types"
	"golang.org/x/sync/errgroup"

	"bake.build/bake/internal/vmdk"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/wait"
)

// Of the protocol NFC: a lease holds the objects that are transferred until it is
// completed or aborted, or until nobody has told its progress for some time. A disk that is
// POSTed as a stream is written to its place while it comes.
const (
	leaseTimeout  = 10 * time.Minute // until the server is ready for a transfer
	leaseProgress = 10 * time.Second // how often it is told the progress, at least
	transferTries = 4
	transferPause = 2 * time.Second
	stallTimeout  = 2 * time.Minute // in which not a byte goes
)

// upload imports the machine and sends its disk. It returns the virtual machine, which is
// gone where it fails: a lease that is aborted removes it.
func (j *job) upload(ctx context.Context, t *target, spec *types.VirtualMachineImportSpec, files []types.OvfFileItem, disk string, size int64) (ref types.ManagedObjectReference, err error) {
	folder, err := j.folder(ctx, true)
	if err != nil {
		return ref, err
	}
	c, err := j.d.vim(ctx)
	if err != nil {
		return ref, err
	}
	var host *object.HostSystem
	if t.host != nil {
		host = object.NewHostSystem(c, *t.host)
	}
	lease, err := object.NewResourcePool(c, t.pool).ImportVApp(ctx, spec, object.NewFolder(c, folder), host)
	if err != nil {
		return ref, fmt.Errorf("import: %w", explain(err))
	}
	info, err := j.d.leaseReady(ctx, lease)
	if err == nil {
		err = j.send(ctx, lease, info, files, disk, size)
	}
	if err == nil {
		err = explain(lease.Complete(ctx))
	}
	if err != nil {
		abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
		defer cancel()
		fault := &types.LocalizedMethodFault{Fault: &types.OvfImportFailed{}, LocalizedMessage: "the upload was given up"}
		_ = lease.Abort(abort, fault) // a lease that cannot be aborted times out
		return ref, fmt.Errorf("import: %w", err)
	}
	return info.Entity, nil
}

// leaseReady waits until a lease is ready.
func (d *driver) leaseReady(ctx context.Context, lease *nfc.Lease) (*types.HttpNfcLeaseInfo, error) {
	var info *types.HttpNfcLeaseInfo
	loop := wait.Loop{What: "the server's readiness for the transfer", Timeout: leaseTimeout, Backoff: wait.Backoff{Next: d.pause, Most: 8 * d.pause}}
	err := loop.Until(ctx, func(ctx context.Context) (bool, error) {
		now, err := lease.Properties(ctx, "state", "info", "error")
		switch {
		case err != nil:
			return false, explain(err)
		case now.Error != nil:
			return false, explain(task.Error{LocalizedMethodFault: now.Error})
		case now.State == types.HttpNfcLeaseStateReady:
			info = now.Info
			return info != nil, nil
		case now.State != types.HttpNfcLeaseStateInitializing:
			return false, fmt.Errorf("the lease is in the state %q", now.State)
		}
		return false, nil
	})
	return info, err
}

// send uploads the disk, and tells the lease of it so that it goes on.
func (j *job) send(ctx context.Context, lease *nfc.Lease, info *types.HttpNfcLeaseInfo, files []types.OvfFileItem, disk string, size int64) error {
	to, err := j.diskURL(ctx, info, files)
	if err != nil {
		return err
	}
	return transfer(ctx, lease, info, func(ctx context.Context, percent *atomic.Int64) error {
		what := "upload the disk to " + to.Host
		return j.d.transferTries(ctx, what, j.out, func(ctx context.Context) error { return j.sendOnce(ctx, to, disk, size, percent) })
	})
}

// transfer calls do, and tells the lease of it meanwhile so that it goes on. do is given
// where it says how many percent are done.
func transfer(ctx context.Context, lease *nfc.Lease, info *types.HttpNfcLeaseInfo, do func(ctx context.Context, percent *atomic.Int64) error) error {
	var percent atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	g.Go(func() error { return tellLease(ctx, lease, info, &percent) })
	g.Go(func() error {
		defer stop()
		return do(ctx, &percent)
	})
	return g.Wait()
}

// diskURL returns where the disk is uploaded to.
func (j *job) diskURL(ctx context.Context, info *types.HttpNfcLeaseInfo, files []types.OvfFileItem) (*url.URL, error) {
	c, err := j.d.vim(ctx)
	if err != nil {
		return nil, err
	}
	for _, device := range info.DeviceUrl {
		for _, file := range files {
			if file.Path != diskFile || file.DeviceId != device.ImportKey {
				continue
			}
			u, err := c.ParseURL(device.Url)
			if err != nil {
				return nil, fmt.Errorf("the address for the disk: %w", err)
			}
			if device.SslThumbprint != "" { // of the host, which the server vouches for
				c.SetThumbprint(u.Host, device.SslThumbprint)
			}
			return u, nil
		}
	}
	return nil, errors.New("the server names no address for the disk")
}

// tellLease tells a lease the progress until ctx ends. A lease that is gone ends the
// transfer.
func tellLease(ctx context.Context, lease *nfc.Lease, info *types.HttpNfcLeaseInfo, percent *atomic.Int64) error {
	every := leaseProgress
	if t := time.Duration(info.LeaseTimeout) * time.Second / 4; t > 0 && t < every {
		every = t
	}
	for wait.Pause(ctx, every) == nil {
		err := lease.Progress(ctx, int32(percent.Load()))
		if err != nil && ctx.Err() == nil && !lost(err) {
			return fmt.Errorf("the lease of the transfer has ended: %w", explain(err))
		}
	}
	return nil
}

// transferTries transfers a disk, again from its beginning where the network fails.
func (d *driver) transferTries(ctx context.Context, what string, out platforms.Logger, once func(ctx context.Context) error) error {
	pause := wait.Backoff{Next: min(transferPause, 8*d.pause), Double: true}
	for n := 1; ; n++ {
		err := once(ctx)
		var refused *refusedError
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case n == transferTries || errors.As(err, &refused) && refused.status < http.StatusInternalServerError:
			return fmt.Errorf("%s: %w", what, err)
		}
		_, _ = fmt.Fprintf(out, "%s: %v: once more, from its beginning\n", what, err) // the log keeps its own error
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
}

// A refusedError is an answer that says that a disk was not taken.
type refusedError struct {
	status int
	text   string
}

func (e *refusedError) Error() string { return e.text }

// errStalled ends a transfer that does not go on.
var errStalled = fmt.Errorf("not a byte went for %v", stallTimeout)

// sendOnce sends the disk as a stream, which is compressed while it goes.
func (j *job) sendOnce(ctx context.Context, to *url.URL, disk string, size int64, percent *atomic.Int64) error {
	c, err := j.d.vim(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	defer watch.Stop()
	r, w := io.Pipe()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := vmdk.WriteStream(ctx, &watched{w, watch}, diskFile, disk, size, j.diskIdentity(), func(n int64) {
			percent.Store(99 * n / max(1, size))
			j.out.Progress("upload", n, size)
		})
		return errors.Join(err, w.CloseWithError(err))
	})
	g.Go(func() (err error) {
		defer func() { r.CloseWithError(errors.Join(err, io.ErrClosedPipe)) }()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), r)
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-vnd.vmware-streamVmdk")
		return c.Do(ctx, req, func(res *http.Response) error {
			if res.StatusCode >= http.StatusMultipleChoices {
				return &refusedError{res.StatusCode, "the answer is " + res.Status}
			}
			return nil
		})
	})
	if err := g.Wait(); err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
			return cause
		}
		return err
	}
	return nil
}

// watched is a writer whose use keeps a watch from ending.
type watched struct {
	w     io.Writer
	watch *time.Timer
}

// Write implements io.Writer.
func (w *watched) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	w.watch.Reset(stallTimeout)
	return n, err
}
