package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// azureDataExplorer scales on the one number that a query in the Kusto language
// returns, of an Azure Data Explorer cluster.
var azureDataExplorer = scaler.Define("azure-data-explorer", openDataExplorer)

// dataExplorerParams is the metadata of an azure-data-explorer trigger.
type dataExplorerParams struct {
	identityParams

	// Endpoint is the address of the cluster, such as
	// https://shop.westeurope.kusto.windows.net, or a connection string with it as
	// its Data Source.
	Endpoint string `param:"endpoint,required" secret:"true"`
	// DatabaseName is the database that is queried.
	DatabaseName string `param:"databaseName,required"`
	// Query is the query. It returns one row, whose first column is the value.
	Query string `param:"query,required" long:"true"`
	// Threshold is the target.
	Threshold float64 `param:"threshold,required" role:"target"`
	// ActivationThreshold is the activation threshold.
	ActivationThreshold float64 `param:"activationThreshold" default:"0" role:"activation"`
	// TenantID is the tenant of the application that asks, where there is no pod
	// identity.
	TenantID string `param:"tenantId" from:"trigger,auth,env"`
	// ClientID is that application.
	ClientID string `param:"clientId" from:"trigger,auth,env"`
	// ClientSecret is a secret of that application.
	ClientSecret string `param:"clientSecret" from:"auth"`
	// Cloud is the cloud of Azure whose Entra is asked for tokens:
	// AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud,
	// AzureStackCloud, whose addresses the family was started with, or Private.
	Cloud string `param:"cloud" default:"AzurePublicCloud"`
	// Authority is the address of Entra of cloud Private, which needs it.
	Authority string `param:"activeDirectoryEndpoint" from:"trigger,auth" together:"clientSecret"`
	// Timeout bounds one request, on the side of the cluster, too.
	Timeout time.Duration `param:"timeout"`
}

// Validate checks what can be checked without asking anybody.
func (p dataExplorerParams) Validate() error {
	_, err := kustoEndpoint(p.Endpoint)
	if err != nil {
		err = fmt.Errorf("endpoint: %w", err)
	}
	return errors.Join(err,
		checkAddresses(p.Cloud, allClouds, given{}, given{"activeDirectoryEndpoint", p.Authority}, true),
		checkLogin(p.identityParams, given{"tenantId", p.TenantID}, given{"clientId", p.ClientID}, given{"clientSecret", p.ClientSecret}),
	)
}

// ReadTimeout is the timeout, which would else end with a short interval.
func (p dataExplorerParams) ReadTimeout() time.Duration { return p.Timeout }

// Name does not tell queries apart, as in KEDA.
func (p dataExplorerParams) Name() string {
	return scaler.MetricName("azure-data-explorer", p.DatabaseName)
}

// Keys of Kusto's connection strings, in small letters and without spaces. What is
// not the address is of no use here: database and login are parameters.
//
// Source: https://learn.microsoft.com/kusto/api/connection-strings/kusto
var (
	kustoSources = []string{"datasource", "addr", "address", "networkaddress", "server"}
	kustoOthers  = []string{
		"initialcatalog", "database", "fed", "federated", "federatedsecurity", "aadfed", "aadfederatedsecurity",
		"authorityid", "authority", "aadauthority", "tenantid", "userid", "uid", "user", "password", "pwd",
		"applicationclientid", "appclientid", "applicationkey", "appkey", "applicationtoken", "apptoken", "usertoken", "usrtoken",
		"applicationcertificate", "applicationcertificatethumbprint", "appcert", "sendx5c", "sendcertificatechain",
		"applicationnameforthacing", "applicationnamefortracing", "traceappname", "usernamefortracing", "traceusername",
	}
)

