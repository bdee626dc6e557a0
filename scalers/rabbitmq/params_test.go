package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// onTop are the pairs of more, over those of base.
func onTop(base map[string]string, more ...map[string]string) map[string]string {
	all := maps.Clone(base)
	for _, m := range more {
		maps.Copy(all, m)
	}
	return all
}

const (
	overAMQP = "amqp://bob:hush-hush@rabbit.example/orders"
	overHTTP = "https://bob:hush-hush@rabbit.example/orders"
)

func TestMetric(t *testing.T) {
	tests := map[string]struct {
		metadata map[string]string
		name     string
		target   float64
	}{
		"nothing given":                              {name: "rabbitmq-jobs", target: 20},
		"zeros count as nothing":                     {metadata: map[string]string{"queueLength": "0", "value": "0"}, name: "rabbitmq-jobs", target: 20},
		"the old length":                             {metadata: map[string]string{"queueLength": "7.5"}, name: "rabbitmq-jobs", target: 7.5},
		"mode and value":                             {metadata: map[string]string{"mode": "QueueLength", "value": "3"}, name: "rabbitmq-jobs", target: 3},
		"a rate":                                     {metadata: map[string]string{"host": overHTTP, "mode": "MessageRate", "value": "0.5"}, name: "rabbitmq-jobs", target: 0.5},
		"a name is escaped as in a query":            {metadata: map[string]string{"queueName": "a b/c:d.e(f)~*@ü"}, name: "rabbitmq-a+b-2Fc-3Ad-e-28f-29~-2A-40-C3-BC", target: 20},
		"a pattern too":                              {metadata: map[string]string{"host": overHTTP, "useRegex": "true", "queueName": "^job.*$"}, name: "rabbitmq--5Ejob--2A-24", target: 20},
		"timeout is ignored without a mode":          {metadata: map[string]string{"timeout": "1s", "queueLength": "5"}, name: "rabbitmq-jobs", target: 5},
		"operation is not checked unless it matters": {metadata: map[string]string{"operation": "median"}, name: "rabbitmq-jobs", target: 20},
	}
	family := scalertest.Serve(t, rabbitmq)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			specs, err := family.Specs(t.Context(), "rabbitmq",
				onTop(map[string]string{"queueName": "jobs", "host": overAMQP}, tt.metadata))
			if err != nil {
				t.Fatal(err)
			}
			if specs[0].GetMetricName() != tt.name || specs[0].GetTargetSizeFloat() != tt.target {
				t.Errorf("metric = %s with target %v, want %s with %v",
					specs[0].GetMetricName(), specs[0].GetTargetSizeFloat(), tt.name, tt.target)
			}
		})
	}
}

