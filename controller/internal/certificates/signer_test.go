package certificates

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/identity"
)

const installation = "sluice-system"

var terms = Terms{Authority: 365 * 24 * time.Hour, Certificate: 90 * 24 * time.Hour, Overlap: time.Hour}

// house is an installation in an API server in memory, whose time the test
// moves and whose failures it makes. That the signer's rights suffice is for
// the end-to-end tests.
type house struct {
	t      *testing.T
	now    time.Time
	client client.Client
	signer *Signer
	known  []*corev1.Service // of the families
	log    bytes.Buffer
	writes []string
	fail   func(name string) error // of reading a Secret
	refuse func(name string) error // of writing anything
}

func empty(namespace, name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func service(name, family, protocol string) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: installation, Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "grpc", Port: 9090, AppProtocol: ptr.To(protocol)}}},
	}
	if family != "" {
		s.Labels = map[string]string{"sluice.dev/family": family}
	}
	return s
}

func build(t *testing.T, objects ...client.Object) *house {
	t.Helper()
	h := &house{t: t, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	h.client = interceptor.NewClient(fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objects...).Build(), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if h.fail != nil {
				if err := h.fail(key.Name); err != nil {
					return err
				}
			}
			return c.Get(ctx, key, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if h.refuse != nil {
				if err := h.refuse(o.GetName()); err != nil {
					return err
				}
			}
			h.writes = append(h.writes, o.GetName())
			return c.Update(ctx, o, opts...)
		},
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
			t.Errorf("lists %T", list)
			return nil
		},
	})
	for _, o := range objects {
		if svc, ok := o.(*corev1.Service); ok {
			h.known = append(h.known, svc)
		}
	}
	h.signer = &Signer{
		Client: h.client, Services: h.services, Installation: installation, Terms: terms,
		Trust: Trust{MetricsService: "metrics-adapter", Metrics: true, WebhookService: "keda-admission-webhooks", WebhookName: "keda-admission", Webhook: true},
		Now:   func() time.Time { return h.now }, Log: slog.New(slog.NewTextHandler(&h.log, nil)),
	}
	return h
}

func (h *house) services(context.Context) ([]*corev1.Service, error) { return h.known, nil }

// standard is an installation with one family of two types.
func standard(t *testing.T, more ...client.Object) *house {
	t.Helper()
	return build(t, append([]client.Object{
		empty(Namespace, authoritySecret), empty(installation, "controller-tls"), empty(installation, "metrics-adapter-tls"),
		empty(installation, "scaler-kafka-tls"),
		service("scaler-kafka", "kafka", "grpcs"), service("scaler-apache-kafka", "kafka", "grpcs"),
	}, more...)...)
}

// run reconciles once and returns what was written and when it is to run again.
func (h *house) run() (writes []string, again time.Duration) {
	h.t.Helper()
	h.writes = nil
	result, err := h.signer.Reconcile(h.t.Context(), reconcile.Request{})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.writes, result.RequeueAfter
}

func (h *house) data(namespace, name string) map[string][]byte {
	h.t.Helper()
	secret := &corev1.Secret{}
	if err := h.client.Get(h.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, secret); err != nil {
		h.t.Fatal(err)
	}
	return secret.Data
}

func (h *house) keys(who identity.Identity) *identity.Keys {
	h.t.Helper()
	keys, err := identity.Parse(h.data(installation, who.Secret()), who.In(installation))
	if err != nil {
		h.t.Fatalf("%s: %v", who.Name, err)
	}
	return keys
}

func (h *house) trusted() int {
	h.t.Helper()
	all, err := decode(h.data(Namespace, authoritySecret)[identity.AuthoritiesKey])
	if err != nil {
		h.t.Fatal(err)
	}
	return len(all)
}

var kafka = identity.Scaler("kafka")

