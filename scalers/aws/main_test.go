package main

import (
	"context"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	static "github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestMain(m *testing.M) {
	// The machine's own identity and settings have no part in tests.
	for name, value := range map[string]string{
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_ROLE_ARN": "",
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_ENDPOINT_URL": "", "AWS_PROFILE": "",
	} {
		os.Setenv(name, value)
	}
	goleak.VerifyTestMain(scalertest.Beside(servers.Ending(m)))
}

const region = "eu-west-1"

// keys are those of a user that Moto takes for the owner of account
// 123456789012, as long as it does not check logins.
var keys = map[string]string{"awsAccessKeyID": "AKIAEXAMPLE", "awsSecretAccessKey": "hush-hush"}

// at is the metadata of a trigger whose service answers at address.
func at(address string, more ...map[string]string) map[string]string {
	all := map[string]string{"awsRegion": region, "awsEndpoint": address}
	for _, m := range more {
		maps.Copy(all, m)
	}
	return all
}

// owner is the configuration of who sets Moto up.
func owner(m *servers.MotoServer) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: aws.String(m.URL()),
		Credentials: static.NewStaticCredentialsProvider(keys["awsAccessKeyID"], keys["awsSecretAccessKey"], ""),
	}
}

// within bounds what is expected to happen soon.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
