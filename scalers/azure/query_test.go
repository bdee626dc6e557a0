package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// queryStub stands in for a service of Azure that is queried and for Entra, at one
// address, with a certificate of an authority that is trusted: none of them can be
// run here. It checks who asks for a token and for what, and shows what is asked
// with the right one to answer.
type queryStub struct {
	*httptest.Server

	mu          sync.Mutex
	secret      string // of the application
	logins      []string
	asked       []*http.Request
	bodies      [][]byte
	connections int
	answer      http.HandlerFunc
}

const (
	stubTenant = "11111111-2222-3333-4444-555555555555"
	stubClient = "the-application"
	stubSecret = "hush-hush-secret"
)

func newQueryStub(t testing.TB, answer http.HandlerFunc) *queryStub {
	t.Helper()
	s := &queryStub{secret: stubSecret, answer: answer}
	certificate, key, err := trusted.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			s.connections++
			s.mu.Unlock()
		}
	}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *queryStub) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/"+stubTenant+"/oauth2/v2.0/token" {
		s.login(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	if r.URL.Path != "/v1/rest/auth/metadata" && r.Header.Get("Authorization") != "Bearer for https://"+r.Host+"/.default" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":{"code":"InvalidTokenError","message":"hush-hush"}}`)
		return
	}
	s.mu.Lock()
	s.asked, s.bodies = append(s.asked, r), append(s.bodies, body)
	answer := s.answer
	s.mu.Unlock()
	answer(w, r)
}

// login is Entra.
func (s *queryStub) login(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = r.ParseForm()
	s.logins = append(s.logins, r.PostForm.Get("scope"))
	w.Header().Set("Content-Type", "application/json")
	if r.PostForm.Get("grant_type") != "client_credentials" || r.PostForm.Get("client_id") != stubClient || r.PostForm.Get("client_secret") != s.secret {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client","error_description":"AADSTS7000215: hush-hush"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"token_type": "Bearer", "expires_in": 3599, "access_token": "for " + r.PostForm.Get("scope")})
}

// requests is how many the service had, and the last of them.
func (s *queryStub) requests() (int, *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		return 0, nil
	}
	return len(s.asked), s.asked[len(s.asked)-1]
}

