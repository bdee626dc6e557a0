package main

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// storageParams are the storage account of a trigger and who asks it.
type storageParams struct {
	identityParams
	cloudParams

	// AccountName is the storage account. It counts with pod identity alone,
	// which needs it.
	AccountName string `param:"accountName"`
}

// check joins what is wrong with the ways to the account; service is "queue" or
// "blob".
func (p storageParams) check(connection, service string) error {
	if p.entra() {
		if p.AccountName == "" {
			return errors.New("accountName: is required with pod identity azure-workload")
		}
		return checkLabel("accountName", p.AccountName)
	}
	if p.Provider != "" && p.Provider != "none" {
		return nil // which is a problem of its own
	}
	if connection == "" {
		return errors.New("connection: is required without pod identity azure-workload")
	}
	_, err := parseStorage(connection, service)
	return of("connection", err)
}

// warnings are about what is given in vain.
func (p storageParams) warnings(connection string) []string {
	switch {
	case p.entra() && connection != "":
		return []string{"connection: is ignored, since the authentication has pod identity azure-workload"}
	case !p.entra() && p.AccountName != "":
		return []string{"accountName: is ignored without pod identity azure-workload: connection says which account it is"}
	}
	return nil
}

// of puts a parameter before its problem. Nil stays nil.
func of(parameter string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", parameter, err)
}

// storage is one service of a storage account, as one asker reaches it. All of
// their sources share it.
//
// The vendor's client would keep all that an answer lists; this one counts.
type storage struct {
	access storageAccess
	http   *client.HTTPClient
}

// open returns the service of the account. It is called with the ctx of an Open
// and asks nothing yet.
func (p storageParams) open(ctx context.Context, connection, service string) (*storage, error) {
	if !p.entra() {
		access, err := parseStorage(connection, service)
		if err != nil {
			return nil, of("connection", err)
		}
		return openStorage(ctx, access)
	}
	host, in, err := p.host(p.AccountName, service+".", func(c cloud) string { return c.storage })
	if err != nil {
		return nil, err
	}
	return lendStorage(ctx, p.identityParams, in, cmp.Or(p.suffixParameter(), "accountName"), host, p.AccountName)
}

// suffixParameter is what chooses the host in a private cloud.
func (p cloudParams) suffixParameter() string {
	if isPrivate(p.Cloud) {
		return "endpointSuffix"
	}
	return ""
}

// openStorage returns the service that an account's key or signature opens.
func openStorage(ctx context.Context, access storageAccess) (*storage, error) {
	return client.Shared(ctx, access, func(ctx context.Context) (*storage, error) {
		options := client.HTTPOptions{}
		if access.Key != "" {
			options.Authorize = access.sign
		}
		return access.connect(ctx, access, options)
	})
}

// lendStorage returns the service that the family's own identity opens.
// parameter leads to the host.
func lendStorage(ctx context.Context, id identityParams, in cloud, parameter, host, account string) (*storage, error) {
	access := storageAccess{Base: "https://" + host, Account: account}
	u, err := url.Parse(access.Base)
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "%s: is not a host", parameter)
	}
	loan, err := in.storageTokens.Lend(parameter, true, u.Hostname())
	if err != nil {
		return nil, err
	}
	return client.Shared(ctx, []any{access, id.PodIdentity}, func(ctx context.Context) (*storage, error) {
		token, err := id.tokens(ctx, loan)
		if err != nil {
			return nil, err
		}
		return access.connect(ctx, id.PodIdentity, client.HTTPOptions{Authorize: bearing(token)})
	})
}

// connect is called with the ctx of a dial. Whom Azure counts requests for is the
// account, whoever asks; login tells who does from others.
func (a storageAccess) connect(ctx context.Context, login any, o client.HTTPOptions) (*storage, error) {
	account, err := client.NamedAccountOf(ctx, []string{"azure", askedAt(a.Base)}, login)
	if err != nil {
		return nil, err
	}
	o.Account, o.Throttled = account, throttled
	http, err := client.HTTP(ctx, o)
	return &storage{access: a, http: http}, err
}

