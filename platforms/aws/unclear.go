package aws

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"bake.build/bake/platforms/resource"
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

// judge marks a failure after which something may have been made all the same.
func (t *tries) judge(err error) error {
	if t.lost.Load() {
		return resource.Unclear(err)
	}
	return err
}

// unmade ends the record of something that was not made, as far as can be told.
func (t *tries) unmade(ctx context.Context, r *resource.Record) error {
	if t.lost.Load() {
		return r.Look(ctx)
	}
	return r.Forget()
}

// fresh is an option of requests about what was made just now, which is not known
// everywhere at AWS at once: they are repeated.
func fresh(o *ec2.Options) {
	o.Retryer = retry.AddWithErrorCodes(o.Retryer,
		"InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidGroup.NotFound", "InvalidGroupId.NotFound", "InvalidKeyPair.NotFound", "InvalidInstanceID.NotFound",
		"InvalidSnapshot.NotFound", "InvalidVpcID.NotFound", "InvalidSubnetID.NotFound", "InvalidInternetGatewayID.NotFound", "InvalidRouteTableID.NotFound", "InvalidID")
}
