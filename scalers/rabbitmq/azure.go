package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// entra returns what adds a token of Microsoft Entra to a request. Tokens are
// kept until shortly before they end.
func (l login) entra(ctx context.Context, timeout time.Duration) (func(*http.Request) error, error) {
	// The client certificate and unsafeSsl are meant for the broker alone.
	client, err := scaler.HTTP(ctx, scaler.HTTPOptions{TLS: scaler.TLSParams{CA: l.material().CA}, Timeout: timeout})
	if err != nil {
		return nil, err
	}
	identity, err := azidentity.NewWorkloadIdentityCredential(l.entraOptions(client))
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "workload identity: %v", err)
	}
	scopes := []string{l.WorkloadIdentityResource + "/.default"}
	return func(request *http.Request) error {
		token, err := identity.GetToken(request.Context(), policy.TokenRequestOptions{Scopes: scopes})
		if err != nil {
			return entraFailure(err)
		}
		request.Header.Set("Authorization", "Bearer "+token.Token)
		return nil
	}, nil
}

func (l login) entraOptions(client *scaler.HTTPClient) *azidentity.WorkloadIdentityCredentialOptions {
	o := &azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{
			Transport: entraTransport{client},
			Retry:     policy.RetryOptions{MaxRetries: -1}, // the next read is the next try
		},
		ClientID: l.IdentityID, // empty: the process's own
		TenantID: l.TenantID,
	}
	if l.AuthorityHost != "" {
		o.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: l.AuthorityHost}
		o.DisableInstanceDiscovery = true // the public cloud need not know it
	}
	return o
}

// entraFailure says that there is no token, without the words of the server:
// they may repeat parts of an assertion.
func entraFailure(err error) error {
	var refused *azidentity.AuthenticationFailedError
	switch {
	case errors.As(err, &refused) && refused.RawResponse != nil && refused.RawResponse.StatusCode < 500:
		return status.Errorf(codes.Unauthenticated, "workload identity: Entra gives no token: %d %s",
			refused.RawResponse.StatusCode, http.StatusText(refused.RawResponse.StatusCode))
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "workload identity: no token in time")
	default:
		return status.Error(codes.Unavailable, "workload identity: no token from Entra")
	}
}

// entraTransport sends the requests of the Azure library through ours, with
// its limits.
type entraTransport struct{ client *scaler.HTTPClient }

// Do implements policy.Transporter. An answer that is a refusal loses its body.
func (t entraTransport) Do(request *http.Request) (*http.Response, error) {
	answer, err := t.client.Do(request)
	var refused *scaler.HTTPError
	switch {
	case errors.As(err, &refused):
		answer = &scaler.HTTPAnswer{Status: refused.Status, Header: http.Header{}}
	case err != nil:
		return nil, err
	}
	return &http.Response{
		Status: http.StatusText(answer.Status), StatusCode: answer.Status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: answer.Header, Body: io.NopCloser(bytes.NewReader(answer.Body)), ContentLength: int64(len(answer.Body)),
		Request: request,
	}, nil
}
