package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// Services that are queried are asked by net/http and by none of Azure's clients:
// a query is one request with one number in its answer, and what those add to
// that (retries that outlive a read, answers without a bound, tables and frames
// kept whole) is what a family must not have.

// asker is who asks a service that is queried, and where.
type asker struct {
	scaler.PodIdentity
	// application asks where there is no pod identity. Its authority counts with
	// cloud Private; "" is the process's then.
	application principal
	// cloud is the cloud's name.
	cloud string
	// service is what tokens are for in a cloud, and address where it is. Of cloud
	// Private the trigger gives the address, by the parameter addressOf.
	service   func(cloud) lending.Service
	address   map[lending.Service]string
	own       string
	addressOf string
	// counted tells those apart for whom the service counts requests, beside who
	// asks.
	counted   string
	throttled func(int, http.Header) *client.Throttling

	unsafe  bool          // verification of the service is off
	timeout time.Duration // of a request, 0 for the process's
	most    int64         // of an answer, in bytes
}

// queried is one service as one identity asks it, shared by all of its sources.
type queried struct {
	base   *url.URL
	client *client.HTTPClient
}

// baseURL is an address that paths are put behind. Its errors never quote the
// text, which may hold a password.
func baseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("is not a URL of https or http without a user and a query")
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), ""
	return u, nil
}

// given is a parameter with its value.
type given struct{ name, value string }

// checkAddresses checks the cloud, and the addresses that a private one has.
func checkAddresses(cloud string, known []string, address, authority given, both bool) error {
	if err := checkCloud(cloud, known); err != nil || !isPrivate(cloud) {
		return err
	}
	var problems []error
	if address.name != "" {
		if _, err := baseURL(address.value); address.value == "" {
			problems = append(problems, fmt.Errorf("%s: is required with cloud Private", address.name))
		} else if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", address.name, err))
		}
	}
	u, err := url.Parse(authority.value)
	switch {
	case authority.value == "" && both:
		problems = append(problems, fmt.Errorf("%s: is required with cloud Private", authority.name))
	case authority.value != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != ""):
		problems = append(problems, fmt.Errorf("%s: is not a URL of https", authority.name))
	}
	return errors.Join(problems...)
}

// checkLogin names all that is missing to log in without a pod identity.
func checkLogin(id identityParams, tenant, clientID, secret given) error {
	var problems []error
	if tenant.value != "" && !tenantName.MatchString(tenant.value) {
		problems = append(problems, fmt.Errorf("%s: is neither the id of a tenant nor a domain of it", tenant.name))
	}
	if id.Provider != "" && id.Provider != "none" {
		return errors.Join(problems...)
	}
	for _, one := range []given{tenant, clientID, secret} {
		if one.value == "" {
			problems = append(problems, fmt.Errorf("%s: is required without pod identity azure-workload", one.name))
		}
	}
	return errors.Join(problems...)
}

// tenantName is what a tenant may be called: it becomes part of a path.
var tenantName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

// place is where the service is, and what tokens are for if that is not the
// service's own.
func (a asker) place() (base *url.URL, at cloud, audience string, err error) {
	at, err = cloudOf(a.cloud)
	if err != nil {
		return nil, at, "", err
	}
	address := a.own
	if a.address != nil && !isPrivate(a.cloud) {
		address = a.address[a.service(at)]
	} else if a.address != nil {
		audience = strings.TrimSuffix(a.own, "/")
	}
	base, err = baseURL(address)
	if err != nil {
		return nil, at, "", scaler.Errorf(codes.InvalidArgument, "%s: %w", a.addressOf, err)
	}
	return base, at, audience, nil
}

// authority is the address of Entra: the cloud's, and in cloud Private the
// trigger's or the process's.
func (a asker) authority(at cloud) string {
	if isPrivate(a.cloud) {
		return cmp.Or(a.application.authority, os.Getenv("AZURE_AUTHORITY_HOST"), at.authority)
	}
	return at.authority
}

