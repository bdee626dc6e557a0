// Package amazon is who a family is to AWS, and AWS Secrets Manager as a store
// of parameters.
package amazon

import (
	"cmp"
	"context"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	static "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// Identity is who asks AWS: keys when there are any, else a role, else the
// process itself with what its Pod was given (a web identity, EKS Pod Identity,
// the environment, the node).
type Identity struct {
	// Region is where requests and their signatures go.
	Region string
	// RegionOf is the parameter that the region is of; awsRegion when empty.
	RegionOf string
	// AccessKeyID and SecretAccessKey are static keys; SessionToken makes them
	// temporary ones.
	AccessKeyID, SecretAccessKey, SessionToken string
	// RoleARN is a role to assume as the process, with ExternalID if given.
	RoleARN, ExternalID string
	// Federated tries the token that is projected into the Pod first, so that
	// the role may trust the ServiceAccount directly.
	Federated bool
}

// Own reports whether it is the family's, as a role is that the family assumes.
func (i Identity) Own() bool { return i.AccessKeyID == "" }

// checkRegion refuses what would make another host of the address that a region
// is a part of. Whoever stands in for AWS may be in a region of any name, but
// nothing of the family is sent there.
func (i Identity) checkRegion() error {
	if i.Region == "" || lending.IsRegion(i.Region) || !i.Own() && len(validation.IsDNS1123Label(i.Region)) == 0 {
		return nil
	}
	return words.Errorf(codes.InvalidArgument, "%s: %q is not a region of AWS", cmp.Or(i.RegionOf, "awsRegion"), i.Region)
}

const (
	// sessionName is what CloudTrail shows of an assumed role. Trust policies
	// may name it, so it is KEDA's.
	sessionName = "KEDA"
	// federatedLimit bounds the first way into a role.
	federatedLimit = 5 * time.Second
	// renewal is how long before their end credentials are renewed.
	renewal = 3 * time.Minute
)

// Config returns a configuration whose credentials are renewed ahead of their
// end; while renewing fails, the old ones serve until they really end. Nothing
// is asked before the first request. Credentials are obtained with the settings
// of client, possibly at a link-local address.
func (i Identity) Config(ctx context.Context, client *http.Client) (aws.Config, error) {
	if err := i.checkRegion(); err != nil {
		return aws.Config{}, err
	}
	options := []func(*config.LoadOptions) error{
		config.WithRegion(i.Region), config.WithHTTPClient(alike(client)), config.WithCredentialsCacheOptions(ahead),
		config.WithLogger(logging.Nop{}), // it would write to stderr what the errors say anyway
		config.WithAPIOptions([]func(*middleware.Stack) error{boundAnswers}),
	}
	if i.AccessKeyID != "" {
		options = append(options, config.WithCredentialsProvider(
			static.NewStaticCredentialsProvider(i.AccessKeyID, i.SecretAccessKey, i.SessionToken)))
	}
	own, err := config.LoadDefaultConfig(ctx, options...) //dials:through client
	if err != nil {
		return aws.Config{}, words.Errorf(codes.FailedPrecondition, "aws configuration of the process: %v", err)
	}
	if i.AccessKeyID == "" && i.RoleARN != "" {
		own.Credentials = aws.NewCredentialsCache(&last{provider: i.role(own)}, ahead)
	}
	if cache, is := own.Credentials.(*aws.CredentialsCache); is && i.AccessKeyID == "" {
		own.Credentials = &kept{cache: cache}
	}
	own.APIOptions = nil // the clients of services have bounds of their own
	return own, nil
}

// boundAnswers bounds the answers of those who give credentials. The library
// wants its own kind of client for these, around which nothing can be.
func boundAnswers(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("BoundAnswers",
		func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleDeserialize(ctx, in)
			if answer, ok := out.RawResponse.(*smithyhttp.Response); ok && answer != nil && answer.Body != nil {
				answer.Body = outbound.BoundBody(answer.Body, budget.Logins)
			}
			return out, metadata, err
		}), middleware.After)
}

// alike is a client of the one kind that the library can add the authorities of
// AWS_CA_BUNDLE to, with the TLS, proxy and timeout of client. It keeps no
// connection: who logs in does so once an hour.
func alike(client *http.Client) aws.HTTPClient {
	//dials:through client's dialer
	return awshttp.NewBuildableClient().WithTimeout(client.Timeout).WithTransportOptions(func(own *http.Transport) {
		own.DisableKeepAlives = true
		given := outbound.Pool(client.Transport)
		if given == nil {
			return
		}
		own.Proxy, own.DialContext, own.MaxResponseHeaderBytes = given.Proxy, given.DialContext, given.MaxResponseHeaderBytes
		if given.TLSClientConfig != nil {
			own.TLSClientConfig = given.TLSClientConfig.Clone()
		}
		if pool := own.TLSClientConfig.RootCAs; pool != nil {
			own.TLSClientConfig.RootCAs = pool.Clone()
		}
	})
}

func ahead(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewal }

// role gives credentials of RoleARN.
func (i Identity) role(own aws.Config) aws.CredentialsProvider {
	client := sts.NewFromConfig(own)
	plain := stscreds.NewAssumeRoleProvider(client, i.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = sessionName
		if i.ExternalID != "" {
			o.ExternalID = &i.ExternalID
		}
	})
	file := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE")
	if !i.Federated || file == "" {
		return plain
	}
	web := stscreds.NewWebIdentityRoleProvider(client, i.RoleARN, stscreds.IdentityTokenFile(file),
		func(o *stscreds.WebIdentityRoleOptions) { o.RoleSessionName = sessionName })
	return federated{web: web, plain: plain}
}

// federated tries the projected token first and then the plain way.
type federated struct{ web, plain aws.CredentialsProvider }

func (f federated) Retrieve(ctx context.Context) (aws.Credentials, error) {
	limited, cancel := context.WithTimeout(ctx, federatedLimit)
	defer cancel()
	got, first := f.web.Retrieve(limited)
	if first == nil {
		return got, nil
	}
	got, err := f.plain.Retrieve(ctx)
	if err != nil {
		second := status.Convert(Failure(err))
		return got, words.Errorf(second.Code(), "%s, after %s", second.Message(), status.Convert(Failure(first)).Message())
	}
	return got, nil
}

// last remembers when credentials really end: the cache renews them before.
type last struct {
	provider aws.CredentialsProvider

	mu  sync.Mutex
	got aws.Credentials
}

func (l *last) Retrieve(ctx context.Context) (aws.Credentials, error) {
	got, err := l.provider.Retrieve(ctx)
	if err == nil {
		l.set(got)
	}
	return got, err
}

func (l *last) set(got aws.Credentials) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = got
}

// HandleFailToRefresh implements aws.HandleFailRefreshCredentialsCacheStrategy.
func (l *last) HandleFailToRefresh(_ context.Context, _ aws.Credentials, err error) (aws.Credentials, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.got.HasKeys() && !l.got.Expired() {
		return l.got, nil
	}
	return aws.Credentials{}, err
}