func TestWrongParameters(t *testing.T) {
	oauth := map[string]string{"oauthTokenURI": "https://login.example", "clientID": "me", "clientSecret": "hush-hush"}
	azure := scaler.PodIdentity{Provider: "azure-workload"}
	tests := map[string]struct {
		metadata map[string]string // on top of a valid trigger over AMQP
		auth     map[string]string
		identity scaler.PodIdentity
		message  string
	}{
		"no queue": {
			metadata: map[string]string{"queueName": " "},
			message:  "queueName: is required (looked in metadata)"},
		"no host": {
			metadata: map[string]string{"host": ""},
			message:  "host: is required (looked in metadata, authentication, hostFromEnv)"},
		"a host without scheme": {
			metadata: map[string]string{"host": "bob:hush-hush@rabbit.example"},
			message:  "host: begins with none of amqp://, amqps://, http://, https://"},
		"another scheme": {
			metadata: map[string]string{"host": "mqtt://bob:hush-hush@rabbit.example"},
			message:  "host: begins with none of amqp://, amqps://, http://, https://"},
		"a password that is not escaped": {
			metadata: map[string]string{"host": "amqp://bob:hush%hush@rabbit.example"},
			message:  "host: is not a URL; are reserved characters in user and password percent-encoded?"},
		"protocol against scheme": {
			metadata: map[string]string{"protocol": "http"},
			message:  "host: does not begin with http:// or https://, as protocol http demands"},
		"scheme against protocol": {
			metadata: map[string]string{"host": overHTTP, "protocol": "amqp"},
			message:  "host: does not begin with amqp:// or amqps://, as protocol amqp demands"},
		"no host in the host": {
			metadata: map[string]string{"host": "http:///orders"},
			message:  "host: names no host"},
		"a bad protocol": {
			metadata: map[string]string{"protocol": "stomp"},
			message:  `protocol: "stomp" is not one of auto, amqp, http`},
		"a bad mode": {
			metadata: map[string]string{"mode": "Length", "value": "1"},
			message:  `mode: "Length" is not one of QueueLength, MessageRate, DeliverGetRate, PublishedToDeliveredRatio, ExpectedQueueConsumptionTime`},
		"value without mode": {
			metadata: map[string]string{"value": "1"}, message: "mode: is required with value"},
		"mode without value": {
			metadata: map[string]string{"mode": "QueueLength", "value": "0"}, message: "value: is required with mode, and is not 0"},
		"the old length with mode": {
			metadata: map[string]string{"mode": "QueueLength", "queueLength": "1"},
			message:  "queueLength: cannot be combined with mode and value; use mode QueueLength with value instead"},
		"the old length with value": {
			metadata: map[string]string{"value": "2", "queueLength": "1"},
			message:  "queueLength: cannot be combined with mode and value; use mode QueueLength with value instead"},
		"a rate over AMQP": {
			metadata: map[string]string{"mode": "MessageRate", "value": "2"}, message: "mode: MessageRate needs protocol http"},
		"a timeout over AMQP": {
			metadata: map[string]string{"mode": "QueueLength", "value": "2", "timeout": "500"}, message: "timeout: needs protocol http"},
		"a pattern over AMQP": {
			metadata: map[string]string{"useRegex": "true"}, message: "useRegex: needs protocol http"},
		"ready messages over AMQP": {
			metadata: map[string]string{"excludeUnacknowledged": "true"},
			message:  "excludeUnacknowledged: needs protocol http; AMQP never counts unacknowledged messages"},
		"a page of nothing": {
			metadata: map[string]string{"pageSize": "0"}, message: "pageSize: is less than 1"},
		"a name that AMQP cannot carry": {
			metadata: map[string]string{"queueName": strings.Repeat("q", 256)}, message: "queueName: is longer than 255 bytes"},
		"a negative target": {
			metadata: map[string]string{"queueLength": "-3"},
			message:  "target of metric rabbitmq-jobs: target -3 is not greater than 0"},
		"a bad tls": {
			auth: map[string]string{"tls": "yes"}, message: "tls: the value from authentication is not one of enable, disable"},
		"certificate without key": {
			auth: map[string]string{"tls": "enable", "cert": "PEM"}, message: "key: is required with cert"},
		"user without password": {
			auth: map[string]string{"username": "bob"}, message: "password: is required with username"},
		"password without user": {
			auth: map[string]string{"password": "hush-hush"}, message: "username: is required with password"},
		"OAuth over AMQP": {auth: oauth, message: "oauthTokenURI: OAuth needs protocol http"},
		"workload identity over AMQP": {
			auth: map[string]string{"workloadIdentityResource": "api://rabbit"}, identity: azure,
			message: "workloadIdentityResource: needs protocol http"},
		"half an OAuth": {
			metadata: map[string]string{"host": overHTTP}, auth: map[string]string{"clientSecret": "hush-hush"},
			message: "oauthTokenURI: is required for OAuth, which needs oauthTokenURI, clientID and clientSecret; " +
				"clientID: is required for OAuth, which needs oauthTokenURI, clientID and clientSecret"},
		"OAuth and a user": {
			metadata: map[string]string{"host": overHTTP},
			auth:     onTop(oauth, map[string]string{"username": "bob", "password": "hush-hush"}),
			message:  "username: cannot be combined with OAuth"},
		"OAuth and workload identity": {
			metadata: map[string]string{"host": overHTTP}, identity: azure,
			auth:    onTop(oauth, map[string]string{"workloadIdentityResource": "api://rabbit"}),
			message: "workloadIdentityResource: cannot be combined with OAuth"},
		"several mistakes at once": {
			metadata: map[string]string{"pageSize": "many", "useRegex": "true", "value": "2"},
			message:  `pageSize: "many" is not an integer; mode: is required with value; useRegex: needs protocol http`},
	}
	family := scalertest.Serve(t, rabbitmq)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := onTop(map[string]string{"queueName": "jobs", "host": overAMQP}, tt.metadata)
			asking := family
			if tt.auth != nil {
				asking = family.WithAuth(tt.auth).WithPodIdentity(tt.identity)
			}
			_, err := asking.Observe(t.Context(), "rabbitmq", metadata)
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "rabbitmq: "+tt.message {
				t.Errorf("error = %v, want InvalidArgument %q", err, tt.message)
			}
			if err != nil && strings.Contains(err.Error(), "hush") {
				t.Error("the error shows the password")
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	tests := map[string]struct {
		params rabbitmqParams
		want   []string
	}{
		"a vhost at the end": {params: rabbitmqParams{hostParams: hostParams{Host: overHTTP, Protocol: protocolAuto}}},
		"a slash at the end": {
			params: rabbitmqParams{hostParams: hostParams{Host: overHTTP + "/", Protocol: protocolAuto}},
			want:   []string{"host: ends with a slash, so the vhost is / and what comes before the slash is the path of the management API"}},
		"a slash at the end and a vhost apart": {
			params: rabbitmqParams{hostParams: hostParams{Host: overHTTP + "/", Protocol: protocolAuto, VhostName: "/"}}},
		"TLS without TLS": {
			params: rabbitmqParams{hostParams: hostParams{Host: overAMQP, Protocol: protocolAuto}, login: login{TLS: enable}},
			want:   []string{"tls: is enabled, but host begins with amqp://, so the connection is not encrypted"}},
		"nothing known yet": {},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.params.Warnings(); !slices.Equal(got, tt.want) {
				t.Errorf("warnings = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEndpoint(t *testing.T) {
	tests := map[string]struct {
		host, vhostName string
		want            endpoint
	}{
		"AMQP with everything": {
			host: "amqp://u:p%40ss@rabbit:1234/a%2fb?heartbeat=5",
			want: endpoint{scheme: "amqp", host: "rabbit:1234", vhost: "a/b", username: "u", password: "p@ss", hasPassword: true, serverName: "rabbit"}},
		"AMQP with nothing": {
			host: "amqp://",
			want: endpoint{scheme: "amqp", host: "localhost:5672", vhost: "/", username: "guest", password: "guest", serverName: "localhost"}},
		"AMQP over TLS": {
			host: "amqps://[2001:db8::1]/%2f?server_name_indication=rabbit.example",
			want: endpoint{scheme: "amqps", host: "[2001:db8::1]:5671", vhost: "/", username: "guest", password: "guest", serverName: "rabbit.example"}},
		"a user alone": {
			host: "amqps://u@rabbit/",
			want: endpoint{scheme: "amqps", host: "rabbit:5671", vhost: "/", username: "u", serverName: "rabbit"}},
		"a vhost apart": {
			host: "amqp://rabbit/a", vhostName: "b c",
			want: endpoint{scheme: "amqp", host: "rabbit:5672", vhost: "b c", username: "guest", password: "guest", serverName: "rabbit"}},
		"HTTP without path":        {host: "http://rabbit:15672", want: endpoint{scheme: "http", host: "rabbit:15672", vhost: "/"}},
		"HTTP with a slash":        {host: "http://rabbit/", want: endpoint{scheme: "http", host: "rabbit", vhost: "/"}},
		"HTTP with a vhost":        {host: "https://rabbit/a+b%20c", want: endpoint{scheme: "https", host: "rabbit", vhost: "a+b c"}},
		"HTTP with an escaped one": {host: "https://rabbit/%2f", want: endpoint{scheme: "https", host: "rabbit", vhost: "/"}},
		"HTTP below a path": {
			host: "https://u:p@rabbit/x%2Fy/z/v", want: endpoint{scheme: "https", host: "rabbit", base: "/x%2Fy/z", vhost: "v", username: "u", password: "p", hasPassword: true}},
		"HTTP below a path with a slash": {
			host: "https://rabbit/x/", want: endpoint{scheme: "https", host: "rabbit", base: "/x", vhost: "/"}},
		"HTTP with two slashes":           {host: "http://rabbit//", want: endpoint{scheme: "http", host: "rabbit", vhost: "/"}},
		"HTTP with two at the end":        {host: "http://rabbit/sub1//", want: endpoint{scheme: "http", host: "rabbit", base: "/sub1", vhost: "/"}},
		"HTTP with two within":            {host: "http://rabbit//sub1//sub2//orders", want: endpoint{scheme: "http", host: "rabbit", base: "/sub1/sub2", vhost: "orders"}},
		"AMQP with two slashes":           {host: "amqp://rabbit//", want: endpoint{scheme: "amqp", host: "rabbit:5672", vhost: "/", username: "guest", password: "guest", serverName: "rabbit"}},
		"HTTP with a vhost apart":         {host: "http://rabbit/a", vhostName: "/", want: endpoint{scheme: "http", host: "rabbit", vhost: "/"}},
		"HTTP with an escaped one apart":  {host: "http://rabbit/a", vhostName: "%2f", want: endpoint{scheme: "http", host: "rabbit", vhost: "/"}},
		"a percent sign that is only one": {host: "http://rabbit/a", vhostName: "100%", want: endpoint{scheme: "http", host: "rabbit", vhost: "100%"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := hostParams{Host: tt.host, Protocol: protocolAuto, VhostName: tt.vhostName}.endpoint()
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("endpoint = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestSegmentIsUnambiguous(t *testing.T) {
	for name, want := range map[string]string{
		"/": "%2F", "a b": "a%20b", "a+b": "a%2Bb", "50%": "50%25", "orders.v2_x-y~z": "orders.v2_x-y~z", "?#": "%3F%23",
	} {
		if got := segment(name); got != want {
			t.Errorf("segment(%q) = %s, want %s", name, got, want)
		}
	}
}

// TestCertificatesWithoutTLS: what would belong to TLS is no mistake where it is
// off.
func TestCertificatesWithoutTLS(t *testing.T) {
	family := scalertest.Serve(t, rabbitmq).WithAuth(map[string]string{"cert": "PEM"})
	if _, err := family.Specs(t.Context(), "rabbitmq", map[string]string{"queueName": "jobs", "host": overAMQP}); err != nil {
		t.Errorf("a certificate that is not used is refused: %v", err)
	}
}
