package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"
	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// awsParams is the AWS identity that signs the token of MSK IAM.
type awsParams struct {
	scaler.PodIdentity

	// AWSRegion is the region of the MSK cluster.
	AWSRegion string `param:"awsRegion"`
	// IdentityOwner says who signs: operator is this process, pod a role or
	// keys that the trigger brings.
	IdentityOwner string `param:"identityOwner" default:"pod" enum:"pod,operator"`
	// AWSRoleARN is a role to assume.
	AWSRoleARN string `param:"awsRoleArn" from:"auth"`
	// AWSAccessKeyID is the id of a static key.
	AWSAccessKeyID string `param:"awsAccessKeyID" alias:"awsAccessKeyId" from:"auth,trigger,env"`
	// AWSSecretAccessKey is the secret of a static key.
	AWSSecretAccessKey string `param:"awsSecretAccessKey" from:"auth,env"`
	// AWSSessionToken belongs to temporary keys.
	AWSSessionToken string `param:"awsSessionToken" from:"auth"`
}

// requireMSK checks what MSK IAM needs.
func (p awsParams) requireMSK(secured bool) error {
	var problems []error
	if !secured {
		problems = append(problems, errors.New("tls: must be enable with aws_msk_iam"))
	}
	if p.AWSRegion == "" {
		problems = append(problems, errors.New("awsRegion: is required with aws_msk_iam"))
	}
	if p.needsKeys() {
		if p.AWSAccessKeyID == "" {
			problems = append(problems, errors.New("awsAccessKeyID: is required without a role or pod identity"))
		}
		if p.AWSSecretAccessKey == "" {
			problems = append(problems, errors.New("awsSecretAccessKey: is required without a role or pod identity"))
		}
	}
	return errors.Join(problems...)
}

func (p awsParams) needsKeys() bool {
	return p.Provider != "aws" && p.IdentityOwner != "operator" && p.AWSRoleARN == ""
}

// sessionName is what CloudTrail shows of an assumed role. Trust policies may
// name it, so it is KEDA's.
const sessionName = "KEDA"

// provider gives the credentials of the identity.
//
// Source: README of the scaler specifications, section 3.15.
func (p awsParams) provider(ctx context.Context) (aws.CredentialsProvider, error) {
	if p.needsKeys() {
		return credentials.NewStaticCredentialsProvider(p.AWSAccessKeyID, p.AWSSecretAccessKey, p.AWSSessionToken), nil
	}
	own, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(p.AWSRegion))
	if err != nil {
		return nil, fmt.Errorf("load aws config: %w", err)
	}
	switch {
	case p.Provider == "aws":
		role := p.RoleARN
		if role == "" {
			role = p.AWSRoleARN
		}
		if role == "" {
			return own.Credentials, nil
		}
		return federated{web: webIdentity(own, role), plain: p.assume(own, role)}, nil
	case p.IdentityOwner == "operator":
		return own.Credentials, nil
	default:
		return p.assume(own, p.AWSRoleARN), nil
	}
}

// assume takes a role on with the identity of this process.
func (p awsParams) assume(own aws.Config, role string) aws.CredentialsProvider {
	return stscreds.NewAssumeRoleProvider(sts.NewFromConfig(own), role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = sessionName
		if p.ExternalID != "" {
			o.ExternalID = &p.ExternalID
		}
	})
}

// webIdentity takes a role on with the token projected into this Pod; nil
// where there is none.
func webIdentity(own aws.Config, role string) aws.CredentialsProvider {
	file := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE")
	if file == "" {
		return nil
	}
	return stscreds.NewWebIdentityRoleProvider(sts.NewFromConfig(own), role, stscreds.IdentityTokenFile(file),
		func(o *stscreds.WebIdentityRoleOptions) { o.RoleSessionName = sessionName })
}

// webIdentityLimit bounds the first way into a role.
const webIdentityLimit = 5 * time.Second

// federated tries the projected token first and then the plain way.
type federated struct {
	web   aws.CredentialsProvider // may be nil
	plain aws.CredentialsProvider
}

func (f federated) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if f.web != nil {
		limited, cancel := context.WithTimeout(ctx, webIdentityLimit)
		defer cancel()
		if got, err := f.web.Retrieve(limited); err == nil {
			return got, nil
		}
	}
	return f.plain.Retrieve(ctx)
}

// mechanism logs in with a token that the identity signs. It is OAUTHBEARER,
// which unlike AWS_MSK_IAM honours the region that the user names.
func (p awsParams) mechanism(ctx context.Context) (sasl.Mechanism, error) {
	provider, err := p.provider(ctx)
	if err != nil {
		return nil, err
	}
	signed := &signedToken{region: p.AWSRegion, provider: aws.NewCredentialsCache(provider)}
	return withToken(signed.get, nil), nil
}

// signedToken signs tokens for MSK IAM and keeps each until shortly before it
// expires.
type signedToken struct {
	region   string
	provider aws.CredentialsProvider

	mu      sync.Mutex
	token   string
	expires time.Time
}

// expiryMargin is how long before its end a token is not used any more.
const expiryMargin = 30 * time.Second

func (s *signedToken) get(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Until(s.expires) > expiryMargin {
		return s.token, nil
	}
	token, expires, err := signer.GenerateAuthTokenFromCredentialsProvider(ctx, s.region, s.provider)
	if err != nil {
		return "", loginError{fmt.Sprintf("aws credentials: %v", err)}
	}
	s.token, s.expires = token, time.UnixMilli(expires)
	return token, nil
}
