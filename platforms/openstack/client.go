package openstack

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"bake.build/bake/platforms"
)

// clients are the clients of one cloud, by region.
type clients struct {
	options *Options
	secret  func(platforms.Secret) ([]byte, error)
	pause   time.Duration // before a request is sent again

	mu      sync.Mutex
	session *session // nil before the first use

	servicesMu sync.Mutex
	services   map[string]*gophercloud.ServiceClient // by the service and the region; each asks once which versions there are
}

// A session is a login.
type session struct {
	provider *gophercloud.ProviderClient
	endpoint gophercloud.EndpointOpts
	region   string
	regions  []string // that have images
	project  string   // its id
	url      string   // of the identity service
}

// login logs in once.
func (c *clients) login(ctx context.Context) (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil {
		return c.session, nil
	}
	auth, endpoint, conf, err := c.configuration()
	if err != nil {
		return nil, fmt.Errorf("openstack: %w", err)
	}
	provider, err := openstack.NewClient(auth.IdentityEndpoint)
	if err != nil {
		return nil, fmt.Errorf("openstack: auth_url: %w", err)
	}
	provider.UseTokenLock()
	provider.HTTPClient = http.Client{Transport: &tripper{transport(conf)}}
	provider.UserAgent.Prepend("bake")
	r := retrier{c.pause}
	provider.RetryFunc, provider.RetryBackoffFunc, provider.MaxBackoffRetries = r.retry, r.throttled, requestTries
	if err := openstack.AuthenticateV3(ctx, provider, &auth, gophercloud.EndpointOpts{}); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("openstack: log in at %s: %w", auth.IdentityEndpoint, explain(err))
	}
	s := &session{provider: provider, endpoint: endpoint, url: auth.IdentityEndpoint}
	if err := s.look(); err != nil {
		return nil, fmt.Errorf("openstack: %s: %w", auth.IdentityEndpoint, err)
	}
	c.session = s
	return s, nil
}

