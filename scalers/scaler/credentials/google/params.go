package google

import (
	"cmp"
	"context"
	"fmt"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/readable"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// KeyParams are the keys of a service account that a trigger may bring. A params
// struct embeds them beside its PodIdentity.
type KeyParams struct {
	// GoogleKey is the JSON key of a service account of Google Cloud.
	GoogleKey string `param:"GoogleApplicationCredentials" from:"auth"`
	// GoogleKeyOfEnv is the same key, in a variable of the scale target.
	GoogleKeyOfEnv string `param:"credentials" from:"env"`
	// GoogleKeyFile is a file with that key, on the family's side: one that its
	// --readable-files lists, named by a variable of the scale target. It is
	// read when the connection is opened.
	GoogleKeyFile string `param:"credentialsFromEnvFile" from:"env"`
}

// Key is the trigger's own, the first there is.
func (p KeyParams) Key() string { return cmp.Or(p.GoogleKey, p.GoogleKeyOfEnv) }

// HasKey reports whether there is a key, be it the family's in a file.
func (p KeyParams) HasKey() bool { return p.Key() != "" || p.GoogleKeyFile != "" }

// OwnKey names the parameter by which the key of a file is used, "" for none: such
// a key is an identity of the family.
func (p KeyParams) OwnKey() string {
	if p.Key() != "" || p.GoogleKeyFile == "" {
		return ""
	}
	return "credentialsFromEnvFile"
}

// Account is who the trigger is to a service of Google, by the first key that it
// has; without any it is the process itself. A key in a file is the family's, too.
// Where the service answers at a host, a parameter says; verified is whether its
// certificate is looked at. It is called with the ctx of an Open or a dial.
func (p KeyParams) Account(ctx context.Context, to lending.Service, parameter, host string, verified bool) (*Account, error) {
	if key := p.Key(); key != "" {
		return AccountOf(ctx, key, to.Scope())
	}
	loan, err := to.Lend(parameter, verified, host)
	switch {
	case err != nil:
		return nil, err
	case p.GoogleKeyFile == "":
		return OwnAccount(ctx, loan)
	}
	key, err := readable.Read(p.GoogleKeyFile)
	if err != nil {
		return nil, fmt.Errorf("credentialsFromEnvFile: %w", err)
	}
	return AccountOf(ctx, string(key), to.Scope())
}
