package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/identity/authority"
	"github.com/sluice-autoscaler/sluice/identity/inbound"
)

// Whom reviews come from: the API server, and somebody else.
const genuine, stranger = "127.0.0.2", "127.0.0.3"

// served is a webhook on a port.
type served struct {
	*fixture
	address string
	trusted *x509.CertPool
}

func newAuthority(t *testing.T) *authority.Authority {
	t.Helper()
	a, err := authority.New("sluice-system", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// signed is a key that an authority signed.
func signed(t *testing.T, by *authority.Authority, who identity.Identity) tls.Certificate {
	t.Helper()
	certificate, key, err := by.Sign(authority.Request{Identity: who, Installation: "sluice-system", Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// serve serves a fixture over HTTPS until the test ends.
func serve(t *testing.T, f *fixture, clients Clients) served {
	t.Helper()
	pki := newAuthority(t)
	s := served{fixture: f, trusted: x509.NewCertPool()}
	s.trusted.AddCert(pki.Certificate)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	server := &Server{
		TLS:     &tls.Config{Certificates: []tls.Certificate{signed(t, pki, identity.Controller)}, MinVersion: tls.VersionTLS13},
		Clients: clients, Handlers: f.handlers, Log: slog.New(slog.DiscardHandler),
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// client calls from an address of the loopback device.
func (s served) client(from string, keys ...tls.Certificate) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: mostConnectionsOfOne, TLSClientConfig: &tls.Config{
		RootCAs: s.trusted, ServerName: identity.Controller.In("sluice-system"), Certificates: keys,
	}}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// post sends a body as a review and returns the code of the answer and what it
// says.
func (s served) post(c *http.Client, path string, body io.Reader) (int, string, error) {
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "https://"+s.address+path, body)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// reviewOf is a review of a new ScaledObject, as the API server sends it.
func reviewOf(t testing.TB, namespace string, object any) []byte {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	request := &admissionv1.AdmissionRequest{UID: "1", Operation: admissionv1.Create, Namespace: namespace}
	request.Object.Raw = text
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// answers sends a genuine review and fails unless it is judged.
func (s served) answers(when string, keys ...tls.Certificate) {
	s.t.Helper()
	code, text, err := s.post(s.client(genuine, keys...), pathScaledObject, bytes.NewReader(reviewOf(s.t, namespace, scaledObject())))
	if err != nil || code != http.StatusOK || !strings.Contains(text, `"allowed":true`) {
		s.t.Errorf("%s: a genuine review is answered with %d %s, %v", when, code, text, err)
	}
}

// series counts those of the webhook.
func (f *fixture) series() int {
	f.t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(f.Counts)
	families, err := registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	n := 0
	for _, family := range families {
		n += len(family.GetMetric())
	}
	return n
}

// atOnce calls f so many times, by so many goroutines.
func atOnce(workers, times int, f func(int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := int(next.Add(1)); i <= times; i = int(next.Add(1)) {
				f(i)
			}
		})
	}
	all.Wait()
}

// What anybody says of namespaces leaves nothing behind: only those that the
// caches know are counted by name.
func TestForgedNamespacesLeaveNothingBehind(t *testing.T) {
	f := newFixture(t, deployment("worker"))
	s := serve(t, f, Clients{})
	flood := s.client(stranger)
	refused := scaledObject(triggers())
	refused.Namespace = "" // the request says it
	atOnce(8, 2000, func(i int) {
		code, text, err := s.post(flood, pathScaledObject, bytes.NewReader(reviewOf(t, fmt.Sprintf("forged-%d", i), refused)))
		if err != nil || code != http.StatusOK || !strings.Contains(text, "triggers: none given") {
			t.Errorf("%d %s, %v", code, text, err)
		}
	})
	s.answers("after the flood")
	// Unknown ones share one series of each kind, the known one has its own.
	if n := f.series(); n != 3 {
		t.Errorf("%d series, want 3", n)
	}
	// A namespace that is gone takes its series along.
	gone := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "worker"}}
	if err := f.Objects.(client.Client).Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if n := f.series(); n != 2 {
		t.Errorf("%d series of a namespace that is gone, want 2", n)
	}
}

// What would become large is refused before it does, and costs nobody else an
// answer.
func TestLargeReviewsAreRefused(t *testing.T) {
	s := serve(t, newFixture(t), Clients{})
	flood := s.client(stranger)
	inside := func(object string) string {
		return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"CREATE","namespace":"shop","object":` + object + `}}`
	}
	long := strings.Repeat("x", longestReview)
	bodies := map[string]func() io.Reader{
		"its length":              func() io.Reader { return strings.NewReader(inside(`{"x":"` + long + `"}`)) },
		"without a stated length": func() io.Reader { return io.MultiReader(strings.NewReader(inside(`{"x":"` + long + `"}`))) },
		"many triggers": func() io.Reader {
			return strings.NewReader(inside(`{"spec":{"triggers":[` + strings.Repeat(`{},`, mostValues) + `{}]}}`))
		},
		"brackets within brackets": func() io.Reader { return strings.NewReader(inside(strings.Repeat(`[`, longestReview/2))) },
		"names within names":       func() io.Reader { return strings.NewReader(inside(strings.Repeat(`{"a":`, deepestReview))) },
	}
	for what, body := range bodies {
		if code, text, err := s.post(flood, pathScaledObject, body()); err == nil && code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d %s", what, code, text)
		}
	}
	for what, body := range map[string]string{
		"aliases of YAML": "a: &a " + strings.Repeat("x", 100<<10) + "\nb:\n" + strings.Repeat("- *a\n", 1000),
		"items of YAML":   strings.Repeat("-\n", 100<<10),
		"YAML in braces":  "{a: &a x, b: *a}",
		"half of it":      inside("{")[:50],
	} {
		if code, text, err := s.post(flood, pathScaledObject, strings.NewReader(body)); err == nil && code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", what, code, text)
		}
	}
	s.answers("after them")
	// The API server says whose a review is, and its object is refused.
	for what, so := range map[string]*v1alpha1.ScaledObject{
		"bytes": scaledObject(func(so *v1alpha1.ScaledObject) {
			so.Annotations = map[string]string{"note": strings.Repeat("x", 2*longestReview)}
		}),
		"values": scaledObject(func(so *v1alpha1.ScaledObject) {
			so.Labels = map[string]string{}
			for i := range mostValues + 1 {
				so.Labels[strconv.Itoa(i)] = ""
			}
		}),
	} {
		code, text, err := s.post(s.client(genuine), pathScaledObject, bytes.NewReader(reviewOf(t, namespace, so)))
		var review admissionv1.AdmissionReview
		if err != nil || code != http.StatusOK || json.Unmarshal([]byte(text), &review) != nil {
			t.Errorf("%s: %d %s, %v", what, code, text, err)
		} else if r := review.Response; r == nil || r.Allowed || r.UID != "1" || !strings.Contains(r.Result.Message, "the review has more than") {
			t.Errorf("%s: answered %s", what, text)
		}
	}
	quoted := scaledObject(func(so *v1alpha1.ScaledObject) {
		so.Annotations = map[string]string{"note": strings.Repeat(`{[,\"`, mostValues)}
	})
	if err := checkShape(reviewOf(t, namespace, quoted)); err != nil {
		t.Errorf("brackets in a text count: %v", err)
	}
}

// The largest reviews that are read, many at once, fit beside all else into what
// the controller may have.
func TestManyLargeReviewsFit(t *testing.T) {
	s := serve(t, newFixture(t), Clients{})
	so := scaledObject(func(so *v1alpha1.ScaledObject) {
		for range mostValues/4 - 50 {
			so.Spec.Triggers = append(so.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "kafka", Metadata: map[string]string{"a": ""}})
		}
	})
	so.Annotations = map[string]string{"filler": strings.Repeat("x", longestReview-len(reviewOf(t, namespace, so))-200)}
	body := reviewOf(t, namespace, so)
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak.Store(max(peak.Load(), now.HeapAlloc))
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	// One of that size is judged; how many of a crowd are is a matter of time.
	for deadline := time.Now().Add(2 * time.Minute); ; {
		code, text, err := s.post(s.client(stranger), pathScaledObject, bytes.NewReader(body))
		if err == nil && code == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a large review alone: %d %s, %v", code, text, err)
		}
	}
	var judged atomic.Int64
	clients := []*http.Client{s.client(stranger), s.client("127.0.0.4"), s.client("127.0.0.5")}
	atOnce(48, 96, func(i int) {
		if code, _, err := s.post(clients[i%len(clients)], pathScaledObject, bytes.NewReader(body)); err == nil && code == http.StatusOK {
			judged.Add(1)
		}
	})
	close(stop)
	<-watched
	t.Logf("%d of %d bytes judged, %d MiB at most", judged.Load(), len(body), (peak.Load()-before.HeapAlloc)>>20)
	if grown := int64(peak.Load()) - int64(before.HeapAlloc); grown > 256<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	s.answers("after them")
}

// Whoever sends slowly, or nothing, holds up nobody at another address.
func TestSlowReviewsHoldUpNobody(t *testing.T) {
	s := serve(t, newFixture(t), Clients{})
	dialer := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(stranger)}}, Config: &tls.Config{
		RootCAs: s.trusted, ServerName: identity.Controller.In("sluice-system"),
	}}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range mostOfOne * 4 {
		c, err := dialer.DialContext(t.Context(), "tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", pathScaledObject)
	}
	s.answers("beside slow ones")
	// Each of them ends by itself.
	for _, c := range open {
		if _, err := io.ReadAll(c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("a slow review is still waited for: %v", err)
		}
	}
	// Connections are bounded by address: of those who only connect, the last
	// are let go, and the API server comes in.
	for range mostConnectionsOfOne + 10 {
		c, err := dialer.NetDialer.DialContext(t.Context(), "tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	last := open[len(open)-1]
	if err := last.SetReadDeadline(time.Now().Add(headerTime / 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := last.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("connection %d of an address is open: %v", mostConnectionsOfOne+10, err)
	}
	s.answers("beside idle connections")
}

func TestClientsAreAskedForTheirCertificate(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	file := filepath.Join(t.TempDir(), "ca.crt")
	write := func(a *authority.Authority) {
		t.Helper()
		if err := os.WriteFile(file, authority.Encode(a.Certificate), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(ours)
	s := serve(t, newFixture(t), Clients{Authority: file, Names: []string{"kube-apiserver"}})
	apiServer := identity.Client("kube-apiserver")
	s.answers("with the API server's key", signed(t, ours, apiServer))
	for who, keys := range map[string][]tls.Certificate{
		"nobody":                      nil,
		"somebody else's key":         {signed(t, ours, identity.Client("tenant"))},
		"a key of somebody else's":    {signed(t, theirs, apiServer)},
		"a key that is for answering": {signed(t, ours, identity.Scaler("kube-apiserver"))},
	} {
		if code, text, err := s.post(s.client(genuine, keys...), pathScaledObject, bytes.NewReader(reviewOf(t, namespace, scaledObject()))); err == nil {
			t.Errorf("%s: answered with %d %s", who, code, text)
		}
	}
}

// An authority that is renewed counts, and one that cannot be read changes
// nothing.
func TestAuthorityOfClientsIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, renewed := newAuthority(t), newAuthority(t)
		file := filepath.Join(t.TempDir(), "ca.crt")
		write := func(text []byte) {
			t.Helper()
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			<-time.After(readAgain)
			synctest.Wait()
		}
		v := &verifier{clients: Clients{Authority: file}, log: slog.New(slog.DiscardHandler)}
		if err := v.read(); err == nil {
			t.Error("a file that is not there is no error")
		}
		ctx, cancel := context.WithCancel(t.Context())
		go v.follow(ctx)
		defer cancel()
		write(authority.Encode(old.Certificate))
		first := v.pool.Load()
		write([]byte("no certificate"))
		if first == nil || v.pool.Load() != first {
			t.Error("a file without a certificate changes who may ask")
		}
		write(authority.Encode(renewed.Certificate))
		if v.pool.Load().Equal(first) {
			t.Error("a renewed authority does not count")
		}
	})
}

// All reviews of an API server come from its address. Those of one namespace, and of
// whoever does not say, keep none of another waiting.
func TestReviewsOfNamespacesTakeTurns(t *testing.T) {
	inside, held := make(chan struct{}, mostOfOne), make(chan struct{})
	gate := inbound.NewEntrance(mostReviews, mostOfOne, mostJudged)
	handler := ofPeers(gate, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if text, err := io.ReadAll(r.Body); err != nil || !json.Valid(text) {
			t.Errorf("it is handed on as %.50s, %v", text, err)
		}
		inside <- struct{}{}
		<-held
	}))
	review := func(ctx context.Context, namespace string) *httptest.ResponseRecorder {
		body := fmt.Sprintf(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1","name":"a\"namespace\":\"b","namespace":%q,"object":{"x":%q}}}`,
			namespace, strings.Repeat("x", 2*beginning))
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, pathScaledObject, strings.NewReader(body))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	var all sync.WaitGroup
	for range mostJudged {
		all.Go(func() { review(t.Context(), "flood") })
	}
	for range mostJudged {
		<-inside
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if w := review(late, "flood"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("one more of a namespace: %d", w.Code)
	}
	all.Go(func() { review(t.Context(), "shop") })
	<-inside // it does not wait
	close(held)
	all.Wait()
}
