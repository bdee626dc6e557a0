package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// enable is the value of tls that is not the default.
const enable = "enable"

// login is who asks, and how the connection is protected.
type login struct {
	client.TLSParams
	client.OAuthParams
	scaler.PodIdentity

	// Username logs in instead of the user in host; it needs password.
	Username string `param:"username" from:"auth,env"`
	// Password belongs to username.
	Password string `param:"password" from:"auth,env"`
	// TLS enables ca, cert, key and keyPassword. Whether the connection is
	// encrypted is said by the scheme of host.
	TLS string `param:"tls" from:"auth" default:"disable" enum:"enable,disable"`
	// UnsafeSSL accepts any certificate of the broker.
	UnsafeSSL bool `param:"unsafeSsl" default:"false"`
	// WorkloadIdentityResource is the Entra application that stands for the
	// broker. With pod identity azure-workload, tokens for it log in to the
	// management API.
	WorkloadIdentityResource string `param:"workloadIdentityResource" from:"auth"`
}

// Validate checks that one way to log in is given completely.
func (l login) Validate() error {
	var problems []error
	if l.Username != "" && l.Password == "" {
		problems = append(problems, errors.New("password: is required with username"))
	}
	if l.Password != "" && l.Username == "" {
		problems = append(problems, errors.New("username: is required with password"))
	}
	return errors.Join(append(problems, l.validateOAuth(), l.material().CheckPair())...)
}

func (l login) validateOAuth() error {
	if !l.oauth() {
		return nil
	}
	var problems []error
	for _, p := range []struct{ key, value string }{
		{"oauthTokenURI", l.OAuthTokenURI}, {"clientID", l.ClientID}, {"clientSecret", l.ClientSecret},
	} {
		if p.value == "" {
			problems = append(problems, fmt.Errorf("%s: is required for OAuth, which needs oauthTokenURI, clientID and clientSecret", p.key))
		}
	}
	if l.Username != "" || l.Password != "" {
		problems = append(problems, errors.New("username: cannot be combined with OAuth"))
	}
	if l.workloadIdentity() {
		problems = append(problems, errors.New("workloadIdentityResource: cannot be combined with OAuth"))
	}
	return errors.Join(problems...)
}

// oauth reports whether OAuth client credentials log in.
func (l login) oauth() bool {
	return l.OAuthTokenURI != "" || l.ClientID != "" || l.ClientSecret != ""
}

// workloadIdentity reports whether tokens of Entra log in. Other pod
// identities say nothing here.
func (l login) workloadIdentity() bool {
	return l.Provider == "azure-workload" && l.WorkloadIdentityResource != ""
}

// material is the TLS material that is in force.
func (l login) material() client.TLSParams {
	if l.TLS != enable {
		return client.TLSParams{}
	}
	return l.TLSParams
}

// user is who logs in to e by name.
func (l login) user(e endpoint) (name, password string) {
	if l.Username != "" {
		return l.Username, l.Password
	}
	return e.username, e.password
}

// sasl is the mechanism of a login over AMQP: EXTERNAL when the certificate is
// all there is to identify the client, else PLAIN.
func (l login) sasl(e endpoint) amqp.Authentication {
	if e.tls() && l.material().Cert != "" && l.Username == "" && !e.hasPassword {
		return &amqp.ExternalAuth{}
	}
	name, password := l.user(e)
	return &amqp.PlainAuth{Username: name, Password: password}
}

// http returns a client that logs in to e with every request. It is called
// with the ctx of Open; a timeout of 0 is the process's default.
func (l login) http(ctx context.Context, e endpoint, timeout time.Duration) (*client.HTTPClient, error) {
	options := client.HTTPOptions{
		TLS: l.material(), UnsafeSSL: l.UnsafeSSL, Timeout: timeout,
	}
	var err error
	switch {
	case l.oauth():
		var plain *client.HTTPClient
		if plain, err = client.HTTP(ctx, options); err == nil {
			options.Authorize = l.Authorize(plain)
		}
	case l.workloadIdentity():
		options.Authorize, err = l.entra(ctx, e)
	default:
		options.Authorize = l.basic(e)
	}
	if err != nil {
		return nil, err
	}
	return client.HTTP(ctx, options)
}

// basic adds user and password to requests, where there are any.
func (l login) basic(e endpoint) func(*http.Request) error {
	name, password := l.user(e)
	if name == "" && password == "" {
		return nil
	}
	return func(request *http.Request) error {
		request.SetBasicAuth(name, password)
		return nil
	}
}

// identity is all that tells who asks e, and how. A user given apart and the same
// one in host are one identity.
func (l login) identity(e endpoint) []any {
	name, password := l.user(e)
	return []any{name, password, l.Username != "" || e.hasPassword, l.UnsafeSSL,
		l.material(), l.OAuthParams, l.PodIdentity, l.WorkloadIdentityResource}
}
