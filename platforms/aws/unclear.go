package aws

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// A request whose answer is lost may have been done, and the SDK sends it once more:
// what comes back then, a refusal included, tells nothing of the first one. So who asks
// for something to be made watches its request, and looks before it forgets.

// tries watches how the tries of one request went.
type tries struct{ lost atomic.Bool }

// watch is an option of a request.
func (t *tries) watch(o *ec2.Options) {
	each := middleware.FinalizeMiddlewareFunc("bake:tries", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		out, md, err := next.HandleFinalize(ctx, in)
		if err != nil && !refused(err) {
			t.lost.Store(true)
		}
		return out, md, err
	})
	o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error { return s.Finalize.Insert(each, "Retry", middleware.After) })
}

// refused reports whether AWS has refused to do something. Any other error, such as a
// connection that breaks, leaves it open whether it was done.
func refused(err error) bool {
	resp := (*smithyhttp.ResponseError)(nil)
	if !errors.As(err, &resp) {
		return false
	}
	status := resp.HTTPStatusCode()
	return status/100 == 4 || status == http.StatusServiceUnavailable && hasCode(err, "RequestLimitExceeded", "Throttling", "ThrottlingException")
}

// lookPatience is how long is looked for what a request may have made.
const lookPatience = time.Minute

// lookTimes is how often at least, before it counts as not to be seen.
const lookTimes = 4

// unmade settles the record of something after the request for it failed. Where AWS has
// refused, nothing was made. Otherwise it is looked for and removed; where it is not
// seen the record stays, for gc.
func (d *driver) unmade(ctx context.Context, t *tries, kind, region, id string, done func() error) error {
	if !t.lost.Load() {
		return done()
	}
	interrupted := ctx.Err() != nil // the user waits
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookPatience)
	defer cancel()
	looks := lookTimes
	if interrupted {
		looks = 2
	}
	for n, pause := 0, d.pause; n < looks; n, pause = n+1, pause*2 {
		got, err := d.Collect(ctx, d.record("", d.host.Ledger().Build(), kind, region, id))
		if err != nil {
			return err
		}
		if got.Removed {
			return done()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// fresh is an option of requests about what was made just now, which is not known
// everywhere at AWS at once: they are repeated.
func fresh(o *ec2.Options) {
	o.Retryer = retry.AddWithErrorCodes(o.Retryer,
		"InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidGroup.NotFound", "InvalidGroupId.NotFound", "InvalidKeyPair.NotFound", "InvalidInstanceID.NotFound",
		"InvalidSnapshot.NotFound", "InvalidVpcID.NotFound", "InvalidSubnetID.NotFound", "InvalidInternetGatewayID.NotFound", "InvalidRouteTableID.NotFound", "InvalidID")
}
