package vsphere

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/sts"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms"
)

// A connection is the session with vCenter or ESXi. It is safe for concurrent use.
type connection struct {
	options *Options
	pause   time.Duration // before a request is sent again
	secret  func(platforms.Secret) ([]byte, error)

	mu     sync.Mutex
	client *vim25.Client // nil before the first use
	logout func(ctx context.Context) error
	login  login
}

// vim returns the client of the vSphere API, which has logged in.
func (c *connection) vim(ctx context.Context) (*vim25.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil {
		return c.client, nil
	}
	u, err := c.url()
	if err != nil {
		return nil, err
	}
	login, err := c.credentials(u)
	if err != nil {
		return nil, err
	}
	s, err := c.transport(u)
	if err != nil {
		return nil, err
	}
	raw, err := vim25.NewClient(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", u.Host, c.untrusted(ctx, u, err))
	}
	manager := session.NewManager(raw)
	enter := func(ctx context.Context) error {
		if err := login.vim(ctx, raw, manager); err != nil {
			return fmt.Errorf("log in to %s: %w", u.Host, refused(err))
		}
		return nil
	}
	if err := enter(ctx); err != nil {
		return nil, err
	}
	client := &vim25.Client{Client: s, ServiceContent: raw.ServiceContent}
	client.RoundTripper = &tripper{next: s, login: enter, pause: c.pause}
	c.client, c.logout, c.login = client, manager.Logout, login
	return client, nil
}

// logoutTimeout is how long the end of a session may take.
const logoutTimeout = 20 * time.Second

// Close ends the session, of which vCenter has a limited number.
func (c *connection) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		return nil
	}
	c.client = nil
	ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
	defer cancel()
	if err := c.logout(ctx); err != nil && !is[*types.NotAuthenticated](err) {
		return fmt.Errorf("vsphere: log out: %w", err)
	}
	return nil
}

// url returns the address of the API, with what GOVC_URL says of the user.
func (c *connection) url() (*url.URL, error) {
	address := cmp.Or(c.options.Server, os.Getenv("GOVC_URL"))
	if address == "" {
		return nil, errors.New("server: no server is given, and GOVC_URL is not set")
	}
	u, err := soap.ParseURL(address)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("server: %q is not the address of a server, such as vcenter.example.com", address)
	}
	if u.Scheme != "https" && !c.insecure() {
		return nil, fmt.Errorf("server: %s: the password would be sent in the clear: want https, or insecure = True", u.Host)
	}
	return u, nil
}

func (c *connection) insecure() bool {
	if c.options.Thumbprint != "" {
		return false
	}
	env, err := strconv.ParseBool(cmp.Or(os.Getenv("GOVC_INSECURE"), "false"))
	return c.options.Insecure || err == nil && env
}

// A login is who logs in: with a token, or as a user.
type login struct{ token, user, password string }

// vim begins the session of a client of the vSphere API.
func (l login) vim(ctx context.Context, raw *vim25.Client, m *session.Manager) error {
	if l.token != "" {
		return m.LoginByToken(raw.WithHeader(ctx, soap.Header{Security: &sts.Signer{Token: l.token}}))
	}
	return m.Login(ctx, url.UserPassword(l.user, l.password))
}

// rest begins the session of a client of the REST API.
func (l login) rest(ctx context.Context, c *rest.Client) error {
	if l.token != "" {
		return c.LoginByToken(c.WithSigner(ctx, &sts.Signer{Token: l.token}))
	}
	return c.Login(ctx, url.UserPassword(l.user, l.password))
}

// credentials returns how to log in.
func (c *connection) credentials(u *url.URL) (l login, err error) {
	password, _ := u.User.Password()
	user := cmp.Or(c.options.ServerUser, u.User.Username(), os.Getenv("GOVC_USERNAME"))
	password = cmp.Or(password, os.Getenv("GOVC_PASSWORD"))
	token := os.Getenv("GOVC_LOGIN_TOKEN")
	u.User = nil
	for _, s := range []struct {
		name platforms.Secret
		to   *string
	}{{c.options.ServerPassword, &password}, {c.options.ServerToken, &token}} {
		if s.name == "" {
			continue
		}
		value, err := c.secret(s.name)
		if err != nil {
			return l, err
		}
		*s.to = string(value)
	}
	switch {
	case token != "" && (c.options.ServerToken != "" || user == ""):
		return login{token: token}, nil
	case user == "":
		return l, errors.New("server_user: no user is given, and GOVC_USERNAME is not set")
	case password == "":
		return l, fmt.Errorf("server_password: no password of %s is given, and GOVC_PASSWORD is not set", user)
	}
	return login{user: user, password: password}, nil
}

// transport returns the connection that requests take.
func (c *connection) transport(u *url.URL) (*soap.Client, error) {
	s := soap.NewClient(u, c.insecure())
	s.UserAgent = "bake"
	if files := os.Getenv("GOVC_TLS_CA_CERTS"); files != "" {
		if err := s.SetRootCAs(files); err != nil {
			return nil, fmt.Errorf("GOVC_TLS_CA_CERTS: %w", err)
		}
	}
	if want := c.options.Thumbprint; want != "" {
		s.DefaultTransport().TLSClientConfig = &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(t tls.ConnectionState) error {
			return compare(s, want, t.PeerCertificates[0])
		}}
	} else if err := s.LoadThumbprints(os.Getenv("GOVC_TLS_KNOWN_HOSTS")); err != nil {
		return nil, fmt.Errorf("GOVC_TLS_KNOWN_HOSTS: %w", err)
	}
	return s, nil
}

// compare verifies a certificate by its thumbprint: that of the server, or of a host that
// the server vouches for.
func compare(s *soap.Client, want string, cert *x509.Certificate) error {
	sums := []string{soap.ThumbprintSHA256(cert), soap.ThumbprintSHA1(cert)}
	for _, sum := range sums {
		if strings.EqualFold(sum, want) || s.KnownThumbprint(sum) {
			return nil
		}
	}
	return fmt.Errorf("thumbprint: the certificate, of %q, has the thumbprint %s, and not %s", cert.Subject, sums[0], want)
}

// untrusted adds to the error of a certificate that nobody vouches for which one it is.
func (c *connection) untrusted(ctx context.Context, u *url.URL, err error) error {
	if !soap.IsCertificateUntrusted(err) {
		return err
	}
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // it is looked at, and nothing is sent
	conn, dialErr := dialer.DialContext(ctx, "tcp", u.Host)
	if dialErr != nil {
		return err
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	return fmt.Errorf("%w\nits certificate, of %q, has the thumbprint %s: if that is right, give it as thumbprint, or the authority's certificate in GOVC_TLS_CA_CERTS",
		err, state.PeerCertificates[0].Subject, soap.ThumbprintSHA256(state.PeerCertificates[0]))
}

// refused explains why a login was.
func refused(err error) error {
	switch {
	case is[*types.InvalidLogin](err):
		return errors.New("the user, the password or the token is wrong")
	case is[*types.NoPermission](err):
		return errors.New("the user may not log in")
	}
	return err
}

// is reports whether an error is, or has as its cause, a fault of a type.
func is[F types.BaseMethodFault](err error) bool {
	var f F
	if err == nil {
		return false
	}
	_, ok := fault.As(err, &f)
	return ok
}
