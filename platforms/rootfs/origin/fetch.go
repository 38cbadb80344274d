package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// A client downloads over HTTP, patiently.
type client struct {
	http    *http.Client
	retries int
	pause   time.Duration // before the second try; doubled each time
}

func newClient() *client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = time.Minute
	// Bytes must arrive as they are: digests are of the compressed file.
	t.DisableCompression = true
	return &client{http: &http.Client{Transport: t}, retries: 3, pause: time.Second}
}

// useProxy makes proxy, if not "", the one that is asked where the environment
// names none.
func (c *client) useProxy(proxy string) {
	u, err := url.Parse(proxy)
	if proxy == "" || err != nil {
		return
	}
	c.http.Transport.(*http.Transport).Proxy = func(r *http.Request) (*url.URL, error) {
		if p, err := http.ProxyFromEnvironment(r); p != nil || err != nil {
			return p, err
		}
		return u, nil
	}
}

// close drops idle connections.
func (c *client) close() { c.http.CloseIdleConnections() }

// A statusError is an answer that is not the file.
type statusError struct {
	url  string
	code int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("get %s: %d %s", redacted(e.url), e.code, http.StatusText(e.code))
}

// redacted returns the URL for messages, without the password in it.
func redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "a malformed URL" // it may hold one all the same
	}
	return u.Redacted()
}

// passing reports whether it may be otherwise at the next try.
func passing(err error) bool {
	if s := (*statusError)(nil); errors.As(err, &s) {
		return s.code >= 500 || s.code == http.StatusTooManyRequests || s.code == http.StatusRequestTimeout
	}
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// get opens url from the byte offset on. from is where the body really begins:
// offset, or 0 if the server does not know ranges. size is that of the whole
// file, or -1. There is no second try.
func (c *client) get(ctx context.Context, url string, offset int64) (body io.ReadCloser, from, size int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, 0, err
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, 0, 0, err
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return resp.Body, 0, resp.ContentLength, nil
	case resp.StatusCode == http.StatusPartialContent && offset > 0:
		size = -1
		if resp.ContentLength >= 0 {
			size = offset + resp.ContentLength
		}
		return resp.Body, offset, size, nil
	}
	return nil, 0, 0, errors.Join(&statusError{url, resp.StatusCode}, resp.Body.Close())
}

// download writes url to w, going on where a broken connection left off.
// restart is called when the file has to be written from its beginning again.
func (c *client) download(ctx context.Context, url string, w io.Writer, restart func() error, progress func(done, total int64)) error {
	var done int64
	pause := c.pause
	for try := 0; ; try++ {
		n, err := c.attempt(ctx, url, w, done, restart, progress)
		done = n
		if err == nil || try == c.retries || !passing(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// attempt is one try of download. It returns how much of the file is written.
func (c *client) attempt(ctx context.Context, url string, w io.Writer, done int64, restart func() error, progress func(done, total int64)) (n int64, err error) {
	body, from, size, err := c.get(ctx, url, done)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if from != done {
		if err := restart(); err != nil {
			return 0, err
		}
	}
	n, err = io.Copy(w, &meter{r: body, done: from, total: max(size, 0), tell: progress})
	if n += from; err == nil && size >= 0 && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, fmt.Errorf("get %s: %w", redacted(url), err)
	}
	return n, nil
}

// A meter tells how much of r was read.
type meter struct {
	r           io.Reader
	done, total int64
	tell        func(done, total int64) // may be nil
	told        time.Time
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.done += int64(n)
	if m.tell != nil && (err != nil || time.Since(m.told) > 100*time.Millisecond) {
		m.told = time.Now()
		m.tell(m.done, m.total)
	}
	return n, err
}
