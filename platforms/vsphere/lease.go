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

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/wait"
)

// Of the protocol NFC: a lease holds the objects that are transferred until it is
// completed or aborted, or until nobody has told its progress for some time. A disk that is
// POSTed as a stream is written to its place while it comes.
const (
	leaseTimeout  = 10 * time.Minute // until the server is ready for a transfer
	leaseProgress = 40               // how often it is told the progress at least, in pauses
	transferTries = 4
	transferPause = 2 * time.Second
	stallTimeout  = 2 * time.Minute // in which not a byte goes
)

// A member is a file of a machine that is imported.
type member struct {
	file types.OvfFileItem // as the server asks for it
	size int64             // bytes, as write tells what is done; 0 where nobody knows

	// write writes the member, from its beginning each time, and tells how many bytes
	// are done.
	write func(ctx context.Context, w io.Writer, done func(n int64)) error
}

// An importing is a machine that is imported.
type importing struct {
	d       *driver
	target  *target
	folder  types.ManagedObjectReference
	spec    *types.VirtualMachineImportSpec
	files   []types.OvfFileItem // that the server asks for
	members []member            // one for each of these
	out     platforms.Logger
}

// run imports the machine and sends its members. It returns the virtual machine, which is
// gone where it fails: a lease that is aborted removes it.
func (i *importing) run(ctx context.Context) (ref types.ManagedObjectReference, err error) {
	c, err := i.d.vim(ctx)
	if err != nil {
		return ref, err
	}
	var host *object.HostSystem
	if i.target.host != nil {
		host = object.NewHostSystem(c, *i.target.host)
	}
	lease, err := object.NewResourcePool(c, i.target.pool).ImportVApp(ctx, i.spec, object.NewFolder(c, i.folder), host)
	if err != nil {
		return ref, fmt.Errorf("import: %w", explain(err))
	}
	info, err := i.d.leaseReady(ctx, lease)
	if err == nil {
		err = i.send(ctx, lease, info)
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
	loop := wait.Loop{What: "the server's readiness for the transfer", Timeout: leaseTimeout, Backoff: wait.Backoff{Next: d.pause / 8, Most: 8 * d.pause}}
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

// send uploads the members, one after the other, and tells the lease of it so that it
// goes on. A network that fails has one member sent again, and none before it.
func (i *importing) send(ctx context.Context, lease *nfc.Lease, info *types.HttpNfcLeaseInfo) error {
	var total int64
	for _, m := range i.members {
		total += max(1, m.size)
	}
	return i.d.transfer(ctx, lease, info, func(ctx context.Context, percent *atomic.Int64) error {
		var before int64
		for _, m := range i.members {
			to, err := i.address(ctx, info, m.file)
			if err != nil {
				return err
			}
			tell := func(n int64) {
				percent.Store(99 * (before + min(n, m.size)) / total)
				i.out.Progress("upload "+m.file.Path, n, m.size)
			}
			err = i.d.transferTries(ctx, "upload "+m.file.Path+" to "+to.Host, i.out, func(ctx context.Context) error {
				return i.sendOnce(ctx, to, m, tell)
			})
			if err != nil {
				return err
			}
			before += max(1, m.size)
		}
		return nil
	})
}

// transfer calls do, and tells the lease of it meanwhile so that it goes on. do is given
// where it says how many percent are done.
func (d *driver) transfer(ctx context.Context, lease *nfc.Lease, info *types.HttpNfcLeaseInfo, do func(ctx context.Context, percent *atomic.Int64) error) error {
	var percent atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	g.Go(func() error { return d.tellLease(ctx, lease, info, &percent) })
	g.Go(func() error {
		defer stop()
		return do(ctx, &percent)
	})
	return g.Wait()
}

// address returns where a file is uploaded to.
func (i *importing) address(ctx context.Context, info *types.HttpNfcLeaseInfo, file types.OvfFileItem) (*url.URL, error) {
	c, err := i.d.vim(ctx)
	if err != nil {
		return nil, err
	}
	for _, device := range info.DeviceUrl {
		if file.DeviceId != device.ImportKey {
			continue
		}
		u, err := c.ParseURL(device.Url)
		if err != nil {
			return nil, fmt.Errorf("the address for %s: %w", file.Path, err)
		}
		if device.SslThumbprint != "" { // of the host, which the server vouches for
			c.SetThumbprint(u.Host, device.SslThumbprint)
		}
		return u, nil
	}
	return nil, fmt.Errorf("the server names no address for %s", file.Path)
}

// tellLease tells a lease the progress until ctx ends. A lease that is gone ends the
// transfer.
func (d *driver) tellLease(ctx context.Context, lease *nfc.Lease, info *types.HttpNfcLeaseInfo, percent *atomic.Int64) error {
	every := leaseProgress * d.pause
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
		case n == transferTries || errors.As(err, new(*sourceError)) || errors.As(err, &refused) && refused.status < http.StatusInternalServerError:
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

// sendOnce sends a member while it is written: to a disk as a stream, or to a file that
// it makes.
func (i *importing) sendOnce(ctx context.Context, to *url.URL, m member, tell func(n int64)) error {
	r := request{method: http.MethodPost, to: to, size: -1, header: http.Header{"Content-Type": {"application/x-vnd.vmware-streamVmdk"}}}
	if m.file.Create {
		r.method, r.header = http.MethodPut, http.Header{"Content-Type": {"application/octet-stream"}, "Overwrite": {"t"}}
	}
	return i.d.send(ctx, r, func(ctx context.Context, w io.Writer) error { return m.write(ctx, w, tell) })
}

// A request sends a body that is written meanwhile.
type request struct {
	method string
	to     *url.URL
	size   int64 // bytes of the body; less than 0 where nobody knows
	header http.Header
}

// A sourceError says that what was to be sent cannot be read, which another try does not
// change.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// send sends what write writes. A connection on which nothing goes ends with errStalled.
func (d *driver) send(ctx context.Context, req request, write func(ctx context.Context, w io.Writer) error) error {
	c, err := d.vim(ctx)
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
		to := &watched{w: w, watch: watch}
		err := write(ctx, to)
		if err != nil && !to.failed && ctx.Err() == nil {
			err = &sourceError{err}
		}
		return errors.Join(err, w.CloseWithError(err))
	})
	g.Go(func() (err error) {
		defer func() { r.CloseWithError(errors.Join(err, io.ErrClosedPipe)) }()
		hr, err := http.NewRequestWithContext(ctx, req.method, req.to.String(), r)
		if err != nil {
			return err
		}
		hr.Header, hr.ContentLength = req.header, req.size
		return c.Do(ctx, hr, func(res *http.Response) error {
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
	w      io.Writer
	watch  *time.Timer
	failed bool
}

// Write implements io.Writer.
func (w *watched) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	w.failed = w.failed || err != nil
	w.watch.Reset(stallTimeout)
	return n, err
}
