package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// hears is one source that listens until the test ends.
type hears struct {
	listening, rung chan struct{}
	// first is closed by the first ring, which says no more than that listening
	// has begun; rung has those that follow.
	first  chan struct{}
	failed chan error
	stop   context.CancelFunc
}

func listen(t testing.TB, s scaler.Source) *hears {
	t.Helper()
	if _, err := s.Read(within(t)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	h := &hears{listening: make(chan struct{}), first: make(chan struct{}), rung: make(chan struct{}, 1000), failed: make(chan error, 1), stop: stop}
	var done sync.WaitGroup
	var begun atomic.Bool
	done.Go(func() {
		h.failed <- s.(scaler.Ringer).Listen(ctx, func() { close(h.listening) }, func() {
			if begun.CompareAndSwap(false, true) {
				close(h.first)
				return
			}
			h.rung <- struct{}{}
		})
	})
	t.Cleanup(func() {
		stop()
		done.Wait()
	})
	return h
}

// ringing opens a source of a consumer of the global account that may listen.
func ringing(t testing.TB, s *natsd.Server, stream, consumer string, p clientParams) scaler.Source {
	t.Helper()
	if p.ClientEndpoint == "" {
		p.ClientEndpoint = s.Addr().String()
	}
	source, err := scalertest.Open(t, openJetStream, jetStreamParams{
		monitoringParams: monitoringParams{Endpoint: monitoringPort(s), Account: "$G"}, clientParams: p, Stream: stream, Consumer: consumer,
	})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// TestRings: work is noticed as it is published, long before the next reading.
func TestRings(t *testing.T) {
	s := started(t, nil)
	o := operate(t, s.ClientURL())
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>", "returns"}}, "workers")
	o.consumer("orders", jetstream.ConsumerConfig{Durable: "eu", FilterSubject: "orders.eu"})
	metadata := func(consumer string) map[string]string {
		return map[string]string{
			"natsServerMonitoringEndpoint": monitoringPort(s), "natsServerEndpoint": s.Addr().String(),
			"account": "$G", "stream": "orders", "consumer": consumer,
		}
	}
	family := scalertest.Serve(t, natsJetStream)
	for consumer, subject := range map[string]string{"workers": "returns", "eu": "orders.eu"} {
		w := family.Watch(t, "nats-jetstream", metadata(consumer), scalerv1.Mode_MODE_IDLE, time.Hour)
		if _, err := w.Until(within(t), "inactive", scalertest.Inactive); err != nil {
			t.Fatal(err)
		}
		o.publish(subject, 1)
		if _, err := w.Until(within(t), "active", scalertest.Active); err != nil {
			t.Errorf("%s: %v", consumer, err)
		}
		o.take("orders", "workers", 1, 1)
	}
}

// TestListeningRingsOnceMore: a message that came just before, and that the server
// has not counted yet, is found although nothing else rings.
func TestListeningRingsOnceMore(t *testing.T) {
	s := started(t, nil)
	o := operate(t, s.ClientURL())
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}}, "workers")
	h := listen(t, ringing(t, s, "orders", "workers", clientParams{}))
	await(t, "listening", h.listening)
	await(t, "a ring", h.first)
}

// TestNothingIsConsumed: what was heard of is still there for who works, and a
// busy subject costs the server a message now and then.
func TestNothingIsConsumed(t *testing.T) {
	s := started(t, nil)
	o := operate(t, s.ClientURL())
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}}, "workers")
	source := ringing(t, s, "orders", "workers", clientParams{})
	h := listen(t, source)
	await(t, "listening", h.listening)
	const messages = 1000
	o.publish("orders", messages)
	await(t, "a ring", h.rung)
	await(t, "another ring after a while", h.rung)
	read(t, source, messages, 0)
	connz, err := s.Connz(&natsd.ConnzOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range connz.Conns {
		if c.Name == "sluice" && c.OutMsgs > messages/10 {
			t.Errorf("%d of %d messages were sent to who listens", c.OutMsgs, messages)
		}
	}
	if n := s.NumClients(); n != 2 { // the operator's is the other
		t.Errorf("%d clients", n)
	}
}