// kustoEndpoint is the address of a cluster, given by itself or as a connection
// string. Its errors never quote the text, which may hold a password.
func kustoEndpoint(text string) (*url.URL, error) {
	if first, _, _ := strings.Cut(text, ";"); !strings.Contains(first, "=") {
		text = "Data Source=" + text
	}
	var source string
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		key, value, found := strings.Cut(part, "=")
		key = strings.ReplaceAll(strings.ToLower(key), " ", "")
		switch {
		case !found:
			return nil, errors.New("is not a connection string: one of its parts, between semicolons, is not <key>=<value>")
		case slices.Contains(kustoSources, key):
			source = strings.TrimSpace(value)
		case !slices.Contains(kustoOthers, key):
			return nil, errors.New("is not a connection string of Kusto: it has a key that is none of those")
		}
	}
	if source == "" {
		return nil, errors.New("is not a connection string of Kusto: it has no Data Source")
	}
	return baseURL(source)
}

// kustoQuery is one query of a database.
type kustoQuery struct {
	cluster             *queried
	database, statement string
	timeout             time.Duration
}

func openDataExplorer(ctx context.Context, p dataExplorerParams) (scaler.Source, error) {
	base, err := kustoEndpoint(p.Endpoint)
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "endpoint: %w", err)
	}
	at, err := cloudOf(p.Cloud)
	if err != nil {
		return nil, err
	}
	service := kustoOf(base.Hostname(), at)
	verified := base.Scheme == "https"
	if p.entra() { // before anybody is asked anything
		if err := service.Check("endpoint", base.Hostname(), verified); err != nil {
			return nil, err
		}
	}
	audience, err := client.Shared(ctx, kustoAudience{base.Scheme, base.Host, p.Timeout}, func(ctx context.Context) (string, error) {
		return kustoResource(ctx, base, p.Timeout)
	})
	if err != nil {
		return nil, explained("database "+p.DatabaseName, err, nil)
	}
	if audience == "" {
		audience = strings.TrimSuffix(service.Scope(), "/.default")
	}
	if !p.entra() && !isPrivate(p.Cloud) {
		if err := belongs(audience, base); err != nil {
			return nil, err
		}
	}
	q, err := asker{
		PodIdentity: p.PodIdentity, application: principal{authority: p.Authority, tenant: p.TenantID, clientID: p.ClientID, secret: p.ClientSecret},
		cloud: p.Cloud, timeout: p.Timeout, most: mostOfTable,
	}.connect(ctx, base, at, audience+"/.default", func() (lending.Loan, error) {
		return service.LendNamed("endpoint", verified, base.Hostname(), audience)
	})
	if err != nil {
		return nil, err
	}
	return &kustoQuery{q, p.DatabaseName, p.Query, p.Timeout}, nil
}

// kustoAudience is what the audience of a cluster is shared by.
type kustoAudience struct {
	Scheme, Host string
	Timeout      time.Duration
}

// everyKusto are the services of Data Explorer of all clouds.
func everyKusto() []lending.Service {
	return []lending.Service{publicCloud.dataExplorer, governmentCloud.dataExplorer, chinaCloud.dataExplorer, germanCloud.dataExplorer}
}

// kustoOf is the service that a host is of, the cloud's for a host of nobody's:
// the parameter cloud is about Entra alone.
func kustoOf(host string, at cloud) lending.Service {
	for _, service := range everyKusto() {
		if service.Owns(host) {
			return service
		}
	}
	return at.dataExplorer
}

