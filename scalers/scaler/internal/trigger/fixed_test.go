package trigger

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fixedParams have a parameter for each order of sources.
type fixedParams struct {
	// Host is looked for in the metadata first.
	Host string `param:"host" alias:"server" from:"trigger,env,auth" together:"address"`
	// Address says the same as host.
	Address string `param:"address" from:"trigger,auth" together:"host,server"`
	// User is looked for in the authentication first.
	User string `param:"user" from:"auth,trigger,env"`
	// Password is a secret.
	Password string `param:"password" from:"trigger,env,auth" secret:"true"`
	// Query is no business of the authentication.
	Query string `param:"query"`
}

func (fixedParams) Metrics() []contract.Metric { return []contract.Metric{{Name: "fixed", Target: 1}} }

// TestNothingReplacesWhatTheClusterFixes: who could, would be sent the rest.
func TestNothingReplacesWhatTheClusterFixes(t *testing.T) {
	var opened fixedParams
	fixed := Define("fixed", func(_ context.Context, p fixedParams) (contract.Source, error) {
		opened = p
		return nil, errors.New("not opened in tests")
	})
	type texts = map[string]string
	tests := map[string]struct {
		metadata, auth texts
		env            texts
		want           string // the host of the trigger
		refused        string // what of the trigger is
	}{
		"its metadata":                    {metadata: texts{"host": "evil"}, auth: texts{"host": "good"}, refused: "host: is fixed by ClusterTriggerAuthentication shared and cannot be given by metadata"},
		"a variable":                      {metadata: texts{"hostFromEnv": "HOST"}, env: texts{"HOST": "evil"}, auth: texts{"host": "good"}, refused: "host: is fixed by ClusterTriggerAuthentication shared and cannot be given by hostFromEnv"},
		"another spelling":                {metadata: texts{"server": "evil"}, auth: texts{"host": "good"}, refused: "server: is fixed"},
		"another spelling of the cluster": {metadata: texts{"host": "evil"}, auth: texts{"server": "good"}, refused: "host: is fixed"},
		"another parameter that means it": {metadata: texts{"address": "evil"}, auth: texts{"host": "good"}, refused: "address: is fixed"},
		"the other way round":             {metadata: texts{"host": "evil"}, auth: texts{"address": "good"}, refused: "host: is fixed"},
		"a guess at a secret":             {metadata: texts{"password": "hunter2"}, auth: texts{"password": "hunter2"}, refused: "password: is fixed"},
		"the same value":                  {metadata: texts{"host": " good "}, auth: texts{"host": "good"}, want: "good"},
		"what the cluster leaves open":    {metadata: texts{"host": "mine"}, auth: texts{"password": "hunter2"}, want: "mine"},
		"what is blank in the cluster's":  {metadata: texts{"host": "mine"}, auth: texts{"host": " "}, want: "mine"},
		"what is blank in the metadata":   {metadata: texts{"host": " "}, auth: texts{"host": "good"}, want: "good"},
		"what loses anyway":               {metadata: texts{"user": "me"}, auth: texts{"user": "ann", "host": "good"}, want: "good"},
		"what it cannot give":             {metadata: texts{"query": "mine", "host": "good"}, auth: texts{"query": "theirs"}, want: "good"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			creds := &contract.Credentials{Parameters: tt.auth, Env: tt.env, FixedBy: "ClusterTriggerAuthentication shared"}
			b, err := fixed.bind(ask(tt.metadata), creds)
			if tt.refused != "" {
				if status.Code(err) != codes.InvalidArgument || !strings.HasPrefix(status.Convert(err).Message(), "fixed: "+tt.refused) {
					t.Fatalf("error = %v, want %q", err, tt.refused)
				}
				creds.FixedBy = "" // a tenant's own authentication is the tenant's to replace
				if _, err := fixed.bind(ask(tt.metadata), creds); err != nil {
					t.Errorf("beside a TriggerAuthentication: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _ = b.Open(t.Context())
			if opened.Host != tt.want || strings.Contains(opened.User, "me") {
				t.Errorf("opened %+v", opened)
			}
		})
	}
}
