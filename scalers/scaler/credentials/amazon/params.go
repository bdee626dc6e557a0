package amazon

import (
	"cmp"
	"context"
	"errors"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/login"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// Params are who a trigger is to AWS. A params struct embeds it beside its
// region. Where keys are needed and missing, CheckAWS says so; it is not a
// Validate because some triggers need an identity of AWS only at times.
type Params struct {
	contract.PodIdentity

	// IdentityOwner says who asks: operator is the family's own identity, pod a
	// role or keys that the trigger brings.
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

// CheckAWS checks that one way to log in is given completely.
func (p Params) CheckAWS() error {
	if !p.needsKeys() {
		return nil
	}
	var problems []error
	if p.AWSAccessKeyID == "" {
		problems = append(problems, errors.New("awsAccessKeyID: is required without a role or pod identity"))
	}
	if p.AWSSecretAccessKey == "" {
		problems = append(problems, errors.New("awsSecretAccessKey: is required without a role or pod identity"))
	}
	return errors.Join(problems...)
}

func (p Params) needsKeys() bool {
	return p.Provider != "aws" && p.IdentityOwner != "operator" && p.role() == ""
}

// role is the role to assume, if any.
func (p Params) role() string {
	if p.Provider == "aws" || p.Provider == "aws-eks" {
		return cmp.Or(p.RoleARN, p.AWSRoleARN)
	}
	return p.AWSRoleARN
}

// Identity picks the way to log in. The region is a part of it: it is where roles
// are assumed.
func (p Params) Identity(region string) Identity {
	switch {
	case p.Provider == "aws":
		return Identity{Region: region, RoleARN: p.role(), ExternalID: p.ExternalID, Federated: true}
	case p.IdentityOwner == "operator":
		return Identity{Region: region}
	case p.role() != "":
		return Identity{Region: region, RoleARN: p.role(), ExternalID: p.ExternalID}
	default:
		return Identity{
			Region: region, AccessKeyID: p.AWSAccessKeyID, SecretAccessKey: p.AWSSecretAccessKey, SessionToken: p.AWSSessionToken,
		}
	}
}

// Lend refuses to sign for a service at a URL, which a parameter has, as the
// family or a role that it assumes. What keys of a tenant sign may go anywhere.
// verified says whether certificates are looked at.
func (p Params) Lend(to lending.Service, parameter string, u *url.URL, verified bool) error {
	if !p.Own() {
		return nil
	}
	return to.CheckURL(parameter, u, verified)
}

// Own reports whether it is the family's, as a role is that the family assumes.
func (p Params) Own() bool { return p.Identity("").Own() }

// OwnIdentity names the parameter by which the trigger uses the family's own
// identity, or a role that the family assumes. A pod identity is no parameter: it
// is looked at where it is resolved.
func (p Params) OwnIdentity() string {
	switch {
	case p.IdentityOwner == "operator":
		return "identityOwner"
	case p.AWSRoleARN != "":
		return "awsRoleArn"
	default:
		return ""
	}
}

// Config returns a configuration for clients of a service of AWS, which sign
// for its hosts alone unless the keys are the trigger's own. It is called from
// Open with Open's ctx and asks nothing yet. Failures of its clients go through
// Failure, and to Forget.
func (p Params) Config(ctx context.Context, region string, to lending.Service) (aws.Config, error) {
	id := p.Identity(region)
	config, err := login.Share(ctx, id, id.Config)
	if err != nil {
		return aws.Config{}, err
	}
	client, err := client.HTTPForLibrary(ctx, client.HTTPOptions{MaxAnswer: mostAWSAnswer, MaxValues: mostAWSValues})
	if err != nil {
		return aws.Config{}, err
	}
	if id.Own() {
		client = to.Guard(client, "awsRegion")
	}
	config = config.Copy()
	config.HTTPClient = client
	return config, nil
}

const (
	// mostAWSAnswer is the most of an answer of a service: a page of any of them
	// has a quarter of it.
	mostAWSAnswer = 4 << 20
	// mostAWSValues is the most that is in one, each of which the library makes some
	// hundred bytes of. A page of 500 series of CloudWatch with 20,000 datapoints fits.
	mostAWSValues = 50_000
)