// TestManyListenersShareAConnection, each for a stream of its own, and those
// that leave take nothing from the others.
func TestManyListenersShareAConnection(t *testing.T) {
	s := started(t, nil)
	o := operate(t, s.ClientURL())
	var all []*hears
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	streams := names("orders", 20)
	for _, name := range streams {
		o.stream(jetstream.StreamConfig{Name: name, Subjects: []string{name, name + ".all"}}, "workers")
		source, err := openJetStream(ctx, jetStreamParams{
			monitoringParams: monitoringParams{Endpoint: monitoringPort(s), Account: "$G"},
			clientParams:     clientParams{ClientEndpoint: s.Addr().String()}, Stream: name, Consumer: "workers",
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, listen(t, source))
	}
	for _, h := range all {
		await(t, "listening", h.listening)
	}
	if n := s.NumClients(); n != 2 {
		t.Errorf("%d clients, want the operator's and one", n)
	}
	o.publish(streams[7]+".all", 1)
	await(t, "the ring", all[7].rung)
	all[7].stop()
	if err := await(t, "the end", all[7].failed); !errors.Is(err, context.Canceled) {
		t.Errorf("listening ended with %v", err)
	}
	o.publish(streams[8], 1)
	await(t, "a ring after another one left", all[8].rung)
	for i, h := range all {
		if i != 7 && i != 8 && len(h.rung) > 0 {
			t.Errorf("stream %d has rung", i)
		}
	}
}

// TestSubjectsThatChange end listening to those of before.
func TestSubjectsThatChange(t *testing.T) {
	s := started(t, nil)
	o := operate(t, s.ClientURL())
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"old"}}, "workers")
	source := ringing(t, s, "orders", "workers", clientParams{})
	h := listen(t, source)
	await(t, "listening", h.listening)
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"new"}})
	read(t, source, 0, 0)
	if err := await(t, "the end", h.failed); !errors.Is(err, errChanged) {
		t.Fatalf("listening ended with %v", err)
	}
	h = listen(t, source)
	await(t, "listening", h.listening)
	o.publish("new", 1)
	await(t, "the ring", h.rung)
}

// TestUnheardStreams have nothing that could be listened to, and say so.
func TestUnheardStreams(t *testing.T) {
	s := started(t, nil)
	o := operate(t, s.ClientURL())
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}})
	o.stream(jetstream.StreamConfig{Name: "mirror", Mirror: &jetstream.StreamSource{Name: "orders"}}, "workers")
	o.stream(jetstream.StreamConfig{Name: "many", Subjects: names("many", mostSubjects+1)}, "workers")
	for _, stream := range []string{"mirror", "many"} {
		h := listen(t, ringing(t, s, stream, "workers", clientParams{}))
		if err := await(t, "the end", h.failed); !errors.Is(err, scaler.ErrDoorbellRefused) {
			t.Errorf("%s: %v", stream, err)
		}
	}
	quiet, err := scalertest.Open(t, openJetStream, jetStreamParams{monitoringParams: monitoringParams{Endpoint: monitoringPort(s), Account: "$G"}, Stream: "orders", Consumer: "workers"})
	if err != nil {
		t.Fatal(err)
	}
	if err := quiet.(scaler.Ringer).Listen(within(t), func() {}, func() {}); !errors.Is(err, scaler.ErrDoorbellRefused) {
		t.Errorf("without a client port: %v", err)
	}
}