func (s *queryStub) answers(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// saying answers with a status and a text.
func saying(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if isMetadata(w, r) {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// isMetadata answers the one question that Data Explorer is asked by anybody.
func isMetadata(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != "/v1/rest/auth/metadata" {
		return false
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"AzureAD": map[string]string{"LoginEndpoint": "https://login.microsoftonline.com", "KustoServiceResourceId": "https://" + r.Host}})
	return true
}

// queryKind is a type that queries, and what tests of all of them know of it.
type queryKind struct {
	trigger scaler.Trigger
	// metadata is of a trigger at an address, such as https://host:port.
	metadata func(address string) map[string]string
	// secret is the parameter with the application's secret, and client that with
	// its id.
	client, secret string
	// endpoint is the parameter with the address.
	endpoint string
	value    string // an answer with the number 5
	what     string // how errors begin
	path     string // what is asked
}

// cloudOfStub is cloud Private at an address.
func cloudOfStub(address string, metadata map[string]string) map[string]string {
	return joined(map[string]string{"cloud": "Private", "activeDirectoryEndpoint": address + "/", "tenantId": stubTenant}, metadata)
}

var queryKinds = []queryKind{
	{
		trigger: azureMonitor, client: "activeDirectoryClientId", secret: "activeDirectoryClientPassword", endpoint: "azureResourceManagerEndpoint",
		metadata: func(address string) map[string]string {
			return cloudOfStub(address, map[string]string{
				"azureResourceManagerEndpoint": address, "resourceURI": "Microsoft.ServiceBus/namespaces/shop", "subscriptionId": "sub",
				"resourceGroupName": "rg", "metricName": "Messages", "metricAggregationType": "Average", "targetValue": "5",
			})
		},
		value: `{"interval":"PT1M","value":[{"name":{"value":"Messages"},"timeseries":[{"metadatavalues":[],"data":[{"timeStamp":"2026-01-01T00:00:00Z","average":5}]}]}]}`,
		what:  "metric Messages: ", path: "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.ServiceBus/namespaces/shop/providers/Microsoft.Insights/metrics",
	},
	{
		trigger: azureLogAnalytics, client: "clientId", secret: "clientSecret", endpoint: "logAnalyticsResourceURL",
		metadata: func(address string) map[string]string {
			return cloudOfStub(address, map[string]string{"logAnalyticsResourceURL": address, "workspaceId": "w-1", "query": "Orders | count", "threshold": "5"})
		},
		value: `{"tables":[{"name":"PrimaryResult","columns":[{"name":"n","type":"long"}],"rows":[[5]]}]}`,
		what:  "workspace w-1: ", path: "/v1/workspaces/w-1/query",
	},
	{
		trigger: azureAppInsights, client: "activeDirectoryClientId", secret: "activeDirectoryClientPassword", endpoint: "appInsightsResourceURL",
		metadata: func(address string) map[string]string {
			return cloudOfStub(address, map[string]string{
				"appInsightsResourceURL": address + "/", "applicationInsightsId": "app-1", "metricId": "requests/count",
				"metricAggregationType": "sum", "metricAggregationTimespan": "0:5", "targetValue": "5",
			})
		},
		value: `{"value":{"start":"2026-01-01T00:00:00Z","end":"2026-01-01T00:05:00Z","requests/count":{"sum":5}}}`,
		what:  "metric requests/count: ", path: "/v1/apps/app-1/metrics/requests/count",
	},
	{
		trigger: azureDataExplorer, client: "clientId", secret: "clientSecret", endpoint: "endpoint",
		metadata: func(address string) map[string]string {
			return cloudOfStub(address, map[string]string{"endpoint": address, "databaseName": "shop", "query": "Orders | count", "threshold": "5"})
		},
		value: kustoAnswer(`{"ColumnName":"n","ColumnType":"long"}`, `[5]`), what: "database shop: ", path: "/v2/rest/query",
	},
}

// kustoAnswer is an answer with a primary table.
func kustoAnswer(columns, rows string) string {
	return `[{"FrameType":"DataSetHeader","IsProgressive":false,"Version":"v2.0","IsFragmented":false,"ErrorReportingPlacement":"EndOfDataSet"},` +
		`{"FrameType":"DataTable","TableId":0,"TableKind":"QueryProperties","TableName":"@ExtendedProperties","Columns":[{"ColumnName":"Key","ColumnType":"string"}],"Rows":[["Visualization"],["x"]]},` +
		`{"FrameType":"DataTable","TableId":1,"TableKind":"PrimaryResult","TableName":"PrimaryResult","Columns":[` + columns + `],"Rows":[` + rows + `]},` +
		`{"FrameType":"DataSetCompletion","HasErrors":false,"Cancelled":false}]`
}

// application is the login of the application.
func (k queryKind) application(secret string) map[string]string {
	return map[string]string{k.client: stubClient, k.secret: secret}
}

// contract is the contract's case of the type.
func (k queryKind) contract(t testing.TB) scalertest.Case {
	answer := saying(http.StatusOK, k.value)
	if k.trigger.Type == "azure-app-insights" {
		answer = insightsAnswers
	}
	s := newQueryStub(t, answer)
	return scalertest.Case{
		Trigger: k.trigger,
		Address: s.Listener.Addr().String(),
		At:      func(address string) map[string]string { return k.metadata("https://" + address) },
		Value:   5,
		Auth:    k.application(stubSecret),
		OnePart: "the metrics of a batch are of one resource, asked for at one endpoint",
	}
}

// TestQueryRefusals has what the services say instead of a value. Nothing that
// they write is in an error.
func TestQueryRefusals(t *testing.T) {
	const page = `{"error":{"code":"SomeError","message":"hush-hush","@permanent":true}}`
	tests := map[string]struct {
		handler http.HandlerFunc
		code    codes.Code
		text    string
	}{
		"a bad request":   {saying(400, page), codes.FailedPrecondition, "400 Bad Request: "},
		"unauthorized":    {saying(401, page), codes.Unauthenticated, "401 Unauthorized: the token is not accepted"},
		"forbidden":       {saying(403, page), codes.PermissionDenied, "403 Forbidden: the identity needs the role "},
		"not found":       {saying(404, page), codes.NotFound, "404 Not Found: "},
		"an error":        {saying(500, page), codes.Unavailable, "500 Internal Server Error"},
		"a bad gateway":   {saying(502, "hush-hush"), codes.Unavailable, "502 Bad Gateway"},
		"a sign-in page":  {saying(203, "<html>hush-hush"), codes.Unavailable, "the answer is not one of the API"},
		"nothing":         {saying(200, ""), codes.Unavailable, "the answer is not one of the API"},
		"another object":  {saying(200, `{"hush-hush":1}`), codes.Unavailable, "the answer is not one of the API"},
		"half an answer":  {half(`{"value":[{"hush-hush`), codes.Unavailable, "the answer ends too early"},
		"a lost one":      {broken, codes.Unavailable, "the connection was lost"},
		"an endless one":  {endless, codes.Unavailable, "the answer is larger than "},
		"a deep one":      {saying(200, strings.Repeat(`[`, 200_000)), codes.Unavailable, "the answer is not one of the API"},
		"a deep value":    {saying(200, `{"value":`+strings.Repeat(`{"value":`, 100_000)), codes.Unavailable, "the answer is not one of the API"},
		"closed brackets": {saying(200, strings.Repeat(`[`, 100_000)+strings.Repeat(`]`, 100_000)), codes.Unavailable, "the answer is not one of the API"},
	}
	for _, k := range queryKinds {
		t.Run(k.trigger.Type, func(t *testing.T) {
			for name, tt := range tests {
				t.Run(name, func(t *testing.T) {
					s := newQueryStub(t, tt.handler)
					_, err := scalertest.Serve(t, k.trigger).WithAuth(k.application(stubSecret)).Observe(t.Context(), k.trigger.Type, k.metadata(s.URL))
					message := status.Convert(err).Message()
					if status.Code(err) != tt.code || !strings.HasPrefix(message, k.trigger.Type+": "+k.what) || !strings.Contains(message, tt.text) || strings.Contains(message, "hush-hush") {
						t.Errorf("error = %v, want %v %q", err, tt.code, k.what+tt.text)
					}
				})
			}
		})
	}
}

func half(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !isMetadata(w, r) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, text)
		}
	}
}

