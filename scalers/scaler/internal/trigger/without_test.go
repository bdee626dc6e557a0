package trigger

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/params"
)

// reachedParams are of a source that is reached by an address or by its parts.
type reachedParams struct {
	Address string `param:"address" from:"auth,trigger"`
	Host    string `param:"host" without:"address"`
	Port    *int   `param:"port" from:"trigger,auth" without:"address"`
	// Direct has the address not count.
	Direct bool `param:"direct"`
}

func (reachedParams) Metrics() []contract.Metric { return nil }

func (p reachedParams) Validate() error {
	if !p.Direct {
		return nil
	}
	p.Address = ""
	return errors.Join(params.Missing(p), errors.New("direct: is odd"))
}

func TestRequiredWithoutAnother(t *testing.T) {
	reached := Define("reached", func(context.Context, reachedParams) (contract.Source, error) { return nil, nil })
	const both = "reached: host: is required without address; port: is required without address"
	for name, tt := range map[string]struct {
		metadata map[string]string
		auth     map[string]string
		message  string
	}{
		"nothing":                      {nil, nil, both},
		"the other":                    {map[string]string{"address": "a"}, nil, ""},
		"the other, elsewhere":         {nil, map[string]string{"address": "a"}, ""},
		"all parts":                    {map[string]string{"host": "h"}, map[string]string{"port": "0"}, ""},
		"one part":                     {map[string]string{"host": "h"}, nil, "reached: port: is required without address"},
		"a part that is none":          {map[string]string{"host": "h", "port": "x"}, nil, `reached: port: "x" is not an integer`},
		"another that does not count":  {map[string]string{"address": "a", "direct": "true"}, nil, both + "; direct: is odd"},
		"nothing, and it is said once": {map[string]string{"direct": "true"}, nil, both + "; direct: is odd"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := reached.bind(ask(tt.metadata), &contract.Credentials{Parameters: tt.auth})
			if status.Convert(err).Message() != tt.message {
				t.Errorf("error = %v, want %q", err, tt.message)
			}
		})
	}
	_, err := reached.bind(ask(map[string]string{"sluice.dev/authenticationRef": "TriggerAuthentication/a"}), nil)
	if err != nil {
		t.Errorf("before the authentication is known: %v", err)
	}
	if got := reached.description.GetParameters()[1].GetDescription(); got != "Required without address." {
		t.Errorf("described as %q", got)
	}
}
