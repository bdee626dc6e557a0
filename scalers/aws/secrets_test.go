package main

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// scope is what the store may use of the cluster.
type scope struct{ role string }

func (scope) Secret(_ context.Context, name, key string) (string, error) {
	if value := map[string]string{"aws/id": "AKIAEXAMPLE", "aws/secret": "hush-hush", "aws/token": "session"}[name+"/"+key]; value != "" {
		return value, nil
	}
	return "", status.Errorf(codes.NotFound, "Secret %s has no key %s", name, key)
}

func (scope) Token(context.Context, string, ...string) (string, error) { return "", nil }

func (scope) File(string) ([]byte, error) { return nil, nil }

func (scope) OwnIdentity() error { return nil }

func (s scope) WorkloadRole(context.Context) (string, error) {
	if s.role == "" {
		return "", status.Error(codes.FailedPrecondition, "the service account has no role")
	}
	return s.role, nil
}

// TestSecretsManager reads the block awsSecretManager as every family does,
// here where the server is.
func TestSecretsManager(t *testing.T) {
	m := servers.SharedMoto(t)
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", m.URL())
	t.Setenv("AWS_ENDPOINT_URL_STS", m.URL())
	scalertest.LendTo(t, "127.0.0.1")
	client := secretsmanager.NewFromConfig(owner(m))
	create := func(name, text string, binary []byte) string {
		t.Helper()
		in := &secretsmanager.CreateSecretInput{Name: &name, SecretBinary: binary}
		if text != "" {
			in.SecretString = &text
		}
		made, err := client.CreateSecret(within(t), in)
		if err != nil {
			t.Fatal(err)
		}
		return aws.ToString(made.VersionId)
	}
	first := create("orders", "first", nil)
	if _, err := client.PutSecretValue(within(t), &secretsmanager.PutSecretValueInput{SecretId: aws.String("orders"), SecretString: aws.String("second")}); err != nil {
		t.Fatal(err)
	}
	create("object", `{"user":"bob","port":5432}`, nil)
	create("binary", "", []byte{1, 2})

	type object = map[string]any
	key := func(name string) object {
		return object{"valueFrom": object{"secretKeyRef": object{"name": "aws", "key": name}}}
	}
	keyed := object{"accessKey": key("id"), "accessSecretKey": key("secret"), "accessToken": key("token")}
	keys := func(one object) object {
		one["parameter"] = "p"
		return object{"region": region, "credentials": keyed, "secrets": []object{one}}
	}
	identified := func(identity object) object {
		return object{"region": region, "podIdentity": identity, "secrets": []object{{"parameter": "p", "name": "orders"}}}
	}
	tests := map[string]struct {
		block   object
		scope   scope
		want    string
		code    codes.Code
		message string
	}{
		"the current version": {block: keys(object{"name": "orders"}), want: "second"},
		"a version by its id": {block: keys(object{"name": "orders", "versionId": first}), want: "first"},
		"a version by stage":  {block: keys(object{"name": "orders", "versionStage": "AWSPREVIOUS"}), want: "first"},
		"a key of an object":  {block: keys(object{"name": "object", "secretKey": "user"}), want: "bob"},
		"a number":            {block: keys(object{"name": "object", "secretKey": "port"}), code: codes.FailedPrecondition, message: "secret object: key port is not a text"},
		"a missing key":       {block: keys(object{"name": "object", "secretKey": "host"}), code: codes.NotFound, message: "secret object: has no key host"},
		"a key of no object":  {block: keys(object{"name": "orders", "secretKey": "user"}), code: codes.FailedPrecondition, message: "secret orders: is not a JSON object, so it has no key user"},
		"a binary secret":     {block: keys(object{"name": "binary"}), code: codes.FailedPrecondition, message: "secret binary: is binary, not text"},
		"a missing secret":    {block: keys(object{"name": "bills"}), code: codes.NotFound, message: "secret bills: Secrets Manager GetSecretValue: ResourceNotFoundException"},
		"the process":         {block: identified(object{"provider": "aws"}), want: "second"},
		"a role":              {block: identified(object{"provider": "aws", "roleArn": "arn:aws:iam::123456789012:role/reader", "externalID": "x"}), want: "second"},
		"the workload's role": {block: identified(object{"provider": "aws", "identityOwner": "workload"}), scope: scope{"arn:aws:iam::123456789012:role/workload"}, want: "second"},
		"a workload without":  {block: identified(object{"provider": "aws", "identityOwner": "workload"}), code: codes.FailedPrecondition, message: "the service account has no role"},
		"no identity":         {block: object{"region": region, "secrets": []object{{"parameter": "p", "name": "orders"}}}, code: codes.InvalidArgument, message: "awsSecretManager.credentials: is required without podIdentity aws"},
		"no region":           {block: object{"credentials": keyed, "secrets": []object{{"parameter": "p", "name": "orders"}}}, code: codes.InvalidArgument, message: "awsSecretManager.region: is required, the family has no AWS_REGION"},
		"all problems": {block: object{"podIdentity": object{"provider": "gcp", "roleArn": "r", "identityOwner": "workload"}, "secrets": []object{{}}}, code: codes.InvalidArgument,
			message: `awsSecretManager.secrets[0].parameter: is required; awsSecretManager.secrets[0].name: is required; awsSecretManager.podIdentity.provider: "gcp" is not one of aws, none; awsSecretManager.podIdentity.roleArn: cannot be combined with identityOwner workload`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_ACCESS_KEY_ID", "AKIAOWN")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "own")
			t.Setenv("AWS_REGION", "")
			raw, err := json.Marshal(tt.block)
			if err != nil {
				t.Fatal(err)
			}
			got, err := readSecrets(t, raw, tt.scope)
			if status.Code(err) != tt.code || err != nil && status.Convert(err).Message() != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if err == nil && got.Parameters["p"] != tt.want {
				t.Errorf("p = %q, want %q", got.Parameters["p"], tt.want)
			}
		})
	}
}

func readSecrets(t *testing.T, raw json.RawMessage, s scope) (*store.Values, error) {
	t.Helper()
	return amazon.Secrets{HTTP: func() (*http.Client, error) { return &http.Client{Transport: &http.Transport{}}, nil }}.
		Read(within(t), raw, s)
}
