package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/wait"
)

// A Client downloads over HTTP, patiently.
type Client struct {
	http *http.Client

	Retries int           // tries after the first
	Pause   time.Duration // before the second try; doubled each time
	Stall   time.Duration // after which a connection that brings nothing is broken off
	Offline bool          // every request fails with platforms.ErrOffline
}

// NewClient makes a client. Its fields may be changed before it is used.
func NewClient() *Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = time.Minute
	c := &Client{http: &http.Client{Transport: t}, Retries: 3, Pause: time.Second, Stall: time.Minute}
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &patient{conn, c.Stall}, nil
	}
	// Bytes must arrive as they are: digests are of the compressed file.
	t.DisableCompression = true
	return c
}

// A patient connection fails when nothing has come for a while.
type patient struct {
	net.Conn
	stall time.Duration
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(p.stall)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// Transport returns what the client makes its requests by, for libraries that make
// their own.
func (c *Client) Transport() http.RoundTripper { return c.http.Transport }

// UseProxy makes proxy, if not "", the one that is asked where the environment
// names none.
func (c *Client) UseProxy(proxy string) {
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

// RefuseDowngrade makes a redirect from https to http an error: for what has no digest
// that says what it is.
func (c *Client) RefuseDowngrade() {
	c.http.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("more than 10 redirects")
		}
		if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
			return fmt.Errorf("redirect to %s: its bytes are not protected on their way", r.URL.Redacted())
		}
		return nil
	}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A StatusError is an answer that is not the file.
type StatusError struct {
	URL  string
	Code int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("get %s: %d %s", Redacted(e.URL), e.Code, http.StatusText(e.Code))
}

// Redacted returns the URL for messages, without the password in it.
func Redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "a malformed URL" // it may hold one all the same
	}
	return u.Redacted()
}

// passing reports whether it may be otherwise at the next try.
func passing(err error) bool {
	if s := (*StatusError)(nil); errors.As(err, &s) {
		return s.Code >= 500 || s.Code == http.StatusTooManyRequests || s.Code == http.StatusRequestTimeout
	}
	return !errors.Is(err, platforms.ErrOffline) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// Get opens url from the byte offset on. from is where the body really begins:
// offset, or 0 if the server does not know ranges. size is that of the whole
// file, or -1. There is no second try.
func (c *Client) Get(ctx context.Context, url string, offset int64) (body io.ReadCloser, from, size int64, err error) {
	if c.Offline {
		return nil, 0, 0, fmt.Errorf("get %s: %w", Redacted(url), platforms.ErrOffline)
	}
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
	return nil, 0, 0, errors.Join(&StatusError{url, resp.StatusCode}, resp.Body.Close())
}

// Download writes url to w, going on where a broken connection left off.
// restart is called when the file has to be written from its beginning again.
func (c *Client) Download(ctx context.Context, url string, w io.Writer, restart func() error, progress func(done, total int64)) error {
	var done int64
	pause := wait.Backoff{Next: c.Pause, Double: true}
	for try := 0; ; try++ {
		n, err := c.attempt(ctx, url, w, done, restart, progress)
		done = n
		if err == nil || try == c.Retries || !passing(err) || ctx.Err() != nil {
			return err
		}
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
}

// attempt is one try of download. It returns how much of the file is written.
func (c *Client) attempt(ctx context.Context, url string, w io.Writer, done int64, restart func() error, progress func(done, total int64)) (n int64, err error) {
	body, from, size, err := c.Get(ctx, url, done)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if from != done {
		if err := restart(); err != nil {
			return 0, err
		}
	}
	n, err = io.Copy(w, &Meter{R: body, Done: from, Total: max(size, 0), Tell: progress})
	if n += from; err == nil && size >= 0 && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, fmt.Errorf("get %s: %w", Redacted(url), err)
	}
	return n, nil
}

// A Meter tells how much of r was read.
type Meter struct {
	R           io.Reader
	Done, Total int64
	Tell        func(done, total int64) // may be nil

	told time.Time
}

func (m *Meter) Read(p []byte) (int, error) {
	n, err := m.R.Read(p)
	m.Done += int64(n)
	if m.Tell != nil && (err != nil || time.Since(m.told) > 100*time.Millisecond) {
		m.told = time.Now()
		m.Tell(m.Done, m.Total)
	}
	return n, err
}