func broken(w http.ResponseWriter, r *http.Request) {
	if !isMetadata(w, r) {
		panic(http.ErrAbortHandler)
	}
}

// endless writes for as long as somebody reads.
func endless(w http.ResponseWriter, r *http.Request) {
	if isMetadata(w, r) {
		return
	}
	part := []byte(strings.Repeat(" ", 1<<20))
	for {
		if _, err := w.Write(part); err != nil {
			return
		}
	}
}

// TestQueryNetwork cuts, stalls and slows the network to a service and its Entra.
func TestQueryNetwork(t *testing.T) {
	t.Setenv("KEDA_HTTP_DEFAULT_TIMEOUT", "1000")
	for _, k := range queryKinds {
		t.Run(k.trigger.Type, func(t *testing.T) {
			s := newQueryStub(t, saying(http.StatusOK, k.value))
			proxy, err := fault.Listen(s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer proxy.Close()
			family := scalertest.Serve(t, k.trigger).WithAuth(k.application(stubSecret))
			observe := func(when string, want codes.Code) {
				t.Helper()
				got, err := family.Observe(t.Context(), k.trigger.Type, k.metadata("https://"+proxy.Addr()))
				if status.Code(err) != want || err == nil && got.Value != 5 {
					t.Fatalf("%s: observation = %+v, %v, want %v", when, got, err, want)
				}
			}
			defer proxy.Heal()
			observe("at first", codes.OK)
			proxy.Cut()
			observe("cut", codes.Unavailable)
			proxy.Heal()
			observe("after the cut", codes.OK)
			proxy.Stall()
			observe("stalled", codes.DeadlineExceeded)
			proxy.Heal()
			observe("after the stall", codes.OK)
			proxy.Delay(50 * time.Millisecond)
			observe("slow", codes.OK)
		})
	}
}

// TestEntraIsAway: an error says that it cannot be reached, and where it is.
func TestEntraIsAway(t *testing.T) {
	servers.Entra(t, trusted, func(string) string { return "never" })
	dead := scalertest.DeadAddress(t)
	t.Setenv("AZURE_AUTHORITY_HOST", "https://"+dead+"/")
	identity := scaler.PodIdentity{Provider: "azure-workload", IdentityID: servers.EntraIdentity, TenantID: servers.EntraTenant}
	s := newQueryStub(t, saying(http.StatusOK, monitor.value))
	scalertest.LendTo(t, "127.0.0.1="+s.URL)
	metadata := monitor.metadata(s.URL)
	metadata["activeDirectoryEndpoint"] = ""
	_, err := scalertest.Serve(t, azureMonitor).WithPodIdentity(identity).Observe(t.Context(), "azure-monitor", metadata)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "workload identity: dial tcp "+dead) {
		t.Errorf("error = %v", err)
	}
}

