package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// managedParams are the identities of the managed services. They count where no
// authModes are given.
type managedParams struct {
	amazon.Params
	google.KeyParams

	// AWSRegion is the region that requests are signed for.
	AWSRegion string `param:"awsRegion" from:"trigger,auth"`
	// Cloud is the cloud of Azure: AzurePublicCloud, AzureUSGovernmentCloud,
	// AzureChinaCloud or Private.
	Cloud string `param:"cloud" default:"AzurePublicCloud"`
	// AzureResource is the resource that tokens of Azure are for; cloud Private
	// needs it.
	AzureResource string `param:"azureManagedPrometheusResourceURL"`
}

// managed is a managed service whose identity counts.
type managed int

const (
	noService managed = iota
	azureService
	googleService
	awsService
)

// OwnIdentity names the parameter by which the trigger uses an identity of the
// family: a key in a file is one, too.
func (p managedParams) OwnIdentity() string {
	if own := p.OwnKey(); own != "" && p.service() == googleService {
		return own
	}
	return p.Params.OwnIdentity()
}

// service is where the identity leads: to AWS when there is anything of it,
// else to Google, else to Azure, as in KEDA.
func (p managedParams) service() managed {
	switch {
	case p.Provider == "aws", p.Provider == "aws-eks", p.IdentityOwner == "operator",
		p.AWSRoleARN != "", p.AWSAccessKeyID != "", p.AWSSecretAccessKey != "":
		return awsService
	case p.Provider == "gcp", p.HasKey():
		return googleService
	case p.Provider == "azure-workload":
		return azureService
	default:
		return noService
	}
}

// signedHeader reports whether a header says whom a request is for, or who sends it.
func signedHeader(name string) bool {
	name = strings.ToLower(name)
	return name == "host" || name == "authorization" || strings.HasPrefix(name, "x-amz-") || strings.HasPrefix(name, "x-goog-")
}

// checkHeaders refuses headers that would have the identity say more than that
// this server is asked: a signature for another host is good there.
func (p managedParams) checkHeaders(headers map[string]string) error {
	if p.service() == noService {
		return nil
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if signedHeader(name) {
			problems = append(problems, fmt.Errorf("customHeaders: %s cannot be given with an identity of a cloud", name))
		}
	}
	return errors.Join(problems...)
}

// check holds the identity against what its service needs.
func (p managedParams) check() error {
	switch p.service() {
	case awsService:
		problems := []error{p.CheckAWS()}
		if p.AWSRegion == "" {
			problems = append(problems, errors.New("awsRegion: is required to sign requests for AWS"))
		}
		return errors.Join(problems...)
	case azureService:
		return p.checkCloud()
	default:
		return nil
	}
}

// azureClouds are where Azure's managed Prometheus is, by cloud.
var azureClouds = map[string]lending.Service{
	"azurepubliccloud":       lending.AzureMonitor,
	"azurecloud":             lending.AzureMonitor,
	"azureusgovernmentcloud": lending.AzureMonitorUSGovernment,
	"azureusgovernment":      lending.AzureMonitorUSGovernment,
	"azurechinacloud":        lending.AzureMonitorChina,
}

// private is a cloud whose addresses the trigger gives.
const private = "private"

func (p managedParams) checkCloud() error {
	cloud := strings.ToLower(p.Cloud)
	if cloud == private && p.AzureResource == "" {
		return errors.New("azureManagedPrometheusResourceURL: is required with cloud Private")
	}
	if _, known := azureClouds[cloud]; !known && cloud != private {
		return fmt.Errorf("cloud: %q is not one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, Private", p.Cloud)
	}
	return nil
}

// azureLoan is leave to send the server a token of Azure.
func (p managedParams) azureLoan(server *url.URL, verified bool) (lending.Loan, error) {
	cloud := strings.ToLower(p.Cloud)
	if cloud == private {
		return lending.AzureMonitor.LendFor("serverAddress", server.Hostname(), "azureManagedPrometheusResourceURL", p.AzureResource)
	}
	return azureClouds[cloud].Lend("serverAddress", verified, server.Hostname())
}

// googleAccount is the trigger's own, if it has a key, else the family's.
func (p managedParams) googleAccount(ctx context.Context, server *url.URL, verified bool) (*google.Account, error) {
	keys := p.KeyParams
	if p.Provider == "gcp" {
		keys.GoogleKeyFile = ""
	}
	return keys.Account(ctx, lending.GoogleMonitoring, "serverAddress", server.Hostname(), verified)
}

// authorize returns what adds the identity to requests to a server, and what to
// do after an answer that is a refusal, perhaps of the identity, so that the next
// request comes with a fresh one; both may be nil. It is called with the ctx of an Open or a dial.
func (p managedParams) authorize(ctx context.Context, server *url.URL, unsafe bool) (add func(*http.Request) error, refused func(*http.Response), err error) {
	verified := server.Scheme == "https" && !unsafe
	switch p.service() {
	case awsService:
		if err := p.Lend(lending.AmazonManagedPrometheus, "serverAddress", server, verified); err != nil {
			return nil, nil, err
		}
		config, err := p.Config(ctx, p.AWSRegion, lending.AmazonManagedPrometheus)
		return signing(config), func(answer *http.Response) { amazon.ForgetAfter(config, answer) }, err
	case googleService:
		account, err := p.googleAccount(ctx, server, verified)
		return bearing(func(ctx context.Context) (string, error) {
			token, err := account.TokenIn(ctx)
			if err != nil {
				return "", google.Failure("managed Prometheus of Google", err)
			}
			return token.AccessToken, nil
		}), nil, err
	case azureService:
		loan, err := p.azureLoan(server, verified)
		if err != nil {
			return nil, nil, err
		}
		tokens, err := azure.TokensFor(ctx, p.PodIdentity, loan)
		return bearing(func(ctx context.Context) (string, error) { return tokens.Token(ctx, "managed Prometheus of Azure") }), nil, err
	default:
		return nil, nil, nil
	}
}

// bearing adds a token, which its source keeps and renews.
func bearing(token func(context.Context) (string, error)) func(*http.Request) error {
	return func(request *http.Request) error {
		text, err := token(request.Context())
		if err == nil {
			request.Header.Set("Authorization", "Bearer "+text)
		}
		return err
	}
}

// nothing is the SHA-256 of an empty body.
const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// signing adds a signature of version 4 for Amazon Managed Service for
// Prometheus.
//
// Source: https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-secure-querying.html
func signing(config aws.Config) func(*http.Request) error {
	signer := v4.NewSigner()
	return func(request *http.Request) error {
		credentials, err := config.Credentials.Retrieve(request.Context())
		if err != nil {
			return amazon.Failure(err)
		}
		return signer.SignHTTP(request.Context(), credentials, request, nothing, "aps", config.Region, time.Now())
	}
}