// throttled is what answers of Azure say about too many requests: ServerBusy
// comes without a Retry-After.
func throttled(answered int, header http.Header) *client.Throttling {
	said := client.ThrottledHTTP(answered, header)
	if said == nil && answered == http.StatusServiceUnavailable {
		return &client.Throttling{Said: "503 Service Unavailable"}
	}
	return said
}

// storageVersion is the version of the service that is spoken.
const storageVersion = "2023-11-03"

// get asks for a path below the account, escaped, with a query.
func (s *storage) get(ctx context.Context, path string, query url.Values) (*client.HTTPAnswer, error) {
	return s.ask(ctx, http.MethodGet, path, query)
}

func (s *storage) ask(ctx context.Context, method, path string, query url.Values) (*client.HTTPAnswer, error) {
	address := s.access.Base + "/" + path + "?" + query.Encode()
	if s.access.SAS != "" {
		address += "&" + s.access.SAS
	}
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "the address of the storage account is not a URL") // it may hold a signature
	}
	request.Header.Set("x-ms-version", storageVersion)
	return s.http.Do(request)
}

// sign adds the signature of the account's key.
//
// Source: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
func (a storageAccess) sign(request *http.Request) error { return a.signed(request, 0) }

// signed adds the signature of a request with a body of that length.
func (a storageAccess) signed(request *http.Request, length int) error {
	key, err := base64.StdEncoding.DecodeString(a.Key)
	if err != nil {
		return scaler.Errorf(codes.InvalidArgument, "connection: has an AccountKey that is not base64")
	}
	request.Header.Set("x-ms-date", time.Now().UTC().Format(http.TimeFormat))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(stringToSign(request, length, a.Account)))
	request.Header.Set("Authorization", "SharedKey "+a.Account+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return nil
}

// stringToSign is what the signature of a request is of.
func stringToSign(request *http.Request, length int, account string) string {
	said := ""
	if length > 0 {
		said = strconv.Itoa(length)
	}
	var b strings.Builder
	// Of the headers that count, only the length of a body is ever there.
	b.WriteString(request.Method + strings.Repeat("\n", 3) + said + strings.Repeat("\n", 9))
	for _, name := range slices.Sorted(maps.Keys(request.Header)) {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ms-") {
			fmt.Fprintf(&b, "%s:%s\n", lower, strings.TrimSpace(request.Header.Get(name)))
		}
	}
	b.WriteString("/" + account + cmp.Or(request.URL.EscapedPath(), "/"))
	query := map[string][]string{}
	for name, values := range request.URL.Query() {
		query[strings.ToLower(name)] = values
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		slices.Sort(query[name])
		b.WriteString("\n" + name + ":" + strings.Join(query[name], ","))
	}
	return b.String()
}

// failure is the failure of a request about what, such as "queue orders", in
// words for the user.
func (s *storage) failure(what string, err error) error {
	var refused *client.HTTPError
	if !errors.As(err, &refused) {
		return scaler.Errorf(status.Code(err), "%s: %w", what, err)
	}
	advice := ""
	switch refused.Status {
	case http.StatusNotFound:
		advice = " (it does not exist in this storage account)"
	case http.StatusUnauthorized, http.StatusForbidden:
		switch {
		case s.access.Key != "":
			advice = " (the account does not take the AccountKey, or has keys or this network shut out)"
		case s.access.SAS != "":
			advice = " (the account does not take the SharedAccessSignature: it has ended, or allows less than to read here)"
		default:
			advice = " (the identity lacks a role for the data of this account, such as Storage Queue Data Reader or Storage Blob Data Reader)"
		}
	}
	return scaler.Errorf(status.Code(err), "%s: %w%s", what, err, advice)
}
