package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	var answered *scaler.HTTPError
	switch {
	case errors.As(err, &answered) && answered.Status < 500:
		return status.Errorf(codes.Unauthenticated, "workload identity: %v", answered)
	case errors.As(err, &answered):
		return fmt.Errorf("workload identity: %w", answered)
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "workload identity: no token in time")
	default:
		return status.Error(codes.Unavailable, "workload identity: no token")
	}
}

// entraTransport sends the requests of the Azure library through ours, with
// its limits.
type entraTransport struct{ client *scaler.HTTPClient }

// Do implements policy.Transporter.
func (t entraTransport) Do(request *http.Request) (*http.Response, error) {
	answer, err := t.client.Do(request)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: answer.Status, Status: http.StatusText(answer.Status),
		Header: answer.Header, Body: io.NopCloser(bytes.NewReader(answer.Body)), Request: request,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(answer.Body)),
	}, nil
}
