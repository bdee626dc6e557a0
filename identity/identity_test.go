package identity_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/identity/authority"
)

const installation = "sluice-system"

var (
	now      = time.Now()
	kafka    = identity.Scaler("kafka")
	rabbitmq = identity.Scaler("rabbitmq")
	keda     = identity.Client("keda")
)

func newAuthority(t *testing.T) *authority.Authority {
	t.Helper()
	a, err := authority.New(installation, now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// secret is the data of the Secret of an identity, signed at some time. trusted
// are the authorities that its owner believes.
func secret(t *testing.T, signer *authority.Authority, who identity.Identity, signed time.Time, trusted ...*authority.Authority) map[string][]byte {
	t.Helper()
	certificate, key, err := signer.Sign(authority.Request{Identity: who, Installation: installation, Lifetime: time.Hour}, signed)
	if err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{identity.CertificateKey: certificate, identity.PrivateKeyKey: key}
	for _, a := range append(trusted, signer) {
		data[identity.AuthoritiesKey] = append(data[identity.AuthoritiesKey], authority.Encode(a.Certificate)...)
	}
	return data
}

func holder(t *testing.T, data map[string][]byte, who identity.Identity) *identity.Holder {
	t.Helper()
	h := &identity.Holder{}
	set(t, h, data, who)
	return h
}

func set(t *testing.T, h *identity.Holder, data map[string][]byte, who identity.Identity) {
	t.Helper()
	keys, err := identity.Parse(data, who.In(installation))
	if err != nil {
		t.Fatal(err)
	}
	h.Set(keys)
}

// witness tells how the handshakes of a server went. What a client sees of a
// refusal depends on who closes the connection first.
type witness struct {
	credentials.TransportCredentials
	verdicts chan error
}

func (w *witness) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, info, err := w.TransportCredentials.ServerHandshake(conn)
	select {
	case w.verdicts <- err:
	default: // nobody asks
	}
	return secure, info, err
}

// Clone is asked for by the server once.
func (w *witness) Clone() credentials.TransportCredentials {
	return &witness{w.TransportCredentials.Clone(), w.verdicts}
}

// family serves health as the family kafka to the controller and to KEDA.
func family(t *testing.T, keys *identity.Holder, policy identity.Policy) (address string, verdicts <-chan error) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{keys.Server(policy, identity.Controller.In(installation), keda.In(installation)), make(chan error, 100)}
	server := grpc.NewServer(grpc.Creds(w), grpc.WaitForHandlers(true))
	healthpb.RegisterHealthServer(server, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), w.verdicts
}

// call asks for health over a connection of its own.
func call(t *testing.T, address string, option grpc.DialOption) error {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, option)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	return err
}

func as(h *identity.Holder, server identity.Identity) grpc.DialOption {
	return grpc.WithTransportCredentials(h.Client(server.In(installation)))
}

func TestWhoMayCall(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	keys := holder(t, secret(t, ours, kafka, now), kafka)
	controller := holder(t, secret(t, ours, identity.Controller, now), identity.Controller)
	tests := map[string]struct {
		option grpc.DialOption
		// What the family says when it refuses, or else the caller; both "" for
		// admitted.
		refused, refuses string
	}{
		"the controller":            {option: as(controller, kafka)},
		"a client that was allowed": {option: as(holder(t, secret(t, ours, keda, now), keda), kafka)},
		"no certificate":            {option: anonymous(ours), refused: "client didn't provide a certificate"},
		"no TLS": {
			option:  grpc.WithTransportCredentials(insecure.NewCredentials()),
			refused: "first record does not look like a TLS handshake",
		},
		"the adapter, which was not allowed": {
			option:  as(holder(t, secret(t, ours, identity.MetricsAdapter, now), identity.MetricsAdapter), kafka),
			refused: "metrics-adapter.core.sluice-system may not call",
		},
		"another family": {
			option:  as(holder(t, secret(t, ours, rabbitmq, now), rabbitmq), kafka),
			refused: "incompatible key usage",
		},
		"the family itself": {option: as(keys, kafka), refused: "incompatible key usage"},
		"an expired certificate": {
			option:  as(holder(t, secret(t, ours, identity.Controller, now.Add(-2*time.Hour)), identity.Controller), kafka),
			refused: "certificate has expired",
		},
		"a certificate of another authority": {
			option:  as(holder(t, secret(t, foreign, identity.Controller, now, ours), identity.Controller), kafka),
			refused: "certificate signed by unknown authority",
		},
		"a caller that expects another family": {option: as(controller, rabbitmq), refuses: "not rabbitmq.scaler.sluice-system"},
		"a caller that does not trust the family's authority": {
			option:  as(holder(t, secret(t, foreign, identity.Controller, now), identity.Controller), kafka),
			refuses: "certificate signed by unknown authority",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			address, verdicts := family(t, keys, identity.Policy{})
			err := call(t, address, tt.option)
			if (err == nil) != (tt.refused == "" && tt.refuses == "") || err != nil && !strings.Contains(err.Error(), tt.refuses) {
				t.Errorf("the caller sees: %v", err)
			}
			verdict := <-verdicts
			if tt.refused != "" && (verdict == nil || !strings.Contains(verdict.Error(), tt.refused)) {
				t.Errorf("the family says: %v, want %q", verdict, tt.refused)
			}
		})
	}
}

