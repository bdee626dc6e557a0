package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// onTop is a with b over it.
func onTop(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// TestFamily goes from metadata to observations, over real gRPC and to a real
// server.
func TestFamily(t *testing.T) {
	const odd = "team a&b=c%/ü" // an account
	s := started(t, func(o *natsd.Options) {
		a := natsd.NewAccount(odd)
		o.Accounts = []*natsd.Account{a}
		o.Users = []*natsd.User{{Username: "odd", Password: "odd", Account: a}, {Username: "all", Password: "all"}}
		o.NoAuthUser = "all"
	})
	account, err := s.LookupAccount(odd)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*natsd.Account{account, s.GlobalAccount()} {
		if err := a.EnableJetStream(nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	o := operate(t, s.ClientURL())
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>"}}, "workers", "idle")
	o.consumer("orders", jetstream.ConsumerConfig{Durable: "eu", FilterSubject: "orders.eu"})
	o.publish("orders.eu", 4)
	o.publish("orders.us", 3)
	o.take("orders", "workers", 5, 2)
	o.take("orders", "idle", 7, 7)
	operate(t, s.ClientURL(), nats.UserInfo("odd", "odd")).stream(jetstream.StreamConfig{Name: "odd", Subjects: []string{"odd"}}, "workers")
	plain := started(t, func(o *natsd.Options) { o.JetStream = false })

	tests := map[string]struct {
		metadata map[string]string // on top of consumer workers of stream orders
		auth     map[string]string
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"pending and unacknowledged":   {want: scalertest.Observation{Value: 2 + 3, Active: true}},
		"nothing":                      {metadata: map[string]string{"consumer": "idle"}},
		"a consumer with a filter":     {metadata: map[string]string{"consumer": "eu"}, want: scalertest.Observation{Value: 4, Active: true}},
		"a threshold":                  {metadata: map[string]string{"activationLagThreshold": "5"}, want: scalertest.Observation{Value: 5}},
		"the account by its id":        {metadata: map[string]string{"account": "", "accountID": "$G"}, want: scalertest.Observation{Value: 5, Active: true}},
		"the id goes before the name":  {metadata: map[string]string{"account": "anything", "accountID": "$G"}, want: scalertest.Observation{Value: 5, Active: true}},
		"an odd account":               {metadata: map[string]string{"account": odd, "stream": "odd"}},
		"from the authentication":      {metadata: map[string]string{"account": "wrong", "natsServerMonitoringEndpoint": "wrong"}, auth: map[string]string{"account": "$G", "natsServerMonitoringEndpoint": monitoringPort(s)}, want: scalertest.Observation{Value: 5, Active: true}},
		"with a slash behind the port": {metadata: map[string]string{"natsServerMonitoringEndpoint": monitoringPort(s) + "/"}, want: scalertest.Observation{Value: 5, Active: true}},
		"a missing consumer": {
			metadata: map[string]string{"consumer": "missing"}, code: codes.NotFound, message: "consumer missing of stream orders: consumer not found"},
		"a missing stream": {
			metadata: map[string]string{"stream": "missing"}, code: codes.NotFound, message: "consumer workers of stream missing: stream not found"},
		"a stream of another account": {
			metadata: map[string]string{"account": odd}, code: codes.NotFound, message: "consumer workers of stream orders: stream not found"},
		"a missing account": {
			metadata: map[string]string{"account": "missing"}, code: codes.NotFound,
			message: "consumer workers of stream orders: account missing not found, or it has no stream; an account whose id is not its name needs accountID"},
		"a server without JetStream": {
			metadata: map[string]string{"natsServerMonitoringEndpoint": monitoringPort(plain)}, code: codes.FailedPrecondition,
			message: "consumer workers of stream orders: the server has no JetStream"},
		"plain HTTP instead of HTTPS": {
			metadata: map[string]string{"useHttps": "true"}, code: codes.Unavailable,
			message: "GET https://" + monitoringPort(s) + "/jsz: the server does not speak TLS"},
	}
	family := scalertest.Serve(t, natsJetStream)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := onTop(map[string]string{
				"natsServerMonitoringEndpoint": monitoringPort(s), "account": "$G", "stream": "orders", "consumer": "workers",
			}, tt.metadata)
			got, err := family.WithAuth(tt.auth).Observe(t.Context(), "nats-jetstream", metadata)
			message := status.Convert(err).Message()
			if want := "nats-jetstream: " + tt.message; status.Code(err) != tt.code || err != nil && message != want {
				t.Fatalf("error = %v, want %v %q", err, tt.code, want)
			}
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestClientPort asks the port that clients connect to, which is none for HTTP.
func TestClientPort(t *testing.T) {
	s := started(t, nil)
	_, err := scalertest.Serve(t, natsJetStream).Observe(t.Context(), "nats-jetstream", map[string]string{
		"natsServerMonitoringEndpoint": s.Addr().String(), "account": "$G", "stream": "orders", "consumer": "workers",
	})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "GET http://"+s.Addr().String()+"/jsz: ") {
		t.Errorf("error = %v", err)
	}
}

func TestDeletedStreamIsAnError(t *testing.T) {
	s := started(t, nil)
	o := operate(t, s.ClientURL())
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}}, "workers")
	o.publish("orders", 2)
	source := opened(t, monitoringPort(s), "orders", "workers")[0]
	read(t, source, 2, codes.OK)
	if err := o.js.DeleteStream(within(t), "orders"); err != nil {
		t.Fatal(err)
	}
	read(t, source, 0, codes.NotFound)
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}}, "workers")
	o.publish("orders", 1)
	read(t, source, 1, codes.OK)
}