// TestQueryThrottled: one account rests, says so and asks nobody, and others do
// not wait.
func TestQueryThrottled(t *testing.T) {
	for _, k := range queryKinds {
		for code, name := range map[int]string{429: "429 Too Many Requests", 503: "503 Service Unavailable"} {
			t.Run(k.trigger.Type+" "+name, func(t *testing.T) {
				s := newQueryStub(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Retry-After", "60")
					saying(code, `{"error":{"message":"hush-hush"}}`)(w, r)
				})
				family := scalertest.Serve(t, k.trigger).WithAuth(k.application(stubSecret))
				for range 2 {
					_, err := family.Observe(t.Context(), k.trigger.Type, k.metadata(s.URL))
					if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "the service throttles the account: "+name+"; it is not asked again before ") || strings.Contains(err.Error(), "hush-hush") {
						t.Errorf("error = %v", err)
					}
				}
				queries := 0
				s.mu.Lock()
				for _, r := range s.asked {
					if r.URL.Path == k.path {
						queries++
					}
				}
				s.mu.Unlock()
				if queries != 1 {
					t.Errorf("%d requests while the account rests", queries)
				}
				other := newQueryStub(t, saying(200, k.value))
				if got, err := family.Observe(t.Context(), k.trigger.Type, k.metadata(other.URL)); err != nil || got.Value != 5 {
					t.Errorf("another account: %+v, %v", got, err)
				}
			})
		}
	}
}

// TestQuerySecrets goes from a wrong secret to the right one, to one that has been
// changed.
func TestQuerySecrets(t *testing.T) {
	for _, k := range queryKinds {
		t.Run(k.trigger.Type, func(t *testing.T) {
			s := newQueryStub(t, saying(200, k.value))
			family := scalertest.Serve(t, k.trigger).WithAuth(k.application("wrong-secret"))
			_, err := family.Observe(t.Context(), k.trigger.Type, k.metadata(s.URL))
			if status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), "wrong-secret") || strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("with a wrong secret: %v", err)
			}
			for _, secret := range []string{stubSecret, "another-secret"} {
				s.mu.Lock()
				s.secret = secret
				s.mu.Unlock()
				family.Rotate(k.application(secret))
				if got, err := family.Observe(t.Context(), k.trigger.Type, k.metadata(s.URL)); err != nil || got.Value != 5 {
					t.Errorf("with the right secret: %+v, %v", got, err)
				}
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, scope := range s.logins {
				if scope != s.URL+"/.default" {
					t.Errorf("a token for %q was asked for", scope)
				}
			}
		})
	}
}

// TestQueryIdentity asks with the family's own identity, of a cloud that the family
// was started with.
func TestQueryIdentity(t *testing.T) {
	servers.Entra(t, trusted, func(scope string) string { return "for " + scope })
	identity := scaler.PodIdentity{Provider: "azure-workload", IdentityID: servers.EntraIdentity, TenantID: servers.EntraTenant}
	for _, k := range queryKinds {
		t.Run(k.trigger.Type, func(t *testing.T) {
			s := newQueryStub(t, saying(200, k.value))
			scalertest.LendTo(t, "127.0.0.1="+s.URL+", 127.0.0.1")
			metadata := k.metadata(s.URL)
			metadata["activeDirectoryEndpoint"] = ""
			if k.trigger.Type == "azure-app-insights" || k.trigger.Type == "azure-data-explorer" {
				metadata["activeDirectoryEndpoint"] = os.Getenv("AZURE_AUTHORITY_HOST")
			}
			family := scalertest.Serve(t, k.trigger).WithPodIdentity(identity)
			if got, err := family.Observe(t.Context(), k.trigger.Type, metadata); err != nil || got.Value != 5 {
				t.Errorf("observation = %+v, %v", got, err)
			}
			other := identity
			other.IdentityID = "another"
			if _, err := family.WithPodIdentity(other).Observe(t.Context(), k.trigger.Type, metadata); status.Code(err) != codes.Unauthenticated {
				t.Errorf("another identity: %v", err)
			}
		})
	}
}

