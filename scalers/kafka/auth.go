package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// Values of sasl, tls and saslTokenProvider.
const (
	saslNone        = "none"
	saslPlaintext   = "plaintext"
	saslSCRAM256    = "scram_sha256"
	saslSCRAM512    = "scram_sha512"
	saslOAuthBearer = "oauthbearer"
	saslGSSAPI      = "gssapi"
	awsMSKIAM       = "aws_msk_iam"
	bearer          = "bearer"
	enable          = "enable"
)

// security is how a connection is protected and who logs in over it.
type security struct {
	tls   *tls.Config    // nil without TLS
	login sasl.Mechanism // nil without SASL
	lent  bool           // the login is with the family's own identity
}

// dialer connects to brokers that the login may be shown to.
func (s security) dialer(d *client.Dialer) *client.Dialer {
	if !s.lent {
		return d
	}
	return d.Lending(lending.AmazonMSK, "bootstrapServers", s.tls != nil && !s.tls.InsecureSkipVerify)
}

// account is the user of the SASL modes that have one.
type account struct {
	// Username logs in; with sasl oauthbearer it is the OAuth client id.
	Username string `param:"username" from:"auth"`
	// Password belongs to username; with sasl oauthbearer it is the OAuth
	// client secret.
	Password string `param:"password" from:"auth"`
}

// require checks that both are there.
func (a account) require(mode string) error {
	var problems []error
	if a.Username == "" {
		problems = append(problems, fmt.Errorf("username: is required with sasl %s", mode))
	}
	if a.Password == "" {
		problems = append(problems, fmt.Errorf("password: is required with sasl %s", mode))
	}
	return errors.Join(problems...)
}

// mechanism logs in with name and password.
func (a account) mechanism(mode string) sasl.Mechanism {
	switch mode {
	case saslSCRAM256:
		return scram.Auth{User: a.Username, Pass: a.Password}.AsSha256Mechanism()
	case saslSCRAM512:
		return scram.Auth{User: a.Username, Pass: a.Password}.AsSha512Mechanism()
	default:
		return plain.Auth{User: a.Username, Pass: a.Password}.AsMechanism()
	}
}

// kafkaLogin is the identity of a kafka trigger.
type kafkaLogin struct {
	account
	oauthParams
	kerberosParams
	awsParams
	client.TLSParams

	// TLS turns TLS towards the brokers on.
	TLS string `param:"tls" from:"trigger,auth" default:"disable" enum:"enable,disable"`
	// UnsafeSSL accepts any certificate of the brokers.
	UnsafeSSL bool `param:"unsafeSsl" default:"false"`
	// SASL is how to log in.
	SASL string `param:"sasl" from:"trigger,auth" default:"none" enum:"none,plaintext,scram_sha256,scram_sha512,oauthbearer,gssapi"`
	// SASLTokenProvider is where the token of sasl oauthbearer comes from: an
	// OAuth server, or the signature of an AWS identity.
	SASLTokenProvider string `param:"saslTokenProvider" from:"trigger,auth" default:"bearer" enum:"bearer,aws_msk_iam"`
}

// Validate checks that the mode of login has what it needs.
func (l kafkaLogin) Validate() error {
	return errors.Join(l.checkLogin(), checkTLS(l.TLS, l.TLSParams))
}

// checkTLS looks at the TLS material where it is used.
func checkTLS(mode string, material client.TLSParams) error {
	if mode != enable {
		return nil
	}
	return material.CheckPair()
}

func (l kafkaLogin) checkLogin() error {
	switch l.SASL {
	case saslPlaintext, saslSCRAM256, saslSCRAM512:
		return l.account.require(l.SASL)
	case saslGSSAPI:
		return l.kerberosParams.require(l.account)
	case saslOAuthBearer:
		if l.SASLTokenProvider == awsMSKIAM {
			return l.requireMSK(l.TLS == enable)
		}
		return errors.Join(l.account.require(l.SASL), l.requireEndpoint())
	}
	return nil
}

// security builds what the connection needs. Nothing is asked yet.
func (l kafkaLogin) security(ctx context.Context) (s security, err error) {
	if l.TLS == enable {
		if s.tls, err = l.Config(l.UnsafeSSL); err != nil {
			return security{}, err
		}
	}
	switch l.SASL {
	case saslPlaintext, saslSCRAM256, saslSCRAM512:
		s.login = l.account.mechanism(l.SASL)
	case saslGSSAPI:
		s.login, err = l.kerberosParams.mechanism(ctx, l.account)
	case saslOAuthBearer:
		if l.SASLTokenProvider == awsMSKIAM {
			s.lent = l.Own()
			s.login, err = l.awsParams.mechanism(ctx)
		} else {
			s.login, err = l.oauthParams.mechanism(ctx, l.account)
		}
	}
	return s, err
}

// apacheLogin is the identity of an apache-kafka trigger.
type apacheLogin struct {
	account
	awsParams
	client.TLSParams

	// TLS turns TLS towards the brokers on. It is given once: in the trigger's
	// metadata or by the authentication object.
	TLS string `param:"tls" from:"trigger,auth" default:"disable" enum:"enable,disable" once:"true"`
	// SASL is how to log in; gssapi is known and not supported. It is given
	// once: in the trigger's metadata or by the authentication object.
	SASL string `param:"sasl" from:"trigger,auth" default:"none" enum:"none,plaintext,scram_sha256,scram_sha512,gssapi,aws_msk_iam" once:"true"`
}

// Validate checks that the mode of login has what it needs.
func (l apacheLogin) Validate() error {
	return errors.Join(l.checkLogin(), checkTLS(l.TLS, l.TLSParams))
}

func (l apacheLogin) checkLogin() error {
	switch l.SASL {
	case saslPlaintext, saslSCRAM256, saslSCRAM512:
		return l.require(l.SASL)
	case saslGSSAPI:
		return errors.New("sasl: gssapi is not supported by apache-kafka, use trigger type kafka")
	case awsMSKIAM:
		return l.requireMSK(l.TLS == enable)
	}
	return nil
}

// security builds what the connection needs. Nothing is asked yet.
func (l apacheLogin) security(ctx context.Context) (s security, err error) {
	if l.TLS == enable {
		if s.tls, err = l.Config(false); err != nil {
			return security{}, err
		}
	}
	switch l.SASL {
	case saslPlaintext, saslSCRAM256, saslSCRAM512:
		s.login = l.account.mechanism(l.SASL)
	case awsMSKIAM:
		s.lent = l.Own()
		s.login, err = l.awsParams.mechanism(ctx)
	}
	return s, err
}
