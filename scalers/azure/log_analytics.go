package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// azureLogAnalytics scales on the one number that a query in the Kusto language
// returns, of a Log Analytics workspace.
var azureLogAnalytics = scaler.Define("azure-log-analytics", openLogAnalytics)

// logAnalyticsParams is the metadata of an azure-log-analytics trigger.
type logAnalyticsParams struct {
	scaler.Object
	identityParams

	// WorkspaceID is the id of the workspace.
	WorkspaceID string `param:"workspaceId,required" from:"auth,trigger,env"`
	// Query is the query. It returns one row, whose first column is the value, and
	// says itself which time it looks at.
	Query string `param:"query,required" long:"true"`
	// Threshold is the target.
	Threshold float64 `param:"threshold,required" role:"target"`
	// ActivationThreshold is the activation threshold.
	ActivationThreshold float64 `param:"activationThreshold" default:"0" role:"activation"`
	// TenantID is the tenant of the application that asks, where there is no pod
	// identity.
	TenantID string `param:"tenantId" from:"auth,trigger,env"`
	// ClientID is that application.
	ClientID string `param:"clientId" from:"auth,trigger,env"`
	// ClientSecret is a secret of that application.
	ClientSecret string `param:"clientSecret" from:"auth,trigger,env" secret:"true"`
	// Cloud is the cloud of Azure: AzurePublicCloud, AzureUSGovernmentCloud,
	// AzureChinaCloud, or Private, whose addresses the trigger gives.
	Cloud string `param:"cloud" default:"azurePublicCloud"`
	// ResourceURL is the address of Log Analytics in cloud Private, which needs it.
	// Tokens are for it.
	ResourceURL string `param:"logAnalyticsResourceURL"`
	// Authority is the address of Entra of cloud Private; the family's own when
	// absent.
	Authority string `param:"activeDirectoryEndpoint" from:"trigger,auth" together:"clientSecret"`
	// UnsafeSSL accepts any certificate of the service.
	UnsafeSSL bool `param:"unsafeSsl" default:"false"`
	// Timeout bounds one request.
	Timeout time.Duration `param:"timeout"`
}

// Validate checks what can be checked without asking anybody.
func (p logAnalyticsParams) Validate() error {
	return errors.Join(
		checkSegment("workspaceId", p.WorkspaceID),
		checkAddresses(p.Cloud, monitorClouds, given{"logAnalyticsResourceURL", p.ResourceURL}, given{"activeDirectoryEndpoint", p.Authority}, false),
		p.checkLogin(),
	)
}

// checkLogin names whose login is incomplete, as KEDA does for this type.
func (p logAnalyticsParams) checkLogin() error {
	err := checkLogin(p.identityParams, given{"tenantId", p.TenantID}, given{"clientId", p.ClientID}, given{"clientSecret", p.ClientSecret})
	joined, several := err.(interface{ Unwrap() []error })
	if !several {
		return err
	}
	problems := slices.Clone(joined.Unwrap())
	last := &problems[len(problems)-1]
	*last = fmt.Errorf("%w (%s %s in namespace %s)", *last, cmp.Or(p.Kind, "ScaledObject"), p.Object.Name, p.Namespace)
	return errors.Join(problems...)
}

// checkSegment refuses what would lead to another place in a path.
func checkSegment(name, value string) error {
	if isDots(value) {
		return errors.New(name + ": is not an id")
	}
	return nil
}

// ReadTimeout is the timeout, which would else end with a short interval.
func (p logAnalyticsParams) ReadTimeout() time.Duration { return p.Timeout }

// Name does not tell queries apart, as in KEDA.
func (p logAnalyticsParams) Name() string {
	if p.WorkspaceID == "" { // it may come from the authentication
		return ""
	}
	return scaler.MetricName("azure-log-analytics", p.WorkspaceID)
}

