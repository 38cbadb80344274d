package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// requestTries is how often a request is sent again.
const requestTries = 6

// backoffMost is the longest pause before a request is sent again, unless the service asks
// for more.
const backoffMost = 20 * time.Second

// A retrier sends requests again that a service was too busy for, or that got lost.
type retrier struct{ pause time.Duration }

// wait pauses before try n.
func (r retrier) wait(ctx context.Context, n uint, header http.Header) error {
	pause := min(r.pause<<min(n-1, 16), backoffMost)
	if s, err := strconv.Atoi(header.Get("Retry-After")); err == nil && s > 0 {
		pause = max(pause, min(time.Duration(s)*time.Second, 2*time.Minute))
	}
	return wait.Pause(ctx, pause)
}

// throttled is a gophercloud.RetryBackoffFunc: a request that was not taken has done
// nothing.
func (r retrier) throttled(ctx context.Context, answer *gophercloud.ErrUnexpectedResponseCode, _ error, n uint) error {
	return r.wait(ctx, n, answer.ResponseHeader)
}

// retry is a gophercloud.RetryFunc. A body that was read is not there any more: whoever
// sends one sees to it.
func (r retrier) retry(ctx context.Context, method, _ string, o *gophercloud.RequestOpts, err error, n uint) error {
	answer := gophercloud.ErrUnexpectedResponseCode{}
	if errors.As(err, &answer) && answer.Actual/100 != 5 || n > requestTries || ctx.Err() != nil || o.RawBody != nil {
		return err
	}
	switch again := method == http.MethodGet || method == http.MethodHead || method == http.MethodDelete || method == http.MethodPatch; {
	case answer.Actual == http.StatusNotImplemented:
		return err
	case again, answer.Actual == http.StatusServiceUnavailable && answer.ResponseHeader.Get("Retry-After") != "":
		if waitErr := r.wait(ctx, n, answer.ResponseHeader); waitErr != nil {
			return errors.Join(err, waitErr)
		}
		return nil
	}
	return err
}

// judge marks the failure of a request that makes something, after which it may be there
// all the same.
func judge(err error) error {
	answer := gophercloud.ErrUnexpectedResponseCode{}
	if err == nil || errors.As(err, &answer) && answer.Actual/100 == 4 {
		return explain(err)
	}
	return resource.Unclear(explain(err))
}

// missing reports whether a service says that something is not there.
func missing(err error) bool { return gophercloud.ResponseCodeIs(err, http.StatusNotFound) }

// denied reports whether a service says that these credentials may not do something.
func denied(err error) bool { return gophercloud.ResponseCodeIs(err, http.StatusForbidden) }

// conflict reports whether a service says that something is there already, or in use.
func conflict(err error) bool { return gophercloud.ResponseCodeIs(err, http.StatusConflict) }

// unless returns err, but nil where it says that something is not there.
func unless(err error) error {
	if missing(err) {
		return nil
	}
	return explain(err)
}

// A serviceError is an answer of a service in its own words.
type serviceError struct {
	text  string
	cause error
}

func (e *serviceError) Error() string { return e.text }
func (e *serviceError) Unwrap() error { return e.cause }

// explain puts the words of a service in the place of gophercloud's.
func explain(err error) error {
	answer := gophercloud.ErrUnexpectedResponseCode{}
	if known := (*serviceError)(nil); err == nil || errors.As(err, &known) || !errors.As(err, &answer) {
		var again *gophercloud.ErrUnableToReauthenticate
		if errors.As(err, &again) {
			return &serviceError{fmt.Sprintf("the token has expired, and cannot be renewed: %v", explain(again.ErrReauth)), err}
		}
		return err
	}
	text := fmt.Sprintf("%d %s", answer.Actual, http.StatusText(answer.Actual))
	if said := message(answer.Body); said != "" {
		text += ": " + said
	}
	if answer.Actual == http.StatusUnauthorized {
		text += " (check the user, the password or credential, and the project)"
	}
	if id := answer.ResponseHeader.Get("X-Openstack-Request-Id"); id != "" && answer.Actual/100 == 5 {
		text += " (" + id + ")"
	}
	return &serviceError{text, err}
}

// tags are those of HTML.
var tags = lazyregexp.New(`(?s)<(head|style)>.*?</(head|style)>|<[^>]*>`)

// messageMost is how much of an answer that is no JSON is shown.
const messageMost = 300

// message returns what an answer says: {"itemNotFound": {"message": …}} of Nova and Cinder,
// {"error": {…}} of Keystone, {"NeutronError": {…}}, or a page of Glance's.
func message(body []byte) string {
	var wrapped map[string]json.RawMessage
	if json.Unmarshal(body, &wrapped) == nil {
		for _, text := range wrapped {
			var inner struct{ Message string }
			if json.Unmarshal(text, &inner) == nil && inner.Message != "" {
				return inner.Message
			}
		}
		var plain struct{ Message string }
		if json.Unmarshal(body, &plain) == nil && plain.Message != "" {
			return plain.Message
		}
	}
	text := strings.Join(strings.Fields(tags.ReplaceAllStringFunc(string(body), func(string) string { return " " })), " ")
	return text[:min(len(text), messageMost)]
}

// A tripper says how long a body is that it knows: servers behind some proxies take none
// of unknown length.
type tripper struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t *tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if b, ok := r.Body.(*body); ok {
		r = r.Clone(r.Context())
		r.ContentLength = b.size
	}
	return t.next.RoundTrip(r)
}

// A body is that of an upload.
type body struct {
	io.Reader
	size int64
}

// Seek implements io.Seeker: it refuses. The request before may still be reading, so that
// who sends a body again, such as with a renewed token, begins with another one.
func (b *body) Seek(int64, int) (int64, error) {
	return 0, errors.New("the upload was broken off")
}

// Close implements io.Closer: the file is its owner's.
func (b *body) Close() error { return nil }
