package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	krb5client "github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/kerberos"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
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

// longestKerberosConfig bounds krb5.conf, in bytes.
const longestKerberosConfig = 64 << 10

// mechanism logs in to the realm when a connection is opened, and anew for
// each connection.
func (p kerberosParams) mechanism(ctx context.Context, a account) (sasl.Mechanism, error) {
	conf, err := p.config()
	if err != nil {
		return nil, err
	}
	dialer := client.DialerOf(ctx)
	for _, realm := range conf.Realms {
		for _, address := range realm.KDC {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, errors.New("kerberosConfig: a kdc is not a host, with or without a port")
			}
			if err := dialer.Check(host); err != nil {
				return nil, fmt.Errorf("kerberosConfig: %w", err)
			}
		}
	}
	login := kerberosLogin{kerberosParams: p, account: a, dial: dialer.DialContext}
	if p.Keytab != "" {
		login.keys = keytab.New()
		if err := login.keys.Unmarshal([]byte(p.Keytab)); err != nil {
			return nil, errors.New("keytab: is not a keytab")
		}
	}
	return login, nil
}

// config reads krb5.conf anew: the library writes into it.
func (p kerberosParams) config() (*config.Config, error) {
	if len(p.KerberosConfig) > longestKerberosConfig {
		return nil, fmt.Errorf("kerberosConfig: has more than %d bytes", longestKerberosConfig)
	}
	conf, err := config.NewFromString(p.KerberosConfig)
	// Some directives are known and do nothing here, such as include.
	if unsupported := new(config.UnsupportedDirective); err != nil && !errors.As(err, unsupported) {
		return nil, errors.New("kerberosConfig: is not a krb5.conf")
	}
	return conf, nil
}

// kerberosLogin is the mechanism.
type kerberosLogin struct {
	kerberosParams
	account
	keys    *keytab.Keytab // nil with a password
	dial    dialFunc
	hashing *client.Hashing
}

// Name implements sasl.Mechanism.
func (kerberosLogin) Name() string { return "GSSAPI" }

// Authenticate implements sasl.Mechanism. All that is asked of the realm is
// asked here.
func (l kerberosLogin) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	conf, err := l.config()
	if err != nil {
		return nil, nil, err
	}
	centres, err := l.open(ctx, conf)
	if err != nil {
		return nil, nil, err
	}
	defer centres.close()
	user := l.client(conf)
	defer user.Destroy() // with what would renew its tickets
	session, first, err := kerberos.Auth{
		ClientFn: func(context.Context) *krb5client.Client { return user }, Service: l.KerberosServiceName,
	}.AsMechanism().Authenticate(ctx, host)
	if err != nil {
		centres.close() // so that the last exchange has said why
		return nil, nil, centres.why()
	}
	return session, first, nil
}

func (l kerberosLogin) client(conf *config.Config) *krb5client.Client {
	fast := krb5client.DisablePAFXFAST(l.KerberosDisableFAST)
	if l.keys != nil {
		return krb5client.NewWithKeytab(l.Username, l.Realm, l.keys, conf, fast) //dials:through centres
	}
	return krb5client.NewWithPassword(l.Username, l.Realm, l.Password, conf, fast) //dials:through centres
}