// TestLogins listens as users of every kind, and is refused as others.
func TestLogins(t *testing.T) {
	authority, certificate := authority(t)
	s := started(t, func(o *natsd.Options) {
		o.NoAuthUser = "operator"
		o.Users = []*natsd.User{
			{Username: "operator", Password: "operator"},
			{Username: "scaler", Password: "secret", Permissions: &natsd.Permissions{Subscribe: &natsd.SubjectPermission{Allow: []string{"orders"}}}},
			{Username: "stranger", Password: "secret", Permissions: &natsd.Permissions{Subscribe: &natsd.SubjectPermission{Allow: []string{"other"}}}},
		}
	})
	o := operate(t, s.ClientURL())
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}}, "workers")
	at := func(change func(*natsd.Options)) string {
		return started(t, change).Addr().String()
	}
	withTLS := at(func(o *natsd.Options) {
		o.TLSConfig, o.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}, true
	})
	withToken := at(func(o *natsd.Options) { o.Authorization = "token" })
	withJWT, creds := operated(t)
	tests := map[string]struct {
		client clientParams
		hears  bool
		// refused is what the polled trigger's note says, "" for a failure that is
		// tried again soon.
		refused string
	}{
		"nobody, who is let in": {hears: true},
		"a user":                {client: clientParams{Username: "scaler", Password: "secret"}, hears: true},
		"a wrong password": {
			client:  clientParams{Username: "scaler", Password: "wrong"},
			refused: "doorbell refused: client port " + s.Addr().String() + ": login refused"},
		"a user without the permission": {
			client: clientParams{Username: "stranger", Password: "secret"}, refused: "doorbell refused: the user lacks the permission to subscribe to orders"},
		"a server that demands TLS":  {client: clientParams{ClientEndpoint: withTLS, TLSParams: clientTLS(authority)}, hears: true},
		"a trigger that demands TLS": {client: clientParams{ClientEndpoint: withTLS, TLS: "enable", TLSParams: clientTLS(authority)}, hears: true},
		"a server that has none": {
			client:  clientParams{TLS: "enable"},
			refused: "doorbell refused: client port " + s.Addr().String() + ": does not offer TLS, which the trigger demands"},
		"an unknown authority": {client: clientParams{ClientEndpoint: withTLS}},
		"a token":              {client: clientParams{ClientEndpoint: withToken, Token: "token"}, hears: true},
		"a wrong token": {
			client:  clientParams{ClientEndpoint: withToken, Token: "wrong"},
			refused: "doorbell refused: client port " + withToken + ": login refused"},
		"a JWT": {client: clientParams{ClientEndpoint: withJWT, Credentials: creds}, hears: true},
		"a server of HTTP": {
			client: clientParams{ClientEndpoint: monitoringPort(s)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := listen(t, ringing(t, s, "orders", "workers", tt.client))
			select {
			case <-h.listening:
				if !tt.hears {
					t.Error("it listens")
				}
			case err := <-h.failed:
				if tt.hears || errors.Is(err, scaler.ErrDoorbellRefused) != (tt.refused != "") || tt.refused != "" && err.Error() != tt.refused {
					t.Errorf("error = %v, want %q", err, tt.refused)
				}
			case <-within(t).Done():
				t.Error("neither listens nor fails")
			}
		})
	}
}

// TestRotatedPassword: with a password that is no longer good nobody listens, and
// the reading, which needs none, goes on. The new one listens.
func TestRotatedPassword(t *testing.T) {
	options := &natsd.Options{
		ServerName: "alone", Host: "127.0.0.1", Port: commonPort(t), HTTPHost: "127.0.0.1", HTTPPort: commonPort(t),
		JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*natsd.User{{Username: "operator", Password: "operator"}, {Username: "scaler", Password: "old"}},
	}
	s := run(t, options)
	o := operate(t, s.ClientURL(), nats.UserInfo("operator", "operator"))
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}}, "workers")
	old := ringing(t, s, "orders", "workers", clientParams{Username: "scaler", Password: "old"})
	h := listen(t, old)
	await(t, "listening", h.listening)
	changed := options.Clone()
	changed.Users[1].Password = "new"
	if err := s.ReloadOptions(changed); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the end of the session", h.failed); err == nil {
		t.Error("the session ended without an error")
	}
	if err := await(t, "the refusal", listen(t, old).failed); !errors.Is(err, scaler.ErrDoorbellRefused) {
		t.Errorf("error = %v", err)
	}
	o.publish("orders", 1)
	eventually(t, "the message to be counted", func() bool {
		readings, err := old.Read(within(t))
		if err != nil {
			t.Fatal(err)
		}
		return readings[0].Value == 1
	})
	renewed := listen(t, ringing(t, s, "orders", "workers", clientParams{Username: "scaler", Password: "new"}))
	await(t, "listening", renewed.listening)
	o.publish("orders", 1)
	await(t, "a ring", renewed.rung)
}