// anonymous trusts the family and shows no certificate.
func anonymous(ours *authority.Authority) grpc.DialOption {
	pool := x509.NewCertPool()
	pool.AddCert(ours.Certificate)
	return grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: kafka.In(installation),
	}))
}

// TestPolicy calls with nothing better than TLS 1.2, as an old client does.
func TestPolicy(t *testing.T) {
	ours := newAuthority(t)
	keys := holder(t, secret(t, ours, kafka, now), kafka)
	caller, err := holder(t, secret(t, ours, identity.Controller, now), identity.Controller).Keys()
	if err != nil {
		t.Fatal(err)
	}
	old := grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, ServerName: kafka.In(installation),
		RootCAs: caller.Authorities, Certificates: []tls.Certificate{caller.Certificate},
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	}))
	tests := map[string]struct {
		env     map[string]string
		refused string // what the family says; "" for admitted
		problem string // of the environment
	}{
		"1.3 by default":                     {refused: "unsupported versions"},
		"1.3":                                {env: map[string]string{"KEDA_SERVICE_MIN_TLS_VERSION": "TLS13"}, refused: "unsupported versions"},
		"1.2":                                {env: map[string]string{"KEDA_SERVICE_MIN_TLS_VERSION": "TLS12"}},
		"1.2 for sources is not for callers": {env: map[string]string{"KEDA_HTTP_MIN_TLS_VERSION": "TLS12"}, refused: "unsupported versions"},
		"1.2 with another cipher": {
			env:     map[string]string{"KEDA_SERVICE_MIN_TLS_VERSION": "TLS12", "KEDA_SERVICE_TLS_CIPHER_LIST": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
			refused: "no cipher suite supported by both",
		},
		"no version": {
			env:     map[string]string{"KEDA_SERVICE_MIN_TLS_VERSION": "1.2"},
			problem: `KEDA_SERVICE_MIN_TLS_VERSION: "1.2" is not one of TLS10, TLS11, TLS12, TLS13`,
		},
		"no cipher": {
			env:     map[string]string{"KEDA_SERVICE_TLS_CIPHER_LIST": "ROT13"},
			problem: `KEDA_SERVICE_TLS_CIPHER_LIST: "ROT13" is not a cipher suite`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			policy, err := identity.ServingPolicy(func(name string) string { return tt.env[name] })
			if tt.problem != "" {
				if err == nil || err.Error() != tt.problem {
					t.Errorf("error = %v, want %s", err, tt.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			address, verdicts := family(t, keys, policy)
			if err := call(t, address, old); (err == nil) != (tt.refused == "") {
				t.Errorf("the caller sees: %v", err)
			}
			if verdict := <-verdicts; tt.refused != "" && (verdict == nil || !strings.Contains(verdict.Error(), tt.refused)) {
				t.Errorf("the family says: %v, want %q", verdict, tt.refused)
			}
		})
	}
}

func TestNobodyCallsBeforeThereAreKeys(t *testing.T) {
	ours := newAuthority(t)
	keys, controller := &identity.Holder{}, &identity.Holder{}
	address, _ := family(t, keys, identity.Policy{})
	if err := call(t, address, as(controller, kafka)); err == nil || !strings.Contains(err.Error(), identity.ErrNoKeys.Error()) {
		t.Errorf("a caller without a key: %v", err)
	}
	set(t, controller, secret(t, ours, identity.Controller, now), identity.Controller)
	if err := call(t, address, as(controller, kafka)); err == nil {
		t.Error("a family without a key answers")
	}
	set(t, keys, secret(t, ours, kafka, now), kafka)
	if err := call(t, address, as(controller, kafka)); err != nil {
		t.Errorf("with keys on both sides: %v", err)
	}
}

// TestAuthorityIsReplaced walks through a change of authority as the controller
// makes it. At each step either side may be the first to hear of it, old
// connections stand, and new ones can be made.
func TestAuthorityIsReplaced(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	keys, controller := holder(t, secret(t, before, kafka, now), kafka), holder(t, secret(t, before, identity.Controller, now), identity.Controller)
	address, _ := family(t, keys, identity.Policy{})
	standing, err := grpc.NewClient("passthrough:///"+address, as(controller, kafka))
	if err != nil {
		t.Fatal(err)
	}
	defer standing.Close()
	stream, err := healthpb.NewHealthClient(standing).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name    string
		signer  *authority.Authority
		trusted []*authority.Authority
	}{
		{"the new one is trusted", before, []*authority.Authority{after}},
		{"the new one signs", after, []*authority.Authority{before}},
		{"the old one is forgotten", after, nil},
	} {
		for _, side := range []struct {
			holder *identity.Holder
			who    identity.Identity
		}{{keys, kafka}, {controller, identity.Controller}} {
			set(t, side.holder, secret(t, step.signer, side.who, now, step.trusted...), side.who)
			if err := call(t, address, as(controller, kafka)); err != nil {
				t.Errorf("%s, %s has heard of it: %v", step.name, side.who.Name, err)
			}
		}
	}
	if _, err := healthpb.NewHealthClient(standing).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
}

// TestLifeLeft: without a key nothing is known, which is not that nothing is left.
func TestLifeLeft(t *testing.T) {
	if part, known := (&identity.Holder{}).LifeLeft(now); known {
		t.Errorf("%v of no certificate", part)
	}
	h := holder(t, secret(t, newAuthority(t), kafka, now), kafka)
	keys, err := h.Keys()
	if err != nil {
		t.Fatal(err)
	}
	begins, ends := keys.Certificate.Leaf.NotBefore, keys.Certificate.Leaf.NotAfter
	for at, want := range map[time.Time]float64{
		begins.Add(-time.Hour): 1, begins: 1, begins.Add(ends.Sub(begins) / 2): .5, ends: 0, ends.Add(time.Hour): 0,
	} {
		if part, known := h.LifeLeft(at); !known || part != want {
			t.Errorf("at %s: %v, %v; want %v", at, part, known, want)
		}
	}
}

func TestParse(t *testing.T) {
	ours := newAuthority(t)
	good := secret(t, ours, kafka, now)
	tests := map[string]struct {
		change func(data map[string][]byte)
		want   string
	}{
		"no certificate":      {func(d map[string][]byte) { delete(d, "tls.crt") }, "tls.crt and tls.key: failed to find any PEM data"},
		"the key of another":  {func(d map[string][]byte) { d["tls.key"] = secret(t, ours, kafka, now)["tls.key"] }, "tls.crt and tls.key: private key does not match"},
		"no authority":        {func(d map[string][]byte) { d["ca.crt"] = []byte("swordfish") }, "ca.crt: holds no PEM certificate"},
		"somebody else's key": {func(d map[string][]byte) { copyInto(d, secret(t, ours, rabbitmq, now)) }, "tls.crt: is for rabbitmq.scaler.sluice-system, not for kafka.scaler.sluice-system"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data := map[string][]byte{}
			copyInto(data, good)
			tt.change(data)
			_, err := identity.Parse(data, kafka.In(installation))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "swordfish") {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func copyInto(to, from map[string][]byte) {
	for key, value := range from {
		to[key] = value
	}
}

func TestNames(t *testing.T) {
	for who, want := range map[identity.Identity][2]string{
		kafka:                   {"kafka.scaler.sluice-system", "scaler-kafka-tls"},
		identity.Controller:     {"controller.core.sluice-system", "controller-tls"},
		identity.MetricsAdapter: {"metrics-adapter.core.sluice-system", "metrics-adapter-tls"},
		keda:                    {"keda.client.sluice-system", "client-keda-tls"},
	} {
		if who.In(installation) != want[0] || who.Secret() != want[1] {
			t.Errorf("%v: %s in Secret %s, want %v", who, who.In(installation), who.Secret(), want)
		}
		if err := who.Check(); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "Kafka", "a.b", "-a", strings.Repeat("a", 64)} {
		if identity.Scaler(name).Check() == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

// TestFollow holds a process's keys against what its Secret has, one answer of
// the API server after the other. The API server is a stand-in: what a real one
// does with the request is for the tests of the controller and of the families.
func TestFollow(t *testing.T) {
	ours := newAuthority(t)
	steps := make(chan func(deliver func(map[string][]byte)) error)
	watch := func(ctx context.Context, deliver func(map[string][]byte)) error {
		for {
			select {
			case step := <-steps:
				if err := step(deliver); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	var h identity.Holder
	changes := 0
	h.OnChange(func() { changes++ })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Follow(ctx, kafka, installation, slog.New(slog.DiscardHandler), watch)
	}()
	// Each step is taken when the one before has been.
	first, second := secret(t, ours, kafka, now), secret(t, ours, kafka, now)
	for _, data := range []map[string][]byte{{}, first, first, {"tls.crt": []byte("x")}, {}, second} {
		steps <- func(deliver func(map[string][]byte)) error {
			deliver(data)
			return nil
		}
	}
	steps <- func(func(map[string][]byte)) error { return errors.New("not granted") }
	steps <- func(func(map[string][]byte)) error { return nil } // the watch goes on
	cancel()
	<-done
	keys, err := h.Keys()
	if err != nil || string(keys.CertificatePEM) != string(second[identity.CertificateKey]) || changes != 2 {
		t.Errorf("%d changes, %v", changes, err)
	}
}

func TestWatchSecret(t *testing.T) {
	answers := make(chan func(w http.ResponseWriter), 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/sluice-system/secrets" || r.URL.Query().Get("fieldSelector") != "metadata.name=scaler-kafka-tls" ||
			r.URL.Query().Get("watch") != "true" {
			t.Errorf("asked for %s", r.URL)
		}
		(<-answers)(w)
	}))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	watch := identity.WatchSecret(server.Client(), base, kafka, installation)
	write := func(status int, text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(status)
			if _, err := w.Write([]byte(text)); err != nil {
				t.Error(err)
			}
		}
	}
	const added = `{"type":"ADDED","object":{"kind":"Secret","data":{"tls.crt":"eA=="}}}`
	tests := map[string]struct {
		answer    func(http.ResponseWriter)
		delivered int
		want      string
	}{
		"it is there and changes": {answer: write(200, added+"\n"+strings.Replace(added, "ADDED", "MODIFIED", 1)), delivered: 2},
		"it goes":                 {answer: write(200, added+`{"type":"DELETED","object":{"kind":"Secret","data":{}}}`), delivered: 1},
		"the watch is too old":    {answer: write(200, `{"type":"ERROR","object":{"kind":"Status","message":"too old"}}`), want: "too old"},
		"it is not granted":       {answer: write(403, `{"kind":"Status","message":"secrets is forbidden: User \"x\""}`), want: `secrets is forbidden: User "x"`},
		"no API server":           {answer: write(502, "<html>"), want: "the API server answers 502 Bad Gateway"},
		"no event":                {answer: write(200, "hello"), want: "the API server's answer is no event"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			answers <- tt.answer
			delivered := 0
			err := watch(t.Context(), func(map[string][]byte) { delivered++ })
			if delivered != tt.delivered || (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
				t.Errorf("%d delivered, error %v", delivered, err)
			}
		})
	}
}
