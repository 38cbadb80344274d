package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// A tripper sends requests, and logs in again when the session has ended.
type tripper struct {
	next  soap.RoundTripper
	login func(ctx context.Context) error
	pause time.Duration // before a request is sent again

	mu     sync.Mutex
	logins int
}

// RoundTrip implements soap.RoundTripper.
func (t *tripper) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	t.mu.Lock()
	had := t.logins
	t.mu.Unlock()
	err := t.send(ctx, req, res)
	if err == nil && !hidden(res) || err != nil && !is[*types.NotAuthenticated](err) {
		return err
	}
	if loginErr := t.renew(ctx, had); loginErr != nil {
		return fmt.Errorf("the session has ended, and cannot be renewed: %w", loginErr)
	}
	empty(res)
	return t.send(ctx, req, res)
}

// hidden reports whether an answer leaves out properties because the session has ended.
func hidden(res soap.HasFault) bool {
	var list []types.ObjectContent
	switch body := res.(type) {
	case *methods.RetrievePropertiesBody:
		if body.Res != nil {
			list = body.Res.Returnval
		}
	case *methods.RetrievePropertiesExBody:
		if body.Res != nil && body.Res.Returnval != nil {
			list = body.Res.Returnval.Objects
		}
	}
	for _, o := range list {
		for _, p := range o.MissingSet {
			if _, ok := p.Fault.Fault.(*types.NotAuthenticated); ok {
				return true
			}
		}
	}
	return false
}

// renew logs in, unless another request has done so since there were had logins.
func (t *tripper) renew(ctx context.Context, had int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.logins != had {
		return nil
	}
	if err := t.login(ctx); err != nil {
		return err
	}
	t.logins++
	return nil
}

// tries is how often a request that only reads is sent where the network fails.
const tries = 4

func (t *tripper) send(ctx context.Context, req, res soap.HasFault) error {
	pause := wait.Backoff{Next: 2 * t.pause, Double: true, Jitter: true}
	for n := 1; ; n++ {
		err := t.next.RoundTrip(ctx, req, res)
		if err == nil || n == tries || !reads(req) || !lost(err) || ctx.Err() != nil {
			return err
		}
		if waitErr := pause.Wait(ctx); waitErr != nil {
			return errors.Join(err, waitErr)
		}
		empty(res)
	}
}

// empty makes an answer that has been filled ready for another one.
func empty(res soap.HasFault) { reflect.ValueOf(res).Elem().SetZero() }

// reads reports whether a request changes nothing.
func reads(req soap.HasFault) bool {
	switch req.(type) {
	case *methods.RetrievePropertiesBody, *methods.RetrievePropertiesExBody, *methods.ContinueRetrievePropertiesExBody,
		*methods.FindByUuidBody, *methods.FindByInventoryPathBody, *methods.RetrieveServiceContentBody, *methods.CreateContainerViewBody:
		return true
	}
	return false
}

// lost reports whether an error leaves it open whether the server has done what a request
// asked for, and not what the server says of it.
func lost(err error) bool {
	if soap.IsSoapFault(err) || soap.IsVimFault(err) || errors.As(err, new(task.Error)) {
		return false
	}
	var network net.Error
	return errors.As(err, &network) && !soap.IsCertificateUntrusted(err)
}

// judge says of the failure of a request that makes something what is to be made of it.
func judge(err error) error {
	if err != nil && (lost(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return resource.Unclear(err)
	}
	return err
}