// TestServerGoesAndComes: listening ends with the server and begins anew.
func TestServerGoesAndComes(t *testing.T) {
	options := &natsd.Options{
		ServerName: "alone", Host: "127.0.0.1", Port: commonPort(t), HTTPHost: "127.0.0.1", HTTPPort: commonPort(t),
		JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}
	s := run(t, options)
	o := operate(t, s.ClientURL())
	if _, err := o.js.CreateStream(within(t), jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}}); err != nil {
		t.Fatal(err)
	}
	o.consumer("orders", jetstream.ConsumerConfig{Durable: "workers"})
	source := ringing(t, s, "orders", "workers", clientParams{})
	h := listen(t, source)
	await(t, "listening", h.listening)
	end(s)
	if err := await(t, "the end", h.failed); errors.Is(err, scaler.ErrDoorbellRefused) {
		t.Errorf("error = %v", err)
	}
	if _, err := source.Read(within(t)); err == nil {
		t.Error("a dead server has a value")
	}
	run(t, options)
	h = listen(t, source)
	await(t, "listening again", h.listening)
	eventually(t, "the operator's connection", o.nc.IsConnected)
	o.publish("orders", 2)
	await(t, "a ring", h.rung)
	read(t, source, 2, 0)
}

// clientTLS trusts an authority.
func clientTLS(authority string) client.TLSParams { return client.TLSParams{CA: authority} }

// authority makes a certificate for 127.0.0.1 that is its own authority.
func authority(t *testing.T) (pemText string, certificate tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nats"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// operated runs a server whose users have JWTs, and returns the .creds of one.
func operated(t *testing.T) (address, creds string) {
	t.Helper()
	keys := func(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		pair, err := create()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return pair, public
	}
	encode := func(claims jwt.Claims, by nkeys.KeyPair) string {
		text, err := claims.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	operatorKey, operatorName := keys(nkeys.CreateOperator)
	accountKey, accountName := keys(nkeys.CreateAccount)
	userKey, userName := keys(nkeys.CreateUser)
	operator, err := jwt.DecodeOperatorClaims(encode(jwt.NewOperatorClaims(operatorName), operatorKey))
	if err != nil {
		t.Fatal(err)
	}
	resolver := &natsd.MemAccResolver{}
	if err := resolver.Store(accountName, encode(jwt.NewAccountClaims(accountName), operatorKey)); err != nil {
		t.Fatal(err)
	}
	seed, err := userKey.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(encode(jwt.NewUserClaims(userName), accountKey), seed)
	if err != nil {
		t.Fatal(err)
	}
	s := started(t, func(o *natsd.Options) {
		o.TrustedOperators, o.AccountResolver, o.JetStream = []*jwt.OperatorClaims{operator}, resolver, false
	})
	return s.Addr().String(), string(text)
}

// TestSubjectsThatAServerRefuses, whoever named them, take the doorbell from
// nobody else at the same client port.
func TestSubjectsThatAServerRefuses(t *testing.T) {
	s := started(t, func(o *natsd.Options) {
		o.Users = []*natsd.User{{Username: "guest", Password: "guest", Permissions: &natsd.Permissions{Subscribe: &natsd.SubjectPermission{Deny: []string{"secret.>"}}}}}
	})
	o := operate(t, s.ClientURL(), nats.UserInfo("guest", "guest"))
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}}, "workers")
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	at := func(monitoring, stream, consumer string) scaler.Source {
		source, err := openJetStream(ctx, jetStreamParams{
			monitoringParams: monitoringParams{Endpoint: monitoring, Account: "$G"}, Stream: stream, Consumer: consumer,
			clientParams: clientParams{ClientEndpoint: s.Addr().String(), Username: "guest", Password: "guest"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return source
	}
	h := listen(t, at(monitoringPort(s), "orders", "workers"))
	await(t, "listening", h.listening)
	for name, subject := range map[string]string{
		"nothing between dots": "a..b", "a dot": ".", "a dot at the end": "a.", "all before more": ">.a", "all within": "a.>.b",
		"quotes": `secret."a"`, "as long as may be": strings.Repeat("x", mostBytes), "all": ">",
	} {
		t.Run(name, func(t *testing.T) {
			page := answers(t, map[string]string{"/jsz": listed(0, `, "num_pending": 0, "num_ack_pending": 0, "config": {"filter_subject": `+strconv.Quote(subject)+`}`)})
			bad := listen(t, at(page, "orders", "jobs"))
			select {
			case <-bad.listening:
			case err := <-bad.failed:
				if !errors.Is(err, scaler.ErrDoorbellRefused) {
					t.Errorf("listening to %.20q: %v", subject, err)
				}
			case <-within(t).Done():
				t.Error("it neither listens nor fails")
			}
			o.publish("orders", 1)
			await(t, "the ring of another", h.rung)
			bad.stop()
		})
	}
	select {
	case err := <-h.failed:
		t.Errorf("who listened was ended: %v", err)
	default:
	}
}
