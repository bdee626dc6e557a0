package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/twmb/franz-go/pkg/sasl"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// awsParams is the AWS identity that signs the token of MSK IAM.
type awsParams struct {
	amazon.Params

	// AWSRegion is the region of the MSK cluster.
	AWSRegion string `param:"awsRegion"`
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
	problems = append(problems, p.CheckAWS())
	return errors.Join(problems...)
}

// mechanism logs in with a token that the identity signs. It is OAUTHBEARER,
// which unlike AWS_MSK_IAM honours the region that the user names.
func (p awsParams) mechanism(ctx context.Context) (sasl.Mechanism, error) {
	config, err := p.Config(ctx, p.AWSRegion, lending.AmazonMSK)
	if err != nil {
		return nil, err
	}
	signed := &signedToken{region: p.AWSRegion, provider: config.Credentials}
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
		return "", loginError{status.Convert(amazon.Failure(err)).Message()}
	}
	s.token, s.expires = token, time.UnixMilli(expires)
	return token, nil
}
