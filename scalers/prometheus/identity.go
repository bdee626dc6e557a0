package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
)

// managedParams are the identities of the managed services. They count where no
// authModes are given.
type managedParams struct {
	scaler.AWSIdentity

	// AWSRegion is the region that requests are signed for.
	AWSRegion string `param:"awsRegion" from:"trigger,auth"`
	// GoogleKey is the JSON key of a service account of Google Cloud.
	GoogleKey string `param:"GoogleApplicationCredentials" from:"auth"`
	// GoogleKeyOfEnv is the same key, in a variable of the scale target.
	GoogleKeyOfEnv string `param:"credentials" from:"env"`
	// GoogleKeyFile is a file with that key, on the family's side: one that its
	// --readable-files lists, named by a variable of the scale target. It is
	// read when the connection is opened.
	GoogleKeyFile string `param:"credentialsFromEnvFile" from:"env"`
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

// service is where the identity leads: to AWS when there is anything of it,
// else to Google, else to Azure, as in KEDA.
func (p managedParams) service() managed {
	switch {
	case p.Provider == "aws", p.Provider == "aws-eks", p.IdentityOwner == "operator",
		p.AWSRoleARN != "", p.AWSAccessKeyID != "", p.AWSSecretAccessKey != "":
		return awsService
	case p.Provider == "gcp", p.GoogleKey != "", p.GoogleKeyOfEnv != "", p.GoogleKeyFile != "":
		return googleService
	case p.Provider == "azure-workload":
		return azureService
	default:
		return noService
	}
}

// googleKey is the first key there is, "" for the process's own identity.
//
// Source: spec scalers README, section 3.17.
func (p managedParams) googleKey() (string, error) {
	key := cmp.Or(p.GoogleKey, p.GoogleKeyOfEnv)
	if p.Provider == "gcp" || key != "" || p.GoogleKeyFile == "" {
		return key, nil
	}
	content, err := scaler.ReadFile(p.GoogleKeyFile)
	if err != nil {
		return "", fmt.Errorf("credentialsFromEnvFile: %w", err)
	}
	return string(content), nil
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
		_, err := p.azureScope()
		return err
	default:
		return nil
	}
}

// azureResources are where Azure's managed Prometheus is, by cloud.
//
// Source: https://learn.microsoft.com/azure/azure-monitor/metrics/prometheus-api-promql
var azureResources = map[string]string{
	"azurepubliccloud":       "https://prometheus.monitor.azure.com",
	"azurecloud":             "https://prometheus.monitor.azure.com",
	"azureusgovernmentcloud": "https://prometheus.monitor.azure.us",
	"azureusgovernment":      "https://prometheus.monitor.azure.us",
	"azurechinacloud":        "https://prometheus.monitor.azure.cn",
}

func (p managedParams) azureScope() (string, error) {
	cloud := strings.ToLower(p.Cloud)
	resource, known := azureResources[cloud]
	switch {
	case cloud == "private" && p.AzureResource == "":
		return "", errors.New("azureManagedPrometheusResourceURL: is required with cloud Private")
	case cloud == "private":
		resource = p.AzureResource
	case !known:
		return "", fmt.Errorf("cloud: %q is not one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, Private", p.Cloud)
	}
	return strings.TrimSuffix(resource, "/") + "/.default", nil
}

// googleScope lets a token read metrics and nothing else.
const googleScope = "https://www.googleapis.com/auth/monitoring.read"

// authorize returns what adds the identity to requests, and what to do after a
// refusal, so that the next request comes with a fresh one; both may be nil. It
// is called with the ctx of an Open or a dial.
func (p managedParams) authorize(ctx context.Context) (add func(*http.Request) error, refused func(), err error) {
	switch p.service() {
	case awsService:
		config, err := p.Config(ctx, p.AWSRegion)
		return signing(config), func() { amazon.Forget(config) }, err
	case googleService:
		key, err := p.googleKey()
		if err != nil {
			return nil, nil, err
		}
		account, err := scaler.GoogleAccount(ctx, key, googleScope)
		return bearing(func(context.Context) (string, error) {
			token, err := account.Token()
			if err != nil {
				return "", google.Failure("managed Prometheus of Google", err)
			}
			return token.AccessToken, nil
		}), nil, err
	case azureService:
		scope, err := p.azureScope()
		if err != nil {
			return nil, nil, err
		}
		credential, err := scaler.AzureCredential(ctx, p.PodIdentity)
		return bearing(func(ctx context.Context) (string, error) {
			token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
			if err != nil {
				return "", azure.Failure("managed Prometheus of Azure", err)
			}
			return token.Token, nil
		}), nil, err
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
