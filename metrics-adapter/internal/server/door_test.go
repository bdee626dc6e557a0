package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/pflag"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/metrics/pkg/apis/external_metrics"
	basecmd "sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"

	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/identity"
)

// adapter is the API server as it is shipped, with its TLS, its questions about who
// asks, and a provider of the test behind it.
type adapter struct {
	url    string
	client *http.Client
	// reviews are what the API server was asked about rights.
	mu      sync.Mutex
	reviews map[string]bool
	// asked is how often the provider was, and wait is what it does first.
	asked atomic.Int64
	wait  func(context.Context)
}

func (a *adapter) GetExternalMetric(
	ctx context.Context, _ string, _ labels.Selector, info provider.ExternalMetricInfo,
) (*external_metrics.ExternalMetricValueList, error) {
	a.asked.Add(1)
	if a.wait != nil {
		a.wait(ctx)
	}
	return &external_metrics.ExternalMetricValueList{Items: []external_metrics.ExternalMetricValue{{MetricName: info.Metric}}}, nil
}

func (a *adapter) ListAllExternalMetrics() []provider.ExternalMetricInfo { return nil }

// cluster answers what the adapter asks the API server.
func (a *adapter) cluster(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var answer any
	switch {
	case strings.HasSuffix(r.URL.Path, "/tokenreviews"):
		review := &authenticationv1.TokenReview{}
		_ = json.Unmarshal(body, review)
		review.Status.Authenticated = review.Spec.Token == "good"
		review.Status.User.Username = "somebody"
		answer = review
	case strings.HasSuffix(r.URL.Path, "/subjectaccessreviews"):
		review := &authorizationv1.SubjectAccessReview{}
		_ = json.Unmarshal(body, review)
		spec, _ := json.Marshal(review.Spec)
		a.mu.Lock()
		a.reviews[string(spec)] = true
		a.mu.Unlock()
		review.Status.Allowed = true
		answer = review
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func startAdapter(t *testing.T, wait func(context.Context)) *adapter {
	t.Helper()
	a := &adapter{reviews: map[string]bool{}, wait: wait}
	cluster := httptest.NewServer(http.HandlerFunc(a.cluster))
	t.Cleanup(cluster.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":%q}}],`+
		`"contexts":[{"name":"c","context":{"cluster":"c"}}],"current-context":"c"}`, cluster.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	base := &basecmd.AdapterBase{Name: "test", FlagSet: pflag.NewFlagSet("test", pflag.ContinueOnError)}
	environment := map[string]string{"POD_NAMESPACE": "sluice-system", "KUBECONFIG": kubeconfig}
	_, err := parse(base, []string{"--cert-dir=", "--authentication-skip-lookup"}, func(name string) string { return environment[name] })
	if err != nil {
		t.Fatal(err)
	}
	if base.SecureServing.Listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	a.url = "https://" + base.SecureServing.Listener.Addr().String()
	base.WithExternalMetrics(a)
	server, err := apiServer(base, &federation.Keys{}, identity.Policy{MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.GenericAPIServer.PrepareRun().RunWithContext(ctx) }()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true} //nolint:gosec // the test's own server
	a.client = &http.Client{Transport: transport, Timeout: time.Minute}
	t.Cleanup(func() {
		cancel()
		transport.CloseIdleConnections()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return a
}

// get asks as somebody with a token, or as nobody.
func (a *adapter) get(ctx context.Context, path, token string, change ...func(*http.Request)) (code int, text string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, c := range change {
		c(r)
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

const question = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/"

// What is asked for is bounded before it is known who asks.
func TestRequestsAreBounded(t *testing.T) {
	a := startAdapter(t, nil)
	named := "?labelSelector=scaledobject.keda.sh%2Fname%3Dworker"
	long := func(n int) string { return strings.Repeat("a", n) }
	for name, tt := range map[string]struct {
		path   string
		change func(*http.Request)
		token  string
		code   int
	}{
		"a question":               {path: question + "s0-a" + named, token: "good", code: 200},
		"a question of nobody":     {path: question + "s0-a" + named, token: "bad", code: 401},
		"a long name":              {path: question + long(longestPath/2) + named, token: "good", code: 200},
		"a longer name":            {path: question + long(longestPath) + named, token: "good", code: 414},
		"a longer name, escaped":   {path: question + strings.Repeat("%2B", longestPath/3) + named, token: "good", code: 414},
		"a long selector":          {path: question + "s0-a" + named + ",a%3D" + long(60), token: "good", code: 200},
		"a longer selector":        {path: question + "s0-a" + named + strings.Repeat(",a%3Db", longestQuery/6), token: "good", code: 414},
		"a longer query":           {path: "/readyz?" + long(longestQuery+1), code: 414},
		"a long header":            {path: "/readyz", change: func(r *http.Request) { r.Header.Set("A", long(longestHeader)) }, code: 431},
		"long headers":             {path: "/readyz", change: func(r *http.Request) { r.Header["A"] = strings.Split(long(longestHeader+1), "") }, code: 431},
		"a body":                   {path: question + "s0-a" + named, token: "good", change: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("a")) }, code: 413},
		"a body of a known length": {path: "/readyz", change: func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("a")), 1 }, code: 413},
		"a body of something else": {path: "/nothing", change: func(r *http.Request) { r.Method, r.Body = "POST", io.NopCloser(strings.NewReader("a")) }, code: 413},
		"a watch, which ends":      {path: question + "s0-a" + named + "&watch=true", token: "good", code: 405},
		"discovery":                {path: "/apis/external.metrics.k8s.io/v1beta1", token: "good", code: 200},
	} {
		t.Run(name, func(t *testing.T) {
			var changes []func(*http.Request)
			if tt.change != nil {
				changes = append(changes, tt.change)
			}
			before := a.asked.Load()
			code, text, err := a.get(t.Context(), tt.path, tt.token, changes...)
			if err != nil || code != tt.code {
				t.Fatalf("%d %.200s, %v; want %d", code, text, err, tt.code)
			}
			if len(text) > 4*longestPath || code != 200 && a.asked.Load() != before {
				t.Errorf("%d bytes of answer, asked %d times", len(text), a.asked.Load()-before)
			}
		})
	}
}

// series are those that the API server's library has made.
func series(t *testing.T) int {
	t.Helper()
	all, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, family := range all {
		n += len(family.GetMetric())
	}
	return n
}

// TestNoRequestMakesASeries: callers make up paths, groups, metrics and
// namespaces, and have requests end early, which the library counts by what they
// made up, before and after it knows who asks. One of each kind may make some
// series; hundreds make no more.
func TestNoRequestMakesASeries(t *testing.T) {
	a := startAdapter(t, func(ctx context.Context) { <-ctx.Done() }) // until the caller's time is up
	kinds := []func(i int) (path, token string){
		func(i int) (string, string) { return fmt.Sprintf("/made-up-%d?timeout=1ns", i), "" },
		func(i int) (string, string) { return fmt.Sprintf("/made-up-%d", i), "good" },
		func(i int) (string, string) {
			return fmt.Sprintf("/apis/group-%d/v%d/what-%d?timeout=1ns", i, i, i), ""
		},
		func(i int) (string, string) {
			return fmt.Sprintf("/apis/group-%d/v%d/namespaces/n-%d/a-%d/b-%d/c-%d?timeout=1ns", i, i, i, i, i, i), "bad"
		},
		func(i int) (string, string) { return fmt.Sprintf("%smade-up-%d?timeout=1ms", question, i), "good" },
		func(i int) (string, string) { return fmt.Sprintf("%smade-up-%d?watch=true", question, i), "good" },
	}
	ask := func(from, to int) {
		var all sync.WaitGroup
		for _, kind := range kinds {
			all.Go(func() {
				for i := from; i < to; i++ {
					path, token := kind(i)
					// What ended early may have no answer at all.
					if code, text, err := a.get(t.Context(), path, token); err == nil && code < 400 {
						t.Errorf("%s: %d %.100s", path, code, text)
					}
				}
			})
		}
		all.Wait()
	}
	ask(0, 20)
	before := series(t)
	ask(20, 120)
	if after := series(t); after > before+10 {
		t.Errorf("%d series, %d before", after, before)
	}
	kept, err := apiServerMetrics()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range kept {
		if text := family.String(); strings.Contains(text, "made-up") || strings.Contains(text, "group-1") {
			t.Errorf("%.300s", text)
		}
	}
}

// The API server is asked about rights without selectors: it keeps no answer, and
// neither do we, for each that a caller makes up.
func TestSelectorsAreNotPartOfRights(t *testing.T) {
	a := startAdapter(t, nil)
	for i := range 20 {
		path := fmt.Sprintf("%ss0-a?labelSelector=scaledobject.keda.sh%%2Fname%%3Dworker-%d", question, i)
		if code, text, err := a.get(t.Context(), path, "good"); err != nil || code != 200 {
			t.Fatalf("%d %s, %v", code, text, err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.reviews) != 1 {
		t.Errorf("asked about %d rights: %v", len(a.reviews), a.reviews)
	}
}

// TestRequestsOfOneAddressHaveTheirShare: so many are worked on at once, of an address
// and for a namespace, the next waits for its turn and is told when it does not come.
// What an API server asks for one namespace keeps nothing waiting that it asks for
// others.
func TestRequestsOfOneAddressHaveTheirShare(t *testing.T) {
	inside := make(chan struct{}, 2*mostRequestsOfOne)
	held := make(chan struct{})
	handler := door(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		inside <- struct{}{}
		<-held
	}))
	from := func(ctx context.Context, address, namespace string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/apis/external.metrics.k8s.io/v1beta1/namespaces/"+namespace+"/s0-x", http.NoBody)
		r.RemoteAddr = address
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	refused := func(address, namespace string) {
		t.Helper()
		if w := from(late, address, namespace); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Errorf("one more of %s for %s: %d", address, namespace, w.Code)
		}
	}
	var all sync.WaitGroup
	for n, namespace := range []string{"flood", "shop"} {
		for i := range mostRequestsOfOne - mostRequestsOfNamespace {
			all.Go(func() { from(t.Context(), fmt.Sprint("192.0.2.1:", 1000*n+i), namespace) })
		}
		for range mostRequestsOfOne - mostRequestsOfNamespace {
			<-inside // whatever is asked for another namespace
		}
		refused("192.0.2.1:9", namespace)
	}
	refused("192.0.2.1:9", "third")
	all.Go(func() { from(t.Context(), "192.0.2.2:1", "flood") })
	<-inside // another address does not wait
	close(held)
	all.Wait()
}

// However many addresses have connections on which they say nothing, that of
// whoever asks for metrics and may stays, and a new one comes in.
func TestAFloodKeepsTheConnectionOfWhoMayAsk(t *testing.T) {
	a := startAdapter(t, nil)
	const metric = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-x?labelSelector=scaledobject.keda.sh%2Fname%3Dx"
	reused := false
	ask := func() {
		t.Helper()
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
		if code, text, err := a.get(ctx, metric, "good"); err != nil || code != http.StatusOK {
			t.Fatalf("%d %s, %v", code, text, err)
		}
	}
	ask()
	for i := range 2 * mostConnections {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/200), byte(1+i%200))}}
		c, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(a.url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	if ask(); !reused {
		t.Error("the flood had its connection closed")
	}
	a.client.CloseIdleConnections()
	if ask(); reused {
		t.Error("it is no new connection")
	}
}