func TestEveryProcessGetsAKey(t *testing.T) {
	h := standard(t,
		service("scaler-counter", "", "kubernetes.io/h2c"), // plaintext: no key
		service("something-else", "kafka", "grpcs"),
		empty(installation, "scaler-late-tls"), empty(installation, "client-keda-tls"))
	h.signer.Clients = []string{"keda"}
	writes, again := h.run()
	want := []string{authoritySecret, "controller-tls", "metrics-adapter-tls", "scaler-kafka-tls", "client-keda-tls"}
	if !slices.Equal(writes, want) || again != lookAgain {
		t.Errorf("writes %v, again in %s", writes, again)
	}
	for who, names := range map[identity.Identity][]string{
		identity.Controller:     {"controller.core.sluice-system", "keda-admission-webhooks.sluice-system.svc"},
		identity.MetricsAdapter: {"metrics-adapter.core.sluice-system", "metrics-adapter.sluice-system.svc"},
		kafka:                   {"kafka.scaler.sluice-system"},
		identity.Client("keda"): {"keda.client.sluice-system"},
	} {
		if leaf := h.keys(who).Certificate.Leaf; !slices.Equal(leaf.DNSNames, names) || !leaf.NotAfter.Equal(h.now.Add(terms.Certificate)) {
			t.Errorf("%s: %v until %s", who.Name, leaf.DNSNames, leaf.NotAfter)
		}
	}
	if writes, _ := h.run(); len(writes) > 0 {
		t.Errorf("with nothing to do it writes %v", writes)
	}
	h.known = append(h.known, service("scaler-late", "", "grpcs"))
	if writes, _ := h.run(); !slices.Equal(writes, []string{"scaler-late-tls"}) {
		t.Errorf("a family that comes later: %v", writes)
	}
}

func TestWhatIsSignedAnew(t *testing.T) {
	tests := map[string]struct {
		change func(h *house)
		want   []string
	}{
		"two thirds of its life are over": {func(h *house) { h.now = h.now.Add(terms.Certificate*2/3 + time.Hour) },
			[]string{"controller-tls", "metrics-adapter-tls", "scaler-kafka-tls"}},
		"not before": {func(h *house) { h.now = h.now.Add(terms.Certificate*2/3 - time.Hour) }, nil},
		"somebody emptied it": {func(h *house) {
			h.change("scaler-kafka-tls", func(data map[string][]byte) { clear(data) })
		}, []string{"scaler-kafka-tls"}},
		"somebody broke it": {func(h *house) {
			h.change("scaler-kafka-tls", func(data map[string][]byte) { data[identity.PrivateKeyKey] = []byte("x") })
		}, []string{"scaler-kafka-tls"}},
		"it is another's": {func(h *house) {
			other := h.data(installation, "controller-tls")
			h.change("scaler-kafka-tls", func(data map[string][]byte) {
				for key := range data {
					data[key] = other[key]
				}
			})
		}, []string{"scaler-kafka-tls"}},
		"the Service has another name": {func(h *house) { h.signer.Trust.MetricsService = "adapter" }, []string{"metrics-adapter-tls"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := standard(t)
			h.run()
			tt.change(h)
			if writes, _ := h.run(); !slices.Equal(writes, tt.want) {
				t.Errorf("writes %v, want %v", writes, tt.want)
			}
			h.keys(kafka)
		})
	}
}

func (h *house) change(name string, change func(data map[string][]byte)) {
	h.t.Helper()
	secret := &corev1.Secret{}
	if err := h.client.Get(h.t.Context(), client.ObjectKey{Namespace: installation, Name: name}, secret); err != nil {
		h.t.Fatal(err)
	}
	change(secret.Data)
	if err := h.client.Update(h.t.Context(), secret); err != nil {
		h.t.Fatal(err)
	}
}

// TestOneProblemIsOnes has a Secret that cannot be read, and all others kept.
func TestOneProblemIsOnes(t *testing.T) {
	h := standard(t, service("scaler-cron", "cron", "grpcs"), service("scaler-odd", "Odd.Name", "grpcs"))
	h.fail = func(name string) error {
		if name == "controller-tls" {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, name, errors.New("no rule"))
		}
		return nil
	}
	writes, again := h.run()
	if !slices.Equal(writes, []string{authoritySecret, "metrics-adapter-tls", "scaler-kafka-tls"}) || again != tryAgain {
		t.Errorf("writes %v, again in %s", writes, again)
	}
	for _, said := range []string{
		`object=sluice-system/controller-tls error="secrets \"controller-tls\" is forbidden: no rule"`,
		`object=sluice-system/scaler-cron-tls error="secrets \"scaler-cron-tls\" not found"`,
		`"\"Odd.Name\" cannot be the name of a scaler`,
	} {
		if !strings.Contains(h.log.String(), said) {
			t.Errorf("the log lacks %s:\n%s", said, h.log.String())
		}
	}
	h.log.Reset()
	h.run()
	if h.log.Len() > 0 {
		t.Errorf("it is said again: %s", h.log.String())
	}
	h.fail = nil
	if writes, _ := h.run(); !slices.Equal(writes, []string{"controller-tls"}) {
		t.Errorf("when it can be read: %v", writes)
	}
}

