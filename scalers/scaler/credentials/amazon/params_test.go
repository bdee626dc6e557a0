package amazon_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// TestAWSRoles assumes roles against a server that answers as STS does.
func TestAWSRoles(t *testing.T) {
	tests := map[string]struct {
		params amazon.Params
		form   map[string]string // what STS must be asked
	}{
		"role of the authentication parameters": {
			params: amazon.Params{AWSRoleARN: "arn:aws:iam::1:role/reader"},
			form:   map[string]string{"Action": "AssumeRole", "RoleArn": "arn:aws:iam::1:role/reader", "RoleSessionName": "KEDA"}},
		"role of the pod identity": {
			params: amazon.Params{PodIdentity: contract.PodIdentity{Provider: "aws", RoleARN: "arn:aws:iam::1:role/pod", ExternalID: "x1"}},
			form:   map[string]string{"Action": "AssumeRole", "RoleArn": "arn:aws:iam::1:role/pod", "ExternalId": "x1"}},
		"role of the workload under pod identity": {
			params: amazon.Params{PodIdentity: contract.PodIdentity{Provider: "aws"}, AWSRoleARN: "arn:aws:iam::1:role/workload"},
			form:   map[string]string{"Action": "AssumeRole", "RoleArn": "arn:aws:iam::1:role/workload"}},
		"role of the workload under aws-eks": {
			params: amazon.Params{PodIdentity: contract.PodIdentity{Provider: "aws-eks"}, AWSRoleARN: "arn:aws:iam::1:role/eks"},
			form:   map[string]string{"Action": "AssumeRole", "RoleArn": "arn:aws:iam::1:role/eks"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			asked := make(chan map[string]string, 1)
			sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				form := make(map[string]string)
				if err := r.ParseForm(); err != nil {
					t.Error(err)
				}
				for key := range r.PostForm {
					form[key] = r.PostForm.Get(key)
				}
				asked <- form
				w.Header().Set("Content-Type", "text/xml")
				fmt.Fprint(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>`+
					`<SecretAccessKey>k</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>`+
					`</Credentials></AssumeRoleResult></AssumeRoleResponse>`)
			}))
			defer sts.Close()
			t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
			t.Setenv("AWS_ACCESS_KEY_ID", "AKIAOWN")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "own")
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "")
			t.Setenv("AWS_CONFIG_FILE", "/dev/null")
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
			ctx, release := pool.Opening(t.Context())
			defer release()
			config, err := tt.params.Config(ctx, "eu-west-1", lending.AmazonSQS)
			if err != nil {
				t.Fatal(err)
			}
			again, err := tt.params.Config(ctx, "eu-west-1", lending.AmazonSQS)
			if err != nil || again.Credentials != config.Credentials {
				t.Errorf("an equal identity is another one, %v", err)
			}
			got, err := config.Credentials.Retrieve(t.Context())
			if err != nil || got.AccessKeyID != "ASIAROLE" {
				t.Fatalf("credentials = %v, %v", got.AccessKeyID, err)
			}
			form := <-asked
			for key, want := range tt.form {
				if form[key] != want {
					t.Errorf("STS was asked with %s = %q, want %q", key, form[key], want)
				}
			}
		})
	}
}

// TestAWSRegionsHaveTheirOwn: a role is assumed where the trigger is, so its
// credentials in one region are not those of another.
func TestAWSRegionsHaveTheirOwn(t *testing.T) {
	ctx, release := pool.Opening(t.Context())
	defer release()
	p := amazon.Params{AWSRoleARN: "arn:aws:iam::1:role/reader"}
	first, err := p.Config(ctx, "eu-west-1", lending.AmazonSQS)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.Config(ctx, "us-east-1", lending.AmazonSQS)
	if err != nil {
		t.Fatal(err)
	}
	if first.Credentials == second.Credentials || first.Region != "eu-west-1" || second.Region != "us-east-1" {
		t.Errorf("regions %s and %s share credentials", first.Region, second.Region)
	}
}

func TestAWSKeysThatAreMissing(t *testing.T) {
	both := "awsAccessKeyID: is required without a role or pod identity\nawsSecretAccessKey: is required without a role or pod identity"
	tests := map[string]struct {
		identity amazon.Params
		want     string
	}{
		"no way to log in":     {want: both},
		"another pod identity": {identity: amazon.Params{PodIdentity: contract.PodIdentity{Provider: "gcp"}}, want: both},
		"a key without secret": {identity: amazon.Params{AWSAccessKeyID: "AKIA"}, want: "awsSecretAccessKey: is required without a role or pod identity"},
		"keys":                 {identity: amazon.Params{AWSAccessKeyID: "AKIA", AWSSecretAccessKey: "s"}},
		"a role":               {identity: amazon.Params{AWSRoleARN: "arn"}},
		"pod identity":         {identity: amazon.Params{PodIdentity: contract.PodIdentity{Provider: "aws"}}},
		"the family":           {identity: amazon.Params{IdentityOwner: "operator"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := tt.identity.CheckAWS(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("problems = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestAWSCallsTakeTheirTime: what bounds requests to servers of one answer is
// no limit for a call to AWS, which its ctx bounds.
func TestAWSCallsTakeTheirTime(t *testing.T) {
	t.Setenv("KEDA_HTTP_DEFAULT_TIMEOUT", "20")
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done(): // given up
		case <-time.After(200 * time.Millisecond):
			fmt.Fprint(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
		}
	}))
	defer service.Close()
	ctx, release := pool.Opening(t.Context())
	defer release()
	config, err := amazon.Params{AWSAccessKeyID: "AKIA", AWSSecretAccessKey: "s"}.Config(ctx, "eu-west-1", lending.AmazonSQS)
	if err != nil {
		t.Fatal(err)
	}
	config.BaseEndpoint = &service.URL
	got, err := sts.NewFromConfig(config).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *got.Account != "1" {
		t.Fatalf("a call that takes longer than the limit of others = %v, %v", got, err)
	}
}

// TestAWSWritesNothingByItself: what its library notices is told by errors.
func TestAWSWritesNothingByItself(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = before }()
	ctx, release := pool.Opening(t.Context())
	defer release()
	config, err := amazon.Params{AWSAccessKeyID: "AKIA", AWSSecretAccessKey: "s"}.Config(ctx, "eu-west-1", lending.AmazonSQS)
	if err != nil {
		t.Fatal(err)
	}
	config.Logger.Logf(logging.Warn, "hush-hush")
	if written, err := os.ReadFile(file.Name()); err != nil || len(written) > 0 {
		t.Errorf("stderr has %q, %v", written, err)
	}
}
