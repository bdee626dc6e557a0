package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// everything lets a user do all that moto knows.
const everything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// plainClient ends its connections with the test.
func plainClient(t *testing.T) *http.Client {
	c := &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// caller asks who the configuration is. It does not try again: a test says
// what it expects of each answer.
func caller(t *testing.T, config aws.Config) (string, error) {
	t.Helper()
	answer, err := sts.NewFromConfig(config, func(o *sts.Options) { o.RetryMaxAttempts = 1 }).
		GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", amazon.Failure(err)
	}
	return aws.ToString(answer.Arn), nil
}

func config(t *testing.T, id amazon.Identity) aws.Config {
	t.Helper()
	id.Region = region
	c, err := id.Config(t.Context(), plainClient(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestIdentities logs in to a server that checks signatures.
func TestIdentities(t *testing.T) {
	m := servers.Moto(t)
	id, secret, err := m.AddUser(t.Context(), "orders", everything)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.CheckLogins(t.Context()); err != nil {
		t.Fatal(err)
	}
	own := map[string]string{"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret, "AWS_ENDPOINT_URL_STS": m.URL()}
	tests := map[string]struct {
		identity amazon.Identity
		own      map[string]string // on top of the address of STS
		want     string            // how the caller's ARN ends
		code     codes.Code
		message  string
	}{
		"keys":             {identity: amazon.Identity{AccessKeyID: id, SecretAccessKey: secret}, want: ":user/orders"},
		"the process":      {own: own, want: ":user/orders"},
		"a role":           {own: own, identity: amazon.Identity{RoleARN: "arn:aws:iam::123456789012:role/reader"}, want: ":assumed-role/reader/KEDA"},
		"a wrong secret":   {identity: amazon.Identity{AccessKeyID: id, SecretAccessKey: "wrong"}, code: codes.PermissionDenied, message: "STS GetCallerIdentity: 403 Forbidden"},
		"an unknown key":   {identity: amazon.Identity{AccessKeyID: "AKIAUNKNOWN", SecretAccessKey: secret}, code: codes.PermissionDenied, message: "STS GetCallerIdentity: 403 Forbidden"},
		"no identity":      {code: codes.Unauthenticated, message: "aws: the process has no identity: neither keys nor a role of its ServiceAccount nor one of its node"},
		"a role of nobody": {identity: amazon.Identity{RoleARN: "arn:aws:iam::123456789012:role/reader"}, code: codes.Unauthenticated, message: "aws: the process has no identity: neither keys nor a role of its ServiceAccount nor one of its node"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_ENDPOINT_URL_STS", m.URL())
			for key, value := range tt.own {
				t.Setenv(key, value)
			}
			got, err := caller(t, config(t, tt.identity))
			if status.Code(err) != tt.code || err != nil && status.Convert(err).Message() != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if !strings.HasSuffix(got, tt.want) {
				t.Errorf("caller = %q, want one that ends with %q", got, tt.want)
			}
		})
	}
}
