package ebs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"bake.build/bake/platforms/wait"
)

// Times of requests. Those who upload from outside of EC2 have seen requests
// that never end: each try has its bound, and all tries of one block together.
const (
	tryTime   = 20 * time.Second
	totalTime = 2 * time.Minute
	pauseMost = 5 * time.Second
)

// refused are the errors that no further try changes.
var refused = []string{
	"AccessDeniedException", "UnauthorizedOperation", "UnrecognizedClientException", "InvalidSignatureException",
	"ExpiredTokenException", "ExpiredToken", "ValidationException", "ServiceQuotaExceededException",
	"ConcurrentLimitExceededException", "ConflictException", "NotImplemented",
}

// throttling are the errors that ask for fewer requests.
var throttling = []string{"ThrottlingException", "RequestThrottledException", "RequestLimitExceeded", "Throttling", "SlowDown"}

// isThrottled reports whether the service asks for fewer requests.
func isThrottled(err error) bool {
	api := smithy.APIError(nil)
	if errors.As(err, &api) && slices.Contains(throttling, api.ErrorCode()) {
		return true
	}
	resp := (*smithyhttp.ResponseError)(nil)
	return errors.As(err, &resp) && resp.HTTPStatusCode() == http.StatusTooManyRequests
}

// IsFinal reports whether another try cannot succeed.
func IsFinal(err error) bool {
	api := smithy.APIError(nil)
	return errors.As(err, &api) && slices.Contains(refused, api.ErrorCode())
}

// A tryer repeats requests.
type tryer struct {
	gate  *gate
	pause time.Duration // before the second try; it doubles
	total time.Duration
}

// do calls send until it succeeds, fails for good or takes too long. Each call is
// one request with a context of its own.
func (t *tryer) do(ctx context.Context, what string, send func(ctx context.Context) error) error {
	late := fmt.Errorf("%s: no success within %v", what, t.total)
	ctx, cancel := context.WithTimeoutCause(ctx, t.total, late)
	defer cancel()
	pause := wait.Backoff{Next: t.pause, Most: pauseMost, Double: true, Jitter: true}
	for {
		if err := t.gate.enter(ctx); err != nil {
			return err
		}
		one, end := context.WithTimeout(ctx, tryTime)
		err := send(one)
		end()
		t.gate.leave(isThrottled(err))
		switch {
		case err == nil:
			return nil
		case IsFinal(err):
			return fmt.Errorf("%s: %w", what, err)
		case ctx.Err() != nil:
			if context.Cause(ctx) == late {
				return fmt.Errorf("%w: %w", late, err)
			}
			return context.Cause(ctx)
		}
		if cause := pause.Wait(ctx); cause != nil {
			return fmt.Errorf("%w: %w", cause, err)
		}
	}
}