// TestSomebodyWhoWasFasterIsNoError has each object written by somebody else
// between our read and our write.
func TestSomebodyWhoWasFasterIsNoError(t *testing.T) {
	apiService := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": metricsAPI},
		"spec": map[string]any{"service": map[string]any{"namespace": installation, "name": "metrics-adapter"}},
	}}
	for _, name := range []string{authoritySecret, "controller-tls", metricsAPI} {
		t.Run(name, func(t *testing.T) {
			h := standard(t, apiService.DeepCopy())
			h.refuse = func(written string) error {
				if written != name {
					return nil
				}
				return apierrors.NewConflict(schema.GroupResource{Resource: "objects"}, name, errors.New("the object has been modified"))
			}
			if _, again := h.run(); again != tryAgain {
				t.Errorf("again in %s", again)
			}
			if log := h.log.String(); strings.Contains(log, "level=ERROR") {
				t.Errorf("the log has an error:\n%s", log)
			}
			h.refuse = nil
			if writes, _ := h.run(); !slices.Contains(writes, name) {
				t.Errorf("then only %v is written", writes)
			}
		})
	}
}

func TestAuthorityThatMakesNoSense(t *testing.T) {
	h := standard(t)
	h.run()
	before := h.data(installation, "scaler-kafka-tls")
	secret := &corev1.Secret{}
	if err := h.client.Get(t.Context(), client.ObjectKey{Namespace: Namespace, Name: authoritySecret}, secret); err != nil {
		t.Fatal(err)
	}
	secret.Data[identity.PrivateKeyKey] = []byte("swordfish")
	if err := h.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if writes, again := h.run(); len(writes) > 0 || again != tryAgain {
		t.Errorf("writes %v, again in %s", writes, again)
	}
	if log := h.log.String(); !strings.Contains(log, "remove its data to have a new authority made") || strings.Contains(log, "swordfish") {
		t.Error(log)
	}
	if !bytes.Equal(before[identity.CertificateKey], h.data(installation, "scaler-kafka-tls")[identity.CertificateKey]) {
		t.Error("a key was signed anew")
	}
}

// TestChangeOfAuthority lives through three years and holds, at every moment, the
// keys of any two processes against each other, however late either heard.
func TestChangeOfAuthority(t *testing.T) {
	h := standard(t)
	h.run()
	start, authorities := h.now, 0
	last := map[identity.Identity]*identity.Keys{}
	var signer []byte
	for h.now.Before(start.AddDate(3, 0, 0)) {
		_, again := h.run()
		if current := h.data(Namespace, authoritySecret)[identity.CertificateKey]; !bytes.Equal(current, signer) {
			signer = current
			authorities++
		}
		present := map[identity.Identity]*identity.Keys{}
		for _, who := range []identity.Identity{identity.Controller, identity.MetricsAdapter, kafka} {
			present[who] = h.keys(who)
		}
		for _, client := range []identity.Identity{identity.Controller, identity.MetricsAdapter} {
			for _, pair := range [][2]map[identity.Identity]*identity.Keys{{present, present}, {present, last}, {last, present}} {
				if err := meet(pair[0][client], pair[1][kafka], h.now); err != nil {
					t.Fatalf("%s after %s: %v", client.Name, h.now.Sub(start), err)
				}
			}
		}
		last = present
		// Events are rare; a controller that sleeps for days sees more
		// changes at once than a real one.
		h.now = h.now.Add(max(again, 20*time.Minute))
		if again == lookAgain {
			h.now = h.now.Add(5 * 24 * time.Hour)
		}
		if n := h.trusted(); n > 3 {
			t.Fatalf("%d authorities are trusted", n)
		}
	}
	if authorities < 4 || h.trusted() > 2 {
		t.Errorf("%d authorities in three years, %d trusted at the end", authorities, h.trusted())
	}
}

// meet is a handshake: each verifies the other's certificate at a time.
func meet(client, server *identity.Keys, now time.Time) error {
	if client == nil || server == nil {
		return nil
	}
	for _, side := range []struct{ shows, believes *identity.Keys }{{client, server}, {server, client}} {
		if _, err := side.shows.Certificate.Leaf.Verify(verify(side.believes, now)); err != nil {
			return fmt.Errorf("%v: %w", side.shows.Certificate.Leaf.DNSNames, err)
		}
	}
	return nil
}