// logAnalytics are the addresses of Log Analytics.
var logAnalytics = map[lending.Service]string{
	lending.AzureLogAnalytics:             "https://api.loganalytics.io",
	lending.AzureLogAnalyticsUSGovernment: "https://api.loganalytics.us",
	lending.AzureLogAnalyticsChina:        "https://api.loganalytics.azure.cn",
}

// logQuery is one query of a workspace.
type logQuery struct {
	service   *queried
	workspace string
	body      []byte
}

func openLogAnalytics(ctx context.Context, p logAnalyticsParams) (scaler.Source, error) {
	body, err := json.Marshal(map[string]string{"query": p.Query})
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "query: is not text")
	}
	q, err := asker{
		PodIdentity: p.PodIdentity, application: principal{authority: p.Authority, tenant: p.TenantID, clientID: p.ClientID, secret: p.ClientSecret},
		cloud: p.Cloud, service: func(c cloud) lending.Service { return c.logs }, address: logAnalytics,
		own: p.ResourceURL, addressOf: "logAnalyticsResourceURL",
		unsafe: p.UnsafeSSL, timeout: p.Timeout, most: mostOfTable,
	}.queried(ctx)
	if err != nil {
		return nil, err
	}
	return &logQuery{q, p.WorkspaceID, body}, nil
}

// logHints say what to look at after a refusal.
var logHints = map[int]string{
	http.StatusBadRequest:   "the query is wrong: look at query, for example by running it in the workspace's Logs",
	http.StatusUnauthorized: "the token is not accepted: look at tenantId, cloud and the identity",
	http.StatusForbidden:    "the identity needs the role Log Analytics Reader on the workspace",
	http.StatusNotFound:     "no such workspace: look at workspaceId, which is an id and not a name, and at cloud",
}

// Read runs the query.
func (s *logQuery) Read(ctx context.Context) ([]scaler.Reading, error) {
	ctx, release := client.Held(ctx)
	defer release()
	body, err := s.service.post(ctx, "v1/workspaces/"+url.PathEscape(s.workspace)+"/query", s.body, nil)
	if err != nil {
		return nil, explained("workspace "+s.workspace, err, logHints)
	}
	value, err := client.Understand(ctx, body, func(turn func() error) (float64, error) { return parseLogs(turn, body) })
	if err != nil {
		return nil, explained("workspace "+s.workspace, err, nil)
	}
	return scaler.One(value), nil
}

// logsAnswer is what Log Analytics says to a query, as far as its one number goes.
//
// Source: https://learn.microsoft.com/azure/azure-monitor/logs/api/response-format
type logsAnswer struct {
	Error  json.RawMessage `json:"error"`
	Tables json.RawMessage `json:"tables"`
}

// logsTables are the tables of an answer, of which the first one counts.
type logsTables struct {
	first table
	count int
}

// logsTable is one of them.
type logsTable struct {
	Columns columns `json:"columns"`
	Rows    rows    `json:"rows"`
}

// add takes in one table.
func (t *logsTables) add(next logsTable) {
	if t.count == 0 {
		t.first = table{next.Columns, next.Rows}
	}
	t.count++
}

// parseLogs returns the one number of an answer.
func parseLogs(turn func() error, body []byte) (float64, error) {
	var a logsAnswer
	switch err := json.Unmarshal(body, &a); {
	case err != nil:
		return 0, errNotOfAPI
	case a.Error != nil && !isNull(a.Error):
		return 0, errPartial
	case a.Tables == nil || isNull(a.Tables):
		return 0, errNotOfAPI
	}
	var tables logsTables
	empty := logsTable{Columns: columns{turn: turn}, Rows: rows{turn: turn}}
	switch err := client.EachElement(turn, a.Tables, empty, tables.add); {
	case err != nil:
		return 0, errNotOfAPI
	case tables.count == 0:
		return 0, scaler.Errorf(codes.FailedPrecondition, "the query returns no table, want one with one row")
	case tables.count > 1:
		return 0, scaler.Errorf(codes.FailedPrecondition, "the query returns %d tables, want one: it is one statement with one result", tables.count)
	}
	return tables.first.number()
}
