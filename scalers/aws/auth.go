package main

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// awsParams is where a service of AWS is asked, and by whom: the same for every
// trigger of the family.
type awsParams struct {
	amazon.Params

	// AWSRegion is the region of the service.
	AWSRegion string `param:"awsRegion,required" from:"trigger,auth"`
	// AWSEndpoint replaces the address of the service, for example by that of
	// an interface endpoint. Roles are assumed where they always are.
	AWSEndpoint string `param:"awsEndpoint"`
}

// Validate checks the endpoint and that one way to log in is given completely.
func (p awsParams) Validate() error {
	problems := []error{p.CheckAWS()}
	if p.AWSEndpoint != "" {
		u, err := url.Parse(p.AWSEndpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			problems = append(problems, errors.New("awsEndpoint: is not an http or https URL"))
		}
	}
	return errors.Join(problems...)
}

// lend refuses to sign as the family for an endpoint that is not the service's.
func (p awsParams) lend(to lending.Service) error {
	if p.AWSEndpoint == "" {
		return nil
	}
	u, err := url.Parse(p.AWSEndpoint)
	if err != nil {
		return scaler.Errorf(codes.InvalidArgument, "awsEndpoint: is not an http or https URL")
	}
	return p.Lend(to, "awsEndpoint", u, true)
}

// service is a client of one service of AWS, shared by all sources that ask it
// at one place with one identity.
type service[C any] struct {
	client  C
	config  aws.Config
	account *client.Account
}

// connect returns the service that newClient makes clients of, for things of an
// owner. It is called with the ctx of Open and asks nothing yet.
func connect[C any](ctx context.Context, p awsParams, to lending.Service, owner string, newClient func(aws.Config) C) (*service[C], error) {
	if err := p.lend(to); err != nil {
		return nil, err
	}
	id := p.Identity(p.AWSRegion)
	if owner == ownerOf(id.RoleARN) {
		owner = "" // who asks, however their thing is named
	}
	at := []any{p.AWSEndpoint, id, owner}
	return client.Shared(ctx, at, func(ctx context.Context) (*service[C], error) {
		config, err := p.Config(ctx, p.AWSRegion, to)
		if err != nil {
			return nil, err
		}
		// AWS counts the requests of an account to one of its services in one region,
		// and those to things of another account there. Whoever has their own queue be
		// throttled is not to stop who asks for others.
		account, err := client.AccountOf(ctx, append(at, to.String()))
		if err != nil {
			return nil, err
		}
		config.APIOptions = append(config.APIOptions, onAccount(account))
		if p.AWSEndpoint != "" {
			config.BaseEndpoint = &p.AWSEndpoint
		}
		return &service[C]{client: newClient(config), config: config, account: account}, nil
	})
}

// failure is the failure of a call about what, such as "queue orders". Credentials
// that are not good any more are obtained afresh. An account that is throttled as often
// as the library tries is left alone for a while.
func (s *service[C]) failure(what string, err error) error {
	if t := amazon.Throttled(err); t != nil {
		err = s.account.Throttled(t.Pause, t.Said)
	}
	amazon.Forget(s.config, err)
	cause := amazon.Failure(err)
	return scaler.Errorf(status.Code(cause), "%s: %w", what, cause)
}

// ownerOf is the AWS account of the thing that an ARN or the URL of a queue names,
// where these have it: elsewhere a name may have the number of anybody's. It is ""
// for none, which is that of who asks.
func ownerOf(name string) string {
	owner := ""
	if parts := strings.SplitN(name, ":", 6); len(parts) == 6 && parts[0] == "arn" {
		owner = parts[4]
	} else if u, err := url.ParseRequestURI(name); err == nil {
		path := strings.FieldsFunc(u.Path, func(r rune) bool { return r == '/' })
		if len(path) >= 2 {
			owner = path[len(path)-2]
		}
	}
	if len(owner) != 12 || strings.Trim(owner, "0123456789") != "" {
		return ""
	}
	return owner
}