func TestChangeOfAuthorityOnRequest(t *testing.T) {
	h := standard(t)
	h.run()
	first := h.keys(kafka)
	secret := &corev1.Secret{}
	if err := h.client.Get(t.Context(), client.ObjectKey{Namespace: Namespace, Name: authoritySecret}, secret); err != nil {
		t.Fatal(err)
	}
	secret.Annotations = map[string]string{rotateAnnotation: "now"}
	if err := h.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after   time.Duration
		trusted int
		signed  bool // anew
		again   time.Duration
	}{
		{0, 2, false, time.Minute},
		{59*time.Minute + 50*time.Second, 2, false, 10 * time.Second},
		{10 * time.Second, 2, true, time.Minute},
		{59 * time.Minute, 2, true, time.Minute},
		{time.Minute, 1, true, lookAgain},
		{time.Minute, 1, true, lookAgain},
	} {
		h.now = h.now.Add(step.after)
		_, again := h.run()
		signed := !bytes.Equal(first.CertificatePEM, h.keys(kafka).CertificatePEM)
		if h.trusted() != step.trusted || signed != step.signed || again != step.again {
			t.Errorf("after %s: %d trusted, signed anew %t, again in %s", step.after, h.trusted(), signed, again)
		}
	}
	if err := meet(h.keys(identity.Controller), first, h.now); err == nil {
		t.Error("what the old authority signed is still believed")
	}
}

// TestOldAuthorityWaitsForAll has a Secret that cannot be written when the
// authority has changed: its owner would be believed by nobody.
func TestOldAuthorityWaitsForAll(t *testing.T) {
	h := standard(t)
	h.run()
	h.now = h.now.Add(terms.Authority * 3 / 4)
	h.run() // the next one is trusted
	h.fail = func(name string) error {
		if name == "scaler-kafka-tls" {
			return errors.New("etcd is slow")
		}
		return nil
	}
	for range 5 {
		h.now = h.now.Add(2 * terms.Overlap)
		h.run()
	}
	if h.trusted() != 2 {
		t.Errorf("%d authorities are trusted", h.trusted())
	}
	h.fail = nil
	h.run()
	h.run()
	if h.trusted() != 1 {
		t.Errorf("%d authorities are trusted in the end", h.trusted())
	}
}

func TestTheAPIServerIsTold(t *testing.T) {
	apiService := func(namespace, name string, skips bool) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": metricsAPI},
			"spec": map[string]any{"insecureSkipTLSVerify": skips, "service": map[string]any{"namespace": namespace, "name": name}},
		}}
	}
	webhooks := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": map[string]any{"name": "keda-admission"},
		"webhooks": []any{
			map[string]any{"name": "ours", "clientConfig": map[string]any{"service": map[string]any{"namespace": installation, "name": "keda-admission-webhooks"}}},
			map[string]any{"name": "theirs", "clientConfig": map[string]any{"service": map[string]any{"namespace": "keda", "name": "keda-admission-webhooks"}}},
		},
	}}
	tests := map[string]struct {
		object *unstructured.Unstructured
		change func(*Signer)
		told   bool
	}{
		"our APIService":                     {object: apiService(installation, "metrics-adapter", false), told: true},
		"KEDA's APIService":                  {object: apiService("keda", "keda-operator-metrics-apiserver", false)},
		"one that was told not to look":      {object: apiService(installation, "metrics-adapter", true)},
		"an APIService that is nobody's job": {object: apiService(installation, "metrics-adapter", false), change: func(s *Signer) { s.Trust.Metrics = false }},
		"our webhook, and another's":         {object: webhooks, told: true},
		"a webhook that is nobody's job":     {object: webhooks, change: func(s *Signer) { s.Trust.Webhook = false }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := standard(t, tt.object.DeepCopy())
			if tt.change != nil {
				tt.change(h.signer)
			}
			h.run()
			live := &unstructured.Unstructured{}
			live.SetGroupVersionKind(tt.object.GroupVersionKind())
			if err := h.client.Get(t.Context(), client.ObjectKeyFromObject(tt.object), live); err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprint(live.Object)
			bundle := base64.StdEncoding.EncodeToString(h.data(Namespace, authoritySecret)[identity.AuthoritiesKey])
			if n := strings.Count(text, "caBundle:"+bundle); (n == 1) != tt.told || n > 1 {
				t.Errorf("told %d times: %s", n, text)
			}
			if writes, _ := h.run(); len(writes) > 0 {
				t.Errorf("told again: %v", writes)
			}
		})
	}
}

func verify(k *identity.Keys, now time.Time) x509.VerifyOptions {
	return x509.VerifyOptions{Roots: k.Authorities, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
}