func TestMetrics(t *testing.T) {
	family := scalertest.Serve(t, natsJetStream)
	specs, err := family.Specs(t.Context(), "nats-jetstream", map[string]string{
		"natsServerMonitoringEndpoint": "nats:8222", "account": "a", "stream": "my.stream/1", "consumer": "c",
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(specs) != 1 || specs[0].GetMetricName() != "nats-jetstream-my-stream-1" || specs[0].GetTargetSizeFloat() != 10 {
		t.Errorf("specs = %v", specs)
	}
}

func TestRefusedParameters(t *testing.T) {
	tests := map[string]struct {
		metadata, auth map[string]string
		message        string
	}{
		"no stream and no consumer": {
			metadata: map[string]string{"stream": "", "consumer": ""},
			message:  "stream: is required (looked in metadata); consumer: is required (looked in metadata)"},
		"no endpoint": {
			metadata: map[string]string{"natsServerMonitoringEndpoint": ""},
			message:  "natsServerMonitoringEndpoint: is required (looked in authentication, metadata)"},
		"no account":       {metadata: map[string]string{"account": " "}, message: "account: no account name or id: give account or accountID"},
		"a scheme":         {metadata: map[string]string{"natsServerMonitoringEndpoint": "http://nats:8222"}, message: errScheme.Error()},
		"a user":           {metadata: map[string]string{"natsServerMonitoringEndpoint": "me:hush-hush@nats:8222"}, message: errEndpoint.Error()},
		"a query":          {metadata: map[string]string{"natsServerMonitoringEndpoint": "nats:8222?acc=x"}, message: errEndpoint.Error()},
		"no host":          {metadata: map[string]string{"natsServerMonitoringEndpoint": ":8222"}, message: errEndpoint.Error()},
		"a port of words":  {metadata: map[string]string{"natsServerMonitoringEndpoint": "nats:http"}, message: errEndpoint.Error()},
		"a target of many": {metadata: map[string]string{"lagThreshold": "many"}, message: `lagThreshold: "many" is not an integer`},
		"a target of 0": {metadata: map[string]string{"lagThreshold": "0"},
			message: "lagThreshold: target 0 is not greater than 0"},
		"a client port with a path": {metadata: map[string]string{"natsServerEndpoint": "nats:4222/x"}, message: "natsServerEndpoint: is not host:port"},
		"a client port with a user": {metadata: map[string]string{"natsServerEndpoint": "nats://me:hush@nats:4222"}, message: "natsServerEndpoint: is not host:port"},
		"a password alone": {
			metadata: map[string]string{"natsServerEndpoint": "nats:4222"}, auth: map[string]string{"password": "hush-hush"},
			message: "username: is required with password"},
		"credentials that are none": {
			metadata: map[string]string{"natsServerEndpoint": "nats:4222"}, auth: map[string]string{"credentials": "hush-hush"},
			message: "credentials: is not the text of a .creds file, with a JWT and the seed of a user's key"},
		"half a pair": {
			metadata: map[string]string{"natsServerEndpoint": "nats:4222"}, auth: map[string]string{"cert": "PEM"}, message: "key: is required with cert"},
	}
	family := scalertest.Serve(t, natsJetStream)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := onTop(map[string]string{"natsServerMonitoringEndpoint": "nats:8222", "account": "a", "stream": "orders", "consumer": "c"}, tt.metadata)
			_, err := family.WithAuth(tt.auth).Observe(t.Context(), "nats-jetstream", metadata)
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "nats-jetstream: "+tt.message {
				t.Errorf("error = %v, want InvalidArgument %q", err, tt.message)
			}
			if err != nil && strings.Contains(err.Error(), "hush") {
				t.Error("the error shows the password")
			}
		})
	}
}

// TestIgnoredParameters: what belongs to the doorbell is ignored without one, as
// KEDA ignores it.
func TestIgnoredParameters(t *testing.T) {
	family := scalertest.Serve(t, natsJetStream).WithAuth(map[string]string{"password": "x", "credentials": "y", "cert": "z"})
	_, err := family.Specs(t.Context(), "nats-jetstream", map[string]string{"natsServerMonitoringEndpoint": "nats", "account": "a", "stream": "s", "consumer": "c"})
	if err != nil {
		t.Error(err)
	}
}

func TestWarnings(t *testing.T) {
	tests := map[string]struct {
		endpoint string
		client   clientParams
		want     []string
	}{
		"nothing":         {endpoint: "nats:8222"},
		"not even a host": {},
		"the client port": {endpoint: "nats:4222", want: []string{"natsServerMonitoringEndpoint: 4222 is usually the port of clients; the monitoring port, usually 8222, is needed"}},
		"a path":          {endpoint: "nats:8222/nats", want: []string{"natsServerMonitoringEndpoint: has a path, which monitoring ports do not have; other servers of a cluster are asked under it, too"}},
		"unused credentials": {
			endpoint: "nats:8222", client: clientParams{Token: "t"},
			want: []string{"natsServerEndpoint: is not given, so the credentials are not used; the monitoring port asks for none"}},
		"used credentials": {endpoint: "nats:8222", client: clientParams{Token: "t", ClientEndpoint: "nats"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := jetStreamParams{monitoringParams: monitoringParams{Endpoint: tt.endpoint}, clientParams: tt.client}
			if got := p.Warnings(); !slices.Equal(got, tt.want) {
				t.Errorf("warnings = %q, want %q", got, tt.want)
			}
		})
	}
}