// TestQueriesKeepTheIdentity has an attacker for a service.
func TestQueriesKeepTheIdentity(t *testing.T) {
	servers.Entra(t, trusted, func(string) string { return "families-own" })
	identity := scaler.PodIdentity{Provider: "azure-workload", IdentityID: servers.EntraIdentity, TenantID: servers.EntraTenant}
	thief := scalertest.NewThief(t)
	for _, k := range queryKinds {
		t.Run(k.trigger.Type, func(t *testing.T) {
			family := scalertest.Serve(t, k.trigger)
			for _, address := range []string{"http://" + thief.Addr(), "https://" + thief.Addr()} {
				metadata := k.metadata(address)
				metadata["activeDirectoryEndpoint"] = "https://login.microsoftonline.com"
				family.KeepsItsIdentity(t, k.trigger.Type, identity, metadata)
			}
		})
		t.Run(k.trigger.Type+", an Entra of a tenant's", func(t *testing.T) {
			family := scalertest.Serve(t, k.trigger)
			s := newQueryStub(t, saying(200, k.value))
			scalertest.LendTo(t, "127.0.0.1="+s.URL)
			metadata := k.metadata(s.URL)
			metadata["activeDirectoryEndpoint"] = "https://" + thief.Addr()
			_, err := family.WithPodIdentity(identity).Observe(t.Context(), k.trigger.Type, metadata)
			if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "activeDirectoryEndpoint: ") {
				t.Errorf("an Entra of a tenant's: %v", err)
			}
		})
	}
}

