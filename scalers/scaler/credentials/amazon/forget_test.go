package amazon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/refusal"
)

// issuer gives credentials, each with a key of its own.
type issuer struct {
	given int
	fails bool
}

func (i *issuer) Retrieve(context.Context) (aws.Credentials, error) {
	if i.fails {
		return aws.Credentials{}, errors.New("no")
	}
	i.given++
	return aws.Credentials{
		AccessKeyID: fmt.Sprint("ASIA", i.given), SecretAccessKey: "s", CanExpire: true, Expires: time.Now().Add(time.Hour),
	}, nil
}

// refusing is the answer to a request that a key has signed, as the library tells it.
func refusing(key, said string) error {
	request := &http.Request{Header: http.Header{"Authorization": {"AWS4-HMAC-SHA256 Credential=" + key + "/20000101/eu-west-1/sqs/aws4_request, SignedHeaders=host, Signature=0"}}}
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusForbidden, Request: request}},
		Err:      &smithy.GenericAPIError{Code: said},
	}
}

// sharing returns a configuration that many share, and what it has now.
func sharing(t *testing.T) (*issuer, aws.Config, func() string) {
	t.Helper()
	from := &issuer{}
	config := aws.Config{Credentials: &kept{cache: aws.NewCredentialsCache(&last{provider: from}, ahead)}}
	return from, config, func() string {
		t.Helper()
		got, err := config.Credentials.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got.AccessKeyID
	}
}

// TestWhatIsNotOfTheCredentialsForgetsNone: a tenant's own workspace, queue or
// endpoint may refuse whatever it likes to.
func TestWhatIsNotOfTheCredentialsForgetsNone(t *testing.T) {
	from, config, present := sharing(t)
	present()
	for _, said := range []string{
		"AccessDenied", "AccessDeniedException", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature",
		"MissingAuthenticationToken", "AuthFailure", "OptInRequired", "KMS.AccessDeniedException", "UnknownError", "",
	} {
		Forget(config, refusing("ASIA1", said))
		ForgetAfter(config, &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{"X-Amzn-Errortype": {said}}, Request: signed("ASIA1")})
		if got := present(); got != "ASIA1" {
			t.Fatalf("%q has credentials obtained afresh: %s", said, got)
		}
	}
	for name, err := range map[string]error{
		"none": nil, "without an answer": errors.New("ExpiredToken"), "of others": refusing("ASIA0", "ExpiredToken"), "unsigned": refusing("", "ExpiredToken"),
	} {
		Forget(config, err)
		if got := present(); got != "ASIA1" || from.given != 1 {
			t.Errorf("a refusal %s has credentials obtained afresh: %s", name, got)
		}
	}
}

func signed(key string) *http.Request {
	var answer *smithyhttp.ResponseError
	errors.As(refusing(key, ""), &answer)
	return answer.Response.Request
}

// TestCredentialsThatEndedAreForgotten, by each way and name, once a minute.
func TestCredentialsThatEndedAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, config, present := sharing(t)
		for _, said := range []string{"ExpiredToken", "com.amazon.coral.service#ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"} {
			before := present()
			Forget(config, fmt.Errorf("SQS GetQueueAttributes: %w", refusing(before, said)))
			after := present()
			if after == before {
				t.Errorf("%s: %s is used on", said, before)
			}
			Forget(config, refusing(after, said))
			if got := present(); got != after {
				t.Errorf("%s: forgotten twice within a minute", said)
			}
			<-time.After(refusal.Every)
		}
		before := present()
		ForgetAfter(config, &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{"X-Amzn-Errortype": {"UnrecognizedClientException:http://internal.amazon.com/coral/"}}, Request: signed(before)})
		if present() == before {
			t.Error("an answer that is read without the library forgets none")
		}

		// While there are no others, those that were refused serve all the same.
		<-time.After(refusal.Every)
		before = present()
		from.fails = true
		Forget(config, refusing(before, "ExpiredToken"))
		if got := present(); got != before {
			t.Errorf("%s instead of %s while none are given", got, before)
		}
		from.fails = false
		<-time.After(refusal.Every)
		Forget(config, refusing(before, "ExpiredToken"))
		if present() == before {
			t.Error("others are given again, and not used")
		}
	})
}

// TestTheProcessKeepsItsCredentialsToo: they come without a role, from the library's
// own chain.
func TestTheProcessKeepsItsCredentialsToo(t *testing.T) {
	from := &issuer{}
	config := aws.Config{Credentials: &kept{cache: aws.NewCredentialsCache(from, ahead)}}
	first, err := config.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from.fails = true
	Forget(config, refusing(first.AccessKeyID, "ExpiredToken"))
	if got, err := config.Credentials.Retrieve(t.Context()); err != nil || got.AccessKeyID != first.AccessKeyID {
		t.Errorf("got %s, %v", got.AccessKeyID, err)
	}
}
