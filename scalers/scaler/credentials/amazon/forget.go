package amazon

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/refusal"
)

// kept are the credentials of an identity that can have others: those of a role, and
// those of the process. All that act as the identity share them.
type kept struct {
	cache *aws.CredentialsCache

	mu       sync.Mutex
	present  aws.Credentials // what was obtained last
	refusals refusal.Pace
}

// Retrieve implements aws.CredentialsProvider. While others cannot be had, what was
// refused serves on as long as it lasts: others may take it.
func (k *kept) Retrieve(ctx context.Context) (aws.Credentials, error) {
	got, err := k.cache.Retrieve(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.present = got
		return got, nil
	}
	if ctx.Err() == nil && k.present.HasKeys() && !k.present.Expired() {
		return k.present, nil
	}
	return got, err
}

// forget has others obtained in place of those with a key, if these are the present
// ones.
func (k *kept) forget(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if key == "" || key != k.present.AccessKeyID || !k.refusals.Due(now, refusal.Every) {
		return
	}
	k.refusals.Count(now)
	k.cache.Invalidate()
}

// ofCredentials are the errors that say nothing but that credentials are not good,
// or not any more. Others are about what was asked for, or about the request.
var ofCredentials = map[string]bool{
	"ExpiredToken": true, "ExpiredTokenException": true, "TokenRefreshRequired": true, "InvalidToken": true,
	"InvalidAccessKeyId": true, "InvalidClientTokenId": true, "UnrecognizedClientException": true,
}

// Forget has the next request obtain credentials afresh, if err says that those of
// the request are not good any more, and they are the present ones of config. It
// does so once a minute at most.
func Forget(config aws.Config, err error) {
	var said smithy.APIError
	var answer *smithyhttp.ResponseError
	if errors.As(err, &said) && errors.As(err, &answer) && answer.Response != nil {
		forget(config, said.ErrorCode(), answer.Response.Request)
	}
}

// ForgetAfter is Forget for an answer to a request that was signed without the
// library.
func ForgetAfter(config aws.Config, answer *http.Response) {
	forget(config, answer.Header.Get("X-Amzn-Errortype"), answer.Request)
}

func forget(config aws.Config, said string, request *http.Request) {
	said, _, _ = strings.Cut(said[strings.LastIndexByte(said, '#')+1:], ":")
	if k, is := config.Credentials.(*kept); is && request != nil && ofCredentials[said] {
		k.forget(signer(request))
	}
}

// signer is the key that signed a request.
func signer(request *http.Request) string {
	_, after, _ := strings.Cut(request.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(after, "/")
	return key
}