// TestALentSecretGoesToItsOwnEntra: whoever uses a cluster-wide secret does not
// say who gets it.
func TestALentSecretGoesToItsOwnEntra(t *testing.T) {
	thief := scalertest.NewThief(t)
	for _, k := range queryKinds {
		t.Run(k.trigger.Type, func(t *testing.T) {
			metadata := k.metadata("https://" + thief.Addr())
			metadata["cloud"], metadata["activeDirectoryEndpoint"] = "Private", "https://"+thief.Addr()
			_, err := scalertest.Serve(t, k.trigger).WithClusterAuth("shared", k.application(stubSecret)).Observe(t.Context(), k.trigger.Type, metadata)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "activeDirectoryEndpoint: ") || !strings.Contains(err.Error(), "ClusterTriggerAuthentication shared") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

// TestQueryProblems: each type names all that is wrong at once.
func TestQueryProblems(t *testing.T) {
	family := scalertest.Serve(t, triggers...)
	for _, k := range queryKinds {
		valid := k.metadata("https://127.0.0.1:1")
		tests := map[string]struct {
			metadata map[string]string
			identity scaler.PodIdentity
			want     []string
		}{
			"no login":        {map[string]string{}, scaler.PodIdentity{}, []string{k.client + ": is required without pod identity azure-workload", k.secret + ": is required without pod identity azure-workload"}},
			"another cloud's": {map[string]string{}, scaler.PodIdentity{Provider: "aws"}, []string{"podIdentity: provider aws is not supported here, only azure-workload is"}},
			"a strange cloud": {map[string]string{"cloud": "Mars"}, scaler.PodIdentity{Provider: "azure-workload"}, []string{`cloud: "Mars" is not one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, `}},
			"no address":      {map[string]string{k.endpoint: ""}, scaler.PodIdentity{Provider: "azure-workload"}, []string{k.endpoint + ": is required"}},
			"no URL":          {map[string]string{k.endpoint: "nowhere/hush-hush"}, scaler.PodIdentity{Provider: "azure-workload"}, []string{k.endpoint + ": is not a URL of https or http"}},
			"a query in it":   {map[string]string{k.endpoint: "https://me:hush-hush@h"}, scaler.PodIdentity{Provider: "azure-workload"}, []string{k.endpoint + ": is not a URL of https or http"}},
			"no Entra":        {map[string]string{"activeDirectoryEndpoint": "http://login.example"}, scaler.PodIdentity{Provider: "azure-workload"}, []string{"activeDirectoryEndpoint: is not a URL of https"}},
			"no tenant":       {map[string]string{"tenantId": "a/b"}, scaler.PodIdentity{Provider: "azure-workload"}, []string{"tenantId: is neither the id of a tenant nor a domain of it"}},
		}
		for name, tt := range tests {
			t.Run(k.trigger.Type+" "+name, func(t *testing.T) {
				_, err := family.WithPodIdentity(tt.identity).Observe(t.Context(), k.trigger.Type, joined(valid, tt.metadata))
				for _, want := range tt.want {
					if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush-hush") {
						t.Errorf("error = %v, want %q", err, want)
					}
				}
			})
		}
	}
}

// TestAThousandQueries reads a thousand questions of one service, as the sampler
// does, over few connections and with one login.
func TestAThousandQueries(t *testing.T) {
	for _, k := range queryKinds {
		t.Run(k.trigger.Type, func(t *testing.T) {
			s := newQueryStub(t, func(w http.ResponseWriter, r *http.Request) {
				switch k.trigger.Type {
				case "azure-monitor":
					monitorAnswers(w, r)
				case "azure-app-insights":
					insightsAnswers(w, r)
				default:
					saying(200, k.value)(w, r)
				}
			})
			ctx, release := scaler.Opening(t.Context())
			defer release()
			family := scalertest.Serve(t, k.trigger).WithAuth(k.application(stubSecret))
			var sources []scaler.Source
			batches := map[scaler.Batch][]scaler.Source{}
			for i := range 1000 {
				source := k.open(ctx, t, family, s.URL, i)
				if batched, ok := source.(scaler.Batched); ok {
					batches[batched.Batch()] = append(batches[batched.Batch()], source)
				} else {
					sources = append(sources, source)
				}
			}
			read := 0
			for _, readings := range scalertest.ReadAtOnce(t, sources) {
				read++
				if readings[0].Value != 5 {
					t.Errorf("read %v", readings)
				}
			}
			for batch, members := range batches {
				for _, result := range scaler.ReadTogether(within(t), batch, members...) {
					read++
					if result.Err != nil || result.Readings[0].Value != 5 {
						t.Errorf("read %v", result)
					}
				}
			}
			want := 1000
			switch k.trigger.Type {
			case "azure-monitor", "azure-app-insights":
				want = 50 // of 20 metrics each
			case "azure-data-explorer":
				want = 1001 // and what tokens are for
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if read != 1000 || len(s.asked) != want || len(s.logins) != 1 || s.connections > 100 {
				t.Errorf("%d readings, %d requests, want %d, %d logins, %d connections", read, len(s.asked), want, len(s.logins), s.connections)
			}
		})
	}
}

// open opens the source of the i-th question of a thousand.
func (k queryKind) open(ctx context.Context, t testing.TB, family *scalertest.Family, address string, i int) scaler.Source {
	t.Helper()
	metadata := k.metadata(address)
	distinguish(metadata, fmt.Sprint("q", i))
	bound, err := k.trigger.Bind(family.Ref(k.trigger.Type, metadata), &scaler.Credentials{Parameters: k.application(stubSecret)})
	if err != nil {
		t.Fatal(err)
	}
	source, err := bound.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// distinguish makes a question of its own of a trigger.
func distinguish(metadata map[string]string, name string) {
	switch {
	case metadata["query"] != "":
		metadata["query"] = name
	case metadata["metricName"] != "":
		metadata["metricName"] = name
	default:
		metadata["metricFilter"] = name
	}
}

// TestStalledQueriesStarveNoOther has more queries of one service that are not
// answered than are read at once.
func TestStalledQueriesStarveNoOther(t *testing.T) {
	for _, k := range queryKinds[1:] { // metrics of one resource stall together
		t.Run(k.trigger.Type, func(t *testing.T) {
			s := newQueryStub(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if strings.Contains(string(body)+r.URL.RawQuery, "stalled") {
					<-r.Context().Done()
					return
				}
				saying(200, k.value)(w, r)
			})
			family := scalertest.Serve(t, k.trigger).WithAuth(k.application(stubSecret))
			watch := func(name string, i int) *scalertest.Watching {
				metadata := k.metadata(s.URL)
				distinguish(metadata, fmt.Sprint(name, i))
				return family.Watch(t, k.trigger.Type, metadata, scalerv1.Mode_MODE_ACTIVE, time.Hour)
			}
			for i := range 50 {
				watch("stalled", i)
			}
			for i := range 10 {
				if _, err := watch("q", i).Until(within(t), "active", scalertest.Active); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