// tokens are those that the service is shown, by lease for the family's identity
// and for scope.
func (a asker) tokens(ctx context.Context, at cloud, lease func() (lending.Loan, error), scope string) (func(context.Context) (string, error), error) {
	who := identityParams{a.PodIdentity}
	if !who.entra() {
		application := a.application
		application.authority = a.authority(at)
		return application.tokens(ctx, scope)
	}
	to, err := lease()
	if err != nil {
		return nil, err
	}
	identity := azure.WorkloadIdentity{ClientID: who.IdentityID, TenantID: who.TenantID, AuthorityHost: who.AuthorityHost}
	switch {
	case identity.AuthorityHost != "":
	case isPrivate(a.cloud):
		identity.AuthorityHost, identity.AuthorityOf = a.application.authority, "activeDirectoryEndpoint"
	case at.authority != publicCloud.authority:
		identity.AuthorityHost = at.authority
	}
	tokens, err := identity.Tokens(ctx, to)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (string, error) { return tokens.Token(ctx, "workload identity") }, nil
}

// queried returns the service. It is called with Open's ctx and asks nothing yet.
func (a asker) queried(ctx context.Context) (*queried, error) {
	base, at, audience, err := a.place()
	if err != nil {
		return nil, err
	}
	service := a.service(at)
	lease := func() (lending.Loan, error) {
		if audience != "" {
			return service.LendFor(a.addressOf, base.Hostname(), a.addressOf, audience)
		}
		return service.Lend("cloud", base.Scheme == "https" && !a.unsafe, base.Hostname())
	}
	scope := service.Scope()
	if audience != "" {
		scope = audience + "/.default"
	}
	return a.connect(ctx, base, at, scope, lease)
}

// connect returns the service at base, where tokens for scope are shown.
func (a asker) connect(ctx context.Context, base *url.URL, at cloud, scope string, lease func() (lending.Loan, error)) (*queried, error) {
	who := []any{a.PodIdentity, a.application, a.authority(at), scope}
	return client.Shared(ctx, []any{base.String(), a.cloud, who, a.counted, a.unsafe, a.timeout, a.most}, func(ctx context.Context) (*queried, error) {
		tokens, err := a.tokens(ctx, at, lease, scope)
		if err != nil {
			return nil, err
		}
		account, err := client.AccountOf(ctx, []any{"azure", askedAt(base.String()), a.counted, who})
		if err != nil {
			return nil, err
		}
		asking, err := client.HTTP(ctx, client.HTTPOptions{
			UnsafeSSL: a.unsafe, Timeout: a.timeout, MaxAnswer: a.most, Authorize: bearing(tokens), Account: account, Throttled: a.throttled,
		})
		return &queried{base: base, client: asking}, err
	})
}

// get asks for a path, which is escaped, with a query.
func (q *queried) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	return q.ask(ctx, http.MethodGet, path, query, nil, nil)
}

// post sends JSON to a path, which is escaped.
func (q *queried) post(ctx context.Context, path string, body []byte, header http.Header) ([]byte, error) {
	return q.ask(ctx, http.MethodPost, path, nil, body, header)
}

func (q *queried) ask(ctx context.Context, method, path string, query url.Values, body []byte, header http.Header) ([]byte, error) {
	at := q.base.JoinPath(path)
	at.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "the address is not a URL")
	}
	maps.Copy(request.Header, header)
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	answer, err := q.client.Do(request)
	switch {
	case err != nil:
		return nil, err
	case answer.Status != http.StatusOK:
		return nil, errNotOfAPI
	}
	return answer.Body, nil
}

// explained says of what a failure is, and what to look at after a refusal. hints
// are by the status of the answer.
func explained(what string, err error, hints map[int]string) error {
	if errors.Is(err, scaler.ErrNoData) {
		return fmt.Errorf("%s: %w", what, err)
	}
	var refused *client.HTTPError
	if errors.As(err, &refused) && hints[refused.Status] != "" {
		return scaler.Errorf(status.Code(err), "%s: %w: "+hints[refused.Status], what, err)
	}
	return scaler.Errorf(status.Code(err), "%s: %w", what, err)
}
