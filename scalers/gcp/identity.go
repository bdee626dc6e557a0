package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// identityParams are who asks Google Cloud: the same for every trigger of the
// family. Pod identity gcp is the family's own account and comes before keys.
type identityParams struct {
	scaler.PodIdentity
	google.KeyParams
}

// podIdentity is the provider under which the family's own account is used.
// Others have no meaning here.
const podIdentity = "gcp"

// checkIdentity checks that there is one. It is not a Validate, because against an
// emulator nobody needs any.
func (p identityParams) checkIdentity() error {
	if p.Provider == podIdentity || p.HasKey() {
		return nil
	}
	return errors.New("GoogleApplicationCredentials: credentials not found: give this parameter by an authentication, or pod identity gcp, credentialsFromEnv or credentialsFromEnvFile")
}

// OwnIdentity names the parameter by which the trigger uses an identity of the
// family: a key in a file is one. A pod identity is no parameter: it is looked at
// where it is resolved.
func (p identityParams) OwnIdentity() string { return p.keys().OwnKey() }

// own reports whether the family's own identity is shown.
func (p identityParams) own() bool { return p.keys().Key() == "" }

// keys are those that count.
func (p identityParams) keys() google.KeyParams {
	if p.Provider == podIdentity {
		return google.KeyParams{}
	}
	return p.KeyParams
}

// who tells those who ask apart. The key of a file is told by what it is now: one
// that was rotated counts for whoever is opened anew.
func (p identityParams) who() ([]any, error) {
	keys := p.keys()
	inFile := []byte(nil)
	if keys.OwnKey() != "" {
		var err error
		if inFile, err = scaler.ReadFile(keys.GoogleKeyFile); err != nil {
			return nil, fmt.Errorf("credentialsFromEnvFile: %w", err)
		}
	}
	return []any{p.Provider == podIdentity, keys, string(inFile)}, nil
}

// account is who asks a service at an endpoint. It is called with the ctx of an
// Open or a dial.
func (p identityParams) account(ctx context.Context, to lending.Service, at endpoint) (*google.Account, error) {
	return p.keys().Account(ctx, to, at.flag, at.host, !at.plain)
}

// checkID refuses what cannot be an id in the name of a resource, which is a part of
// headers and leads to nothing else. What is missing is told elsewhere.
func checkID(parameter, id string) error {
	if len(id) > 255 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
		return fmt.Errorf("%s: %.64q is not an id: it has a space, a slash or another character that ids do not have, or is too long", parameter, id)
	}
	return nil
}

// announced tells, as KEDA does where a parameter is given, that KEDA means to give
// up the type.
func announced(parameter string) []string {
	return []string{parameter + ": KEDA has announced this trigger type as deprecated (https://keda.sh/blog/2025-09-15-gcp-deprecations); here it stays"}
}
