package trigger

import (
	"context"
	"errors"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// onceParams has a parameter that may be given in one place only.
type onceParams struct {
	// Mode is given once.
	Mode string `param:"mode" from:"trigger,env,auth" once:"true" default:"fast"`
}

func (onceParams) Metrics() []contract.Metric { return []contract.Metric{{Name: "once", Target: 1}} }

func TestGivenOnce(t *testing.T) {
	once := Define("once", func(context.Context, onceParams) (contract.Source, error) {
		return nil, errors.New("not opened in tests")
	})
	tests := map[string]struct {
		metadata map[string]string
		creds    contract.Credentials
		code     codes.Code
		message  string
	}{
		"nowhere":           {},
		"in metadata":       {metadata: map[string]string{"mode": "slow"}},
		"in authentication": {creds: contract.Credentials{Parameters: map[string]string{"mode": "slow"}}},
		"blank does not count": {
			metadata: map[string]string{"mode": " "}, creds: contract.Credentials{Parameters: map[string]string{"mode": "slow"}}},
		"in both": {
			metadata: map[string]string{"mode": "slow"}, creds: contract.Credentials{Parameters: map[string]string{"mode": "slow"}},
			code: codes.InvalidArgument, message: "once: mode: is given in metadata and authentication, give it once"},
		"in a variable and in authentication": {
			metadata: map[string]string{"modeFromEnv": "MODE"},
			creds:    contract.Credentials{Parameters: map[string]string{"mode": "slow"}, Env: map[string]string{"MODE": "slow"}},
			code:     codes.InvalidArgument, message: "once: mode: is given in modeFromEnv and authentication, give it once"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := once.bind(ask(tt.metadata), &tt.creds)
			if status.Code(err) != tt.code || status.Convert(err).Message() != tt.message {
				t.Errorf("error = %v, want %v %q", err, tt.code, tt.message)
			}
		})
	}
}