// transport is one whose connections serve many uploads at once.
func transport(conf *tls.Config) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig, t.MaxIdleConnsPerHost, t.ResponseHeaderTimeout = conf, maxRegions, 0
	t.WriteBufferSize = chunk
	t.DialContext = (&net.Dialer{Timeout: 20 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	return t
}

// A token is the answer to a login, whatever it was by.
type token interface {
	ExtractProject() (*tokens.Project, error)
	ExtractServiceCatalog() (*tokens.ServiceCatalog, error)
}

// look reads what the token says: the project, and the regions of the catalog.
func (s *session) look() error {
	result, ok := s.provider.GetAuthResult().(token)
	if !ok {
		return errors.New("the identity service did not say what the token is for")
	}
	project, err := result.ExtractProject()
	if err != nil {
		return err
	}
	if project == nil {
		return errors.New("the token is for no project: give the option project, or set OS_PROJECT_NAME")
	}
	s.project = project.ID
	catalog, err := result.ExtractServiceCatalog()
	if err != nil {
		return err
	}
	for _, service := range catalog.Entries {
		if service.Type != "image" {
			continue
		}
		for _, e := range service.Endpoints {
			if region := cmp.Or(e.Region, e.RegionID); !slices.Contains(s.regions, region) {
				s.regions = append(s.regions, region)
			}
		}
	}
	slices.Sort(s.regions)
	s.region = s.endpoint.Region
	switch {
	case len(s.regions) == 0:
		return errors.New("the catalog has no image service")
	case s.region == "" && len(s.regions) > 1:
		return fmt.Errorf("region: there are several: %q", s.regions)
	case s.region == "":
		s.region = s.regions[0]
	case !slices.Contains(s.regions, s.region):
		return fmt.Errorf("region: there is no %s: want one of %q", s.region, s.regions)
	}
	return nil
}

// configuration is what the options, the cloud's entry in clouds.yaml and the environment
// say, in this order.
func (c *clients) configuration() (auth gophercloud.AuthOptions, endpoint gophercloud.EndpointOpts, conf *tls.Config, err error) {
	o := c.options
	if cloud := cmp.Or(o.Cloud, os.Getenv("OS_CLOUD")); cloud != "" {
		if auth, endpoint, conf, err = clouds.Parse(clouds.WithCloudName(cloud)); err != nil {
			return auth, endpoint, nil, fmt.Errorf("cloud %q: %w", cloud, err)
		}
	} else {
		auth, endpoint = environment()
	}
	auth.AllowReauth = true
	if err := c.overlay(&auth, &endpoint); err != nil {
		return auth, endpoint, nil, err
	}
	if auth.IdentityEndpoint == "" {
		return auth, endpoint, nil, errors.New(`no cloud: give the option cloud, as in openstack(cloud = "lab"), set OS_CLOUD, or set OS_AUTH_URL and what belongs to it`)
	}
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return auth, endpoint, conf, c.certificates(conf)
}

// environment is what the variables OS_* say.
func environment() (gophercloud.AuthOptions, gophercloud.EndpointOpts) {
	get := os.Getenv
	auth := gophercloud.AuthOptions{
		IdentityEndpoint: get("OS_AUTH_URL"), Username: get("OS_USERNAME"), UserID: get("OS_USER_ID"), Password: get("OS_PASSWORD"), Passcode: get("OS_PASSCODE"),
		TokenID:                 get("OS_TOKEN"),
		ApplicationCredentialID: get("OS_APPLICATION_CREDENTIAL_ID"), ApplicationCredentialName: get("OS_APPLICATION_CREDENTIAL_NAME"),
		ApplicationCredentialSecret: get("OS_APPLICATION_CREDENTIAL_SECRET"),
		DomainID:                    get("OS_USER_DOMAIN_ID"), DomainName: get("OS_USER_DOMAIN_NAME"),
	}
	scope := gophercloud.AuthScope{ProjectID: get("OS_PROJECT_ID")}
	if name := get("OS_PROJECT_NAME"); scope.ProjectID == "" && name != "" {
		scope.ProjectName, scope.DomainID, scope.DomainName = name, get("OS_PROJECT_DOMAIN_ID"), get("OS_PROJECT_DOMAIN_NAME")
	}
	if scope != (gophercloud.AuthScope{}) {
		auth.Scope = &scope
	}
	return auth, gophercloud.EndpointOpts{Region: get("OS_REGION_NAME"), Availability: availability(get("OS_INTERFACE"))}
}

func availability(name string) gophercloud.Availability {
	switch name {
	case "internal", "internalURL":
		return gophercloud.AvailabilityInternal
	case "admin", "adminURL":
		return gophercloud.AvailabilityAdmin
	}
	return gophercloud.AvailabilityPublic
}

// overlay puts what the options say over what is known.
func (c *clients) overlay(auth *gophercloud.AuthOptions, endpoint *gophercloud.EndpointOpts) error {
	o := c.options
	auth.IdentityEndpoint, endpoint.Region = cmp.Or(o.AuthURL, auth.IdentityEndpoint), cmp.Or(o.Region, endpoint.Region)
	if o.Interface != "" {
		endpoint.Availability = availability(o.Interface)
	}
	if o.CloudUser != "" || o.Credential != "" || o.CloudToken != "" { // another identity than the cloud's
		auth.Username, auth.UserID, auth.Password, auth.TokenID = o.CloudUser, "", "", ""
		auth.ApplicationCredentialID, auth.ApplicationCredentialName, auth.ApplicationCredentialSecret = o.Credential, "", ""
	}
	if o.UserDomain != "" {
		auth.DomainID, auth.DomainName = "", o.UserDomain
	}
	for _, s := range []struct {
		field  *string
		secret platforms.Secret
	}{{&auth.Password, o.CloudPassword}, {&auth.ApplicationCredentialSecret, o.CredentialSecret}, {&auth.TokenID, o.CloudToken}} {
		if s.secret == "" {
			continue
		}
		value, err := c.secret(s.secret)
		if err != nil {
			return err
		}
		*s.field = string(value)
	}
	scope := gophercloud.AuthScope{}
	if auth.Scope != nil {
		scope = *auth.Scope
	}
	if isID.MatchString(o.Project) {
		scope = gophercloud.AuthScope{ProjectID: o.Project}
	} else if o.Project != "" {
		scope = gophercloud.AuthScope{ProjectName: o.Project, DomainID: scope.DomainID, DomainName: scope.DomainName}
	}
	if o.ProjectDomain != "" {
		scope.DomainID, scope.DomainName = "", o.ProjectDomain
	}
	complete(auth, &scope)
	return nil
}

// complete leaves out what does not go together, and puts in domains that nobody has named.
// A token stays as it is: with its scope it can be used and not renewed.
func complete(auth *gophercloud.AuthOptions, scope *gophercloud.AuthScope) {
	auth.TenantID, auth.TenantName, auth.Scope = "", "", nil
	switch {
	case auth.TokenID != "":
		auth.AllowReauth = false
		auth.DomainID, auth.DomainName = "", ""
	case auth.UserID != "" || auth.ApplicationCredentialID != "":
		auth.DomainID, auth.DomainName = "", ""
	case auth.DomainID == "" && auth.DomainName == "":
		auth.DomainName = "Default"
	}
	switch {
	case auth.ApplicationCredentialID != "":
		auth.Username, auth.UserID, auth.Password = "", "", ""
	case auth.ApplicationCredentialName != "":
		auth.Password = ""
	case scope.ProjectID != "" || scope.ProjectName != "":
		if scope.ProjectName != "" && scope.DomainID == "" && scope.DomainName == "" {
			scope.DomainName = "Default"
		}
		auth.Scope = scope
	}
}

// certificates puts into conf what the options and the environment say of TLS.
func (c *clients) certificates(conf *tls.Config) error {
	o := c.options
	if o.Insecure {
		conf.InsecureSkipVerify = true // the user asked for it
	}
	if path := cmp.Or(o.CACert, os.Getenv("OS_CACERT")); path != "" && (o.CACert != "" || conf.RootCAs == nil) {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("ca_cert: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("ca_cert: %s has no certificate", path)
		}
	}
	cert, key := cmp.Or(o.ClientCert, os.Getenv("OS_CERT")), cmp.Or(o.ClientKey, os.Getenv("OS_KEY"))
	if cert != "" && (o.ClientCert != "" || len(conf.Certificates) == 0) {
		pair, err := tls.LoadX509KeyPair(cert, cmp.Or(key, cert))
		if err != nil {
			return fmt.Errorf("client_cert: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// An opener makes the client of a service.
type opener func(*gophercloud.ProviderClient, gophercloud.EndpointOpts) (*gophercloud.ServiceClient, error)

// client returns the client of a service in a region.
func (c *clients) client(ctx context.Context, service, region string, open opener) (*gophercloud.ServiceClient, error) {
	s, err := c.login(ctx)
	if err != nil {
		return nil, err
	}
	c.servicesMu.Lock()
	defer c.servicesMu.Unlock()
	key := service + " " + region
	if have := c.services[key]; have != nil {
		return have, nil
	}
	e := s.endpoint
	e.Region = region
	client, err := open(s.provider, e)
	if err != nil {
		return nil, fmt.Errorf("%s: find the %s service: %w", region, service, explain(err))
	}
	if c.services == nil {
		c.services = map[string]*gophercloud.ServiceClient{}
	}
	c.services[key] = client
	return client, nil
}

func (c *clients) images(ctx context.Context, region string) (*gophercloud.ServiceClient, error) {
	return c.client(ctx, "image", region, openstack.NewImageV2)
}

func (c *clients) compute(ctx context.Context, region string) (*gophercloud.ServiceClient, error) {
	return c.client(ctx, "compute", region, openstack.NewComputeV2)
}

func (c *clients) network(ctx context.Context, region string) (*gophercloud.ServiceClient, error) {
	return c.client(ctx, "network", region, openstack.NewNetworkV2)
}

func (c *clients) volumes(ctx context.Context, region string) (*gophercloud.ServiceClient, error) {
	return c.client(ctx, "volume", region, openstack.NewBlockStorageV3)
}

// listed returns all that a service lists in a region. doing begins the error.
func listed[T any](ctx context.Context, client func(ctx context.Context, region string) (*gophercloud.ServiceClient, error), region, doing string,
	list func(*gophercloud.ServiceClient) pagination.Pager, extract func(pagination.Page) ([]T, error)) ([]T, error) {
	c, err := client(ctx, region)
	if err != nil {
		return nil, err
	}
	pages, err := list(c).AllPages(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, explain(err))
	}
	return extract(pages)
}

// optional has nothing be listed where the catalog of a region does not have the service.
func optional[T any](list []T, err error) ([]T, error) {
	if missingService(err) {
		return nil, nil
	}
	return list, err
}

// missingService reports whether the catalog of a region does not have a service.
func missingService(err error) bool {
	var none gophercloud.ErrEndpointNotFound
	var other *gophercloud.ErrEndpointNotFound
	return errors.As(err, &none) || errors.As(err, &other)
}

// home returns the platform's own region.
func (c *clients) home(ctx context.Context) (string, error) {
	s, err := c.login(ctx)
	if err != nil {
		return "", err
	}
	return s.region, nil
}

// project returns the id of the project.
func (c *clients) project(ctx context.Context) (string, error) {
	s, err := c.login(ctx)
	if err != nil {
		return "", err
	}
	return s.project, nil
}