// belongs refuses a cluster tokens for an audience that it asks for: a login that
// somebody lends by a ClusterTriggerAuthentication is good for more than that. A
// token for the cluster alone is of use to nobody else; one for all clusters goes to
// those of Azure, over TLS, and to hosts that the family was started with.
func belongs(audience string, base *url.URL) error {
	u, err := url.Parse(audience)
	owns := func(host string) bool {
		return slices.ContainsFunc(everyKusto(), func(s lending.Service) bool { return s.Owns(host) })
	}
	switch {
	case err == nil && strings.EqualFold(u.Host, base.Host):
		return nil
	case err != nil || !owns(u.Hostname()) && !lending.Listed(u.Hostname()):
		return scaler.Errorf(codes.PermissionDenied, "endpoint: the cluster asks for tokens of another service than Azure Data Explorer")
	case lending.Listed(base.Hostname()), base.Scheme == "https" && owns(base.Hostname()):
		return nil
	}
	return scaler.Errorf(codes.PermissionDenied, "endpoint: host %q is no host of Azure Data Explorer over TLS and gets no token that is good for all clusters (the flag %s makes exceptions, as does cloud Private)",
		base.Hostname(), lending.HostsFlag)
}

// mostOfMetadata is how much is read of what a cluster says of itself, in bytes.
const mostOfMetadata = 64 << 10

// kustoResource asks a cluster whom its tokens are for, "" where it does not say.
//
// Source: https://learn.microsoft.com/kusto/api/get-cluster-metadata
func kustoResource(ctx context.Context, base *url.URL, timeout time.Duration) (string, error) {
	plain, err := client.HTTP(ctx, client.HTTPOptions{Timeout: timeout, MaxAnswer: mostOfMetadata})
	if err != nil {
		return "", err
	}
	root := url.URL{Scheme: base.Scheme, Host: base.Host, Path: "/v1/rest/auth/metadata"}
	body, err := plain.Get(ctx, root.String())
	var refused *client.HTTPError
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
		return "", nil
	case err != nil:
		return "", err
	case len(body) == 0:
		return "", nil
	}
	var metadata struct {
		AzureAD struct {
			Resource string `json:"KustoServiceResourceId"`
		} `json:"AzureAD"`
	}
	if json.Unmarshal(body, &metadata) != nil {
		return "", scaler.Errorf(codes.Unavailable, "endpoint: does not say what tokens are for, as a cluster of Data Explorer does")
	}
	return strings.TrimSuffix(metadata.AzureAD.Resource, "/"), nil
}

// kustoHints say what to look at after a refusal.
var kustoHints = map[int]string{
	http.StatusBadRequest:   "look at query and databaseName: the query is wrong, or there is no such database",
	http.StatusUnauthorized: "the token is not accepted: look at tenantId, cloud and the identity",
	http.StatusForbidden:    "the identity needs the role Viewer of the database",
	http.StatusNotFound:     "this is no cluster of Data Explorer: look at endpoint",
}

// Read runs the query.
func (s *kustoQuery) Read(ctx context.Context) ([]scaler.Reading, error) {
	ctx, release := client.Held(ctx)
	defer release()
	what := "database " + s.database
	body, err := json.Marshal(map[string]any{
		"db": s.database, "csl": s.statement,
		"properties": map[string]any{"Options": map[string]any{"servertimeout": s.serverTimeout(ctx)}},
	})
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "query: is not text")
	}
	answer, err := s.cluster.post(ctx, "v2/rest/query", body, http.Header{
		"X-Ms-Client-Request-Id": {"Sluice.query;" + rand.Text()}, "X-Ms-App": {"Sluice"}, "X-Ms-Client-Version": {"Sluice"},
	})
	if err != nil {
		return nil, explained(what, err, kustoHints)
	}
	value, err := client.Understand(ctx, answer, func(turn func() error) (float64, error) { return parseKusto(turn, answer) })
	if err != nil {
		return nil, explained(what, err, nil)
	}
	return scaler.One(value), nil
}

// serverTimeout is how long the cluster may take: for as long as somebody waits.
func (s *kustoQuery) serverTimeout(ctx context.Context) string {
	left := 4 * time.Minute
	if deadline, bounded := ctx.Deadline(); bounded {
		left = time.Until(deadline)
	}
	if s.timeout > 0 {
		left = min(left, s.timeout)
	}
	seconds := int(min(max(left, time.Second), time.Hour).Round(time.Second) / time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
}
