package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/aws/smithy-go/logging"

	disks "bake.build/bake/platforms/aws/ebs"
)

// logins are the credentials of profiles, which all drivers share: the code of a device
// serves once.
type logins struct {
	mu        sync.Mutex
	providers map[string]aws.CredentialsProvider
}

// of returns the credentials that a profile has already, or takes these.
func (l *logins) of(profile string, fresh aws.CredentialsProvider) aws.CredentialsProvider {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have := l.providers[profile]; have != nil {
		return have
	}
	if l.providers == nil {
		l.providers = map[string]aws.CredentialsProvider{}
	}
	l.providers[profile] = fresh
	return fresh
}

// clients are the clients of one account, by region.
type clients struct {
	options Options
	logins  *logins
	ask     func(ctx context.Context, question string) (string, error)
	backoff time.Duration // the longest pause between the tries of a request
	blocks  *awshttp.BuildableClient

	mu     sync.Mutex
	config *aws.Config // nil before the first use

	whoMu sync.Mutex
	who   string // the account's number; "" before it was asked for
}

// Of requests but those of the package ebs.
const (
	requestTries = 8 // at most
	backoffMost  = 20 * time.Second
)

func newClients(o Options, l *logins, ask func(context.Context, string) (string, error)) *clients {
	return &clients{options: o, logins: l, ask: ask, backoff: backoffMost, blocks: awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		// The SDK keeps ten idle connections; all others would be made anew for
		// every block.
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 2*disks.MaxInFlight, disks.MaxInFlight
	})}
}

// load reads the AWS configuration once, and finds out whether there are
// credentials.
func (c *clients) load(ctx context.Context) (aws.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.config != nil {
		return *c.config, nil
	}
	o := []func(*config.LoadOptions) error{
		config.WithLogger(logging.Nop{}), // errors say what goes wrong
		config.WithRetryer(func() aws.Retryer {
			return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
				o.StandardOptions = append(o.StandardOptions, func(s *retry.StandardOptions) {
					s.MaxAttempts, s.MaxBackoff = requestTries, c.backoff
				})
			})
		}),
	}
	o = append(o, config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
		o.TokenProvider = func() (string, error) {
			// A code may be needed again hours later, when this context has ended.
			return c.ask(context.WithoutCancel(ctx), "MFA code of "+aws.ToString(o.SerialNumber))
		}
	}))
	if c.options.Region != "" {
		o = append(o, config.WithRegion(c.options.Region))
	}
	if c.options.Profile != "" {
		o = append(o, config.WithSharedConfigProfile(c.options.Profile))
	}
	if c.options.Endpoint != "" {
		o = append(o, config.WithBaseEndpoint(c.options.Endpoint))
	}
	cfg, err := config.LoadDefaultConfig(ctx, o...)
	if err != nil {
		return cfg, fmt.Errorf("aws: read the configuration: %w", err)
	}
	if cfg.Region == "" {
		return cfg, errors.New(`aws: no region: set AWS_REGION, or give the option region, as in aws(region = "eu-west-1") or --option region=eu-west-1`)
	}
	cfg.Credentials = c.logins.of(c.options.Profile, cfg.Credentials)
	for _, role := range strings.Fields(c.options.Role) {
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role,
			func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "bake" }))
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		if ctx.Err() != nil {
			return cfg, context.Cause(ctx)
		}
		return cfg, fmt.Errorf("aws: no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with aws sso login: %w", err)
	}
	c.config = &cfg
	return cfg, nil
}

// account returns the number of the account that the credentials are of. Everybody
// may ask for that.
func (c *clients) account(ctx context.Context) (string, error) {
	cfg, err := c.load(ctx)
	if err != nil {
		return "", err
	}
	c.whoMu.Lock()
	defer c.whoMu.Unlock()
	if c.who == "" {
		out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return "", fmt.Errorf("aws: find out which account the credentials are of: %w", err)
		}
		c.who = aws.ToString(out.Account)
	}
	return c.who, nil
}

// region returns the platform's own region.
func (c *clients) region(ctx context.Context) (string, error) {
	cfg, err := c.load(ctx)
	return cfg.Region, err
}

func (c *clients) ec2(ctx context.Context, region string) (*ec2.Client, error) {
	cfg, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	return ec2.NewFromConfig(cfg, func(o *ec2.Options) { o.Region = region }), nil
}

// ebs returns a client that repeats nothing: see the package ebs.
func (c *clients) ebs(ctx context.Context, region string) (*ebs.Client, error) {
	cfg, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	return ebs.NewFromConfig(cfg, func(o *ebs.Options) {
		o.Region, o.Retryer, o.HTTPClient = region, aws.NopRetryer{}, c.blocks
	}), nil
}

func (c *clients) kms(ctx context.Context, region string) (*kms.Client, error) {
	cfg, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	return kms.NewFromConfig(cfg, func(o *kms.Options) { o.Region = region }), nil
}

func (c *clients) autoscaling(ctx context.Context, region string) (*autoscaling.Client, error) {
	cfg, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	return autoscaling.NewFromConfig(cfg, func(o *autoscaling.Options) { o.Region = region }), nil
}

func (c *clients) ssm(ctx context.Context, region string) (*ssm.Client, error) {
	cfg, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	return ssm.NewFromConfig(cfg, func(o *ssm.Options) { o.Region = region }), nil
}

// A pager is one of the SDK's, with pages P.
type pager[P, O any] interface {
	HasMorePages() bool
	NextPage(ctx context.Context, change ...func(*O)) (P, error)
}

// listed returns all that the pages of a list have.
func listed[T, P, O any](ctx context.Context, pages pager[P, O], of func(P) []T) (list []T, err error) {
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, of(page)...)
	}
	return list, nil
}
