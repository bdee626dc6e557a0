package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/kerberos"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// kerberosParams are what sasl gssapi needs beside the user. Nothing of it is
// ever written to a file.
type kerberosParams struct {
	// Realm is the user's Kerberos realm.
	Realm string `param:"realm" from:"auth"`
	// KerberosConfig is the text of krb5.conf.
	KerberosConfig string `param:"kerberosConfig" from:"auth"`
	// Keytab is the content of a keytab, in place of password.
	Keytab string `param:"keytab" from:"auth" binary:"true"`
	// KerberosServiceName is the brokers' service.
	KerberosServiceName string `param:"kerberosServiceName" from:"auth" default:"kafka"`
	// KerberosDisableFAST turns pre-authentication by FAST off.
	KerberosDisableFAST bool `param:"kerberosDisableFAST" from:"auth" default:"false"`
}

func (p kerberosParams) require(a account) error {
	var problems []error
	for _, required := range []struct{ key, value string }{
		{"username", a.Username}, {"realm", p.Realm}, {"kerberosConfig", p.KerberosConfig},
	} {
		if required.value == "" {
			problems = append(problems, fmt.Errorf("%s: is required with sasl gssapi", required.key))
		}
	}
	if (a.Password == "") == (p.Keytab == "") {
		problems = append(problems, errors.New("password: exactly one of password and keytab is required with sasl gssapi"))
	}
	return errors.Join(problems...)
}

// mechanism logs in to the realm when a connection is opened, and anew for
// each connection.
func (p kerberosParams) mechanism(ctx context.Context, a account) (sasl.Mechanism, error) {
	conf, err := config.NewFromString(p.KerberosConfig)
	// Some directives are known and do nothing here, such as include.
	if unsupported := new(config.UnsupportedDirective); err != nil && !errors.As(err, unsupported) {
		return nil, errors.New("kerberosConfig: is not a krb5.conf")
	}
	// The library dials by itself, so what it may dial is checked here.
	for _, realm := range conf.Realms {
		for _, address := range slices.Concat(realm.KDC, realm.KPasswdServer) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				host = address
			}
			if err := scaler.DialerOf(ctx).Check(host); err != nil {
				return nil, fmt.Errorf("kerberosConfig: %w", err)
			}
		}
	}
	login := func(context.Context) *client.Client {
		return client.NewWithPassword(a.Username, p.Realm, a.Password, conf, client.DisablePAFXFAST(p.KerberosDisableFAST))
	}
	if p.Keytab != "" {
		keys := keytab.New()
		if err := keys.Unmarshal([]byte(p.Keytab)); err != nil {
			return nil, errors.New("keytab: is not a keytab")
		}
		login = func(context.Context) *client.Client {
			return client.NewWithKeytab(a.Username, p.Realm, keys, conf, client.DisablePAFXFAST(p.KerberosDisableFAST))
		}
	}
	return kerberos.Auth{ClientFn: login, Service: p.KerberosServiceName}.AsMechanism(), nil
}
