package main

import (
	"maps"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestFamily goes from metadata to observations, over real gRPC and to a real
// broker, in both protocols.
func TestFamily(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	for _, v := range []string{"family", "team/a b+c"} {
		addVhost(t, r, v)
	}
	if err := r.AddUser(within(t), "stranger", "let-me-in", "management"); err != nil {
		t.Fatal(err)
	}
	o := operate(t, r.AMQPURL("family"))
	o.queue("jobs", 7)
	o.take("jobs", 3)
	o.queue("bills.eu", 2)
	o.queue("bills.us", 5)
	o.queue("idle", 0)
	odd := operate(t, r.AMQPURL("team/a b+c"))
	odd.queue("a/b c+d%", 4)
	listed(t, r, "family", "jobs", 7)
	listed(t, r, "family", "bills.eu", 2)
	listed(t, r, "family", "bills.us", 5)
	listed(t, r, "team/a b+c", "a/b c+d%", 4)

	overAMQP, overHTTP := r.AMQPURL("family"), r.HTTPURL("family")
	pattern := map[string]string{"host": overHTTP, "useRegex": "true", "queueName": "^bills.*$"}
	bare := func(address string) string { // without user and password
		return strings.Replace(address, servers.RabbitMQUser+":"+servers.RabbitMQPassword+"@", "", 1)
	}
	as := func(user, password string) map[string]string {
		return map[string]string{"username": user, "password": password}
	}
	httpMissing := func(vhost, queue string) string {
		return "GET http://" + r.HTTPAddr() + "/api/queues/" + vhost + "/" + queue + ": 404 Not Found"
	}
	tests := map[string]struct {
		metadata map[string]string // on top of queue jobs over AMQP
		auth     map[string]string
		env      map[string]string
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"AMQP counts what is ready": {want: scalertest.Observation{Value: 4, Active: true}},
		"HTTP counts everything":    {metadata: map[string]string{"host": overHTTP}, want: scalertest.Observation{Value: 7, Active: true}},
		"HTTP without unacknowledged": {
			metadata: map[string]string{"host": overHTTP, "excludeUnacknowledged": "true"},
			want:     scalertest.Observation{Value: 4, Active: true}},
		"an empty queue":                  {metadata: map[string]string{"queueName": "idle"}},
		"an empty queue over HTTP":        {metadata: map[string]string{"queueName": "idle", "host": overHTTP}},
		"a threshold":                     {metadata: map[string]string{"activationValue": "4"}, want: scalertest.Observation{Value: 4}},
		"a backlog without publish rates": {metadata: map[string]string{"host": overHTTP, "queueName": "bills.eu", "mode": "DeliverGetRate", "value": "1"}},
		"the sum of a pattern":            {metadata: pattern, want: scalertest.Observation{Value: 7, Active: true}},
		"the average of a pattern": {
			metadata: onTop(pattern, map[string]string{"operation": "avg"}), want: scalertest.Observation{Value: 3, Active: true}},
		"the highest of a pattern": {
			metadata: onTop(pattern, map[string]string{"operation": "max"}), want: scalertest.Observation{Value: 5, Active: true}},
		"a pattern that matches nothing": {
			metadata: onTop(pattern, map[string]string{"queueName": "^nothing$", "operation": "median"})},
		"an operation that does not exist": {
			metadata: onTop(pattern, map[string]string{"operation": "median"}), code: codes.InvalidArgument,
			message: `queues matching ^bills.*$: operation: "median" is none of sum, avg, max`},
		"a pattern beyond the page": {
			metadata: onTop(pattern, map[string]string{"pageSize": "1"}), code: codes.FailedPrecondition,
			message: "queues matching ^bills.*$: matches more queues than fit one page of 1: raise pageSize or narrow the pattern"},
		"a pattern that is none": {
			metadata: onTop(pattern, map[string]string{"queueName": "["}), code: codes.FailedPrecondition,
			message: "queues matching [: GET http://" + r.HTTPAddr() + "/api/queues/family: 400 Bad Request"},
		"odd names over AMQP": {
			metadata: map[string]string{"host": r.AMQPURL("team/a b+c"), "queueName": "a/b c+d%"},
			want:     scalertest.Observation{Value: 4, Active: true}},
		"odd names over HTTP": {
			metadata: map[string]string{"host": r.HTTPURL("team/a b+c"), "queueName": "a/b c+d%"},
			want:     scalertest.Observation{Value: 4, Active: true}},
		"an odd vhost apart": {
			metadata: map[string]string{"host": r.HTTPURL("/"), "vhostName": "team/a b+c", "queueName": "a/b c+d%"},
			want:     scalertest.Observation{Value: 4, Active: true}},
		"an odd vhost apart and escaped": {
			metadata: map[string]string{"host": r.HTTPURL("/"), "vhostName": url.PathEscape("team/a b+c"), "queueName": "a/b c+d%"},
			want:     scalertest.Observation{Value: 4, Active: true}},
		"a vhost apart over AMQP, from the authentication": {
			metadata: map[string]string{"host": r.AMQPURL("/")}, auth: map[string]string{"vhostName": "family"},
			want: scalertest.Observation{Value: 4, Active: true}},
		"host from the authentication": {
			metadata: map[string]string{"host": ""}, auth: map[string]string{"host": overAMQP},
			want: scalertest.Observation{Value: 4, Active: true}},
		"host from the environment": {
			metadata: map[string]string{"host": "", "hostFromEnv": "RABBIT"}, env: map[string]string{"RABBIT": overHTTP},
			want: scalertest.Observation{Value: 7, Active: true}},
		"user and password from the authentication": {
			metadata: map[string]string{"host": bare(overAMQP)}, auth: as("guest", "guest"),
			want: scalertest.Observation{Value: 4, Active: true}},
		"user and password from the environment": {
			metadata: map[string]string{"host": bare(overHTTP), "usernameFromEnv": "U", "passwordFromEnv": "P"},
			env:      map[string]string{"U": "guest", "P": "guest"},
			want:     scalertest.Observation{Value: 7, Active: true}},
		"they go before those in host": {
			auth: as("guest", "wrong-password"), code: codes.Unauthenticated,
			message: "queue jobs: broker " + r.AMQPAddr() + ": login refused"},
		"a wrong password over HTTP": {
			metadata: map[string]string{"host": overHTTP}, auth: as("guest", "wrong-password"), code: codes.Unauthenticated,
			message: "queue jobs: GET http://" + r.HTTPAddr() + "/api/queues/family/jobs: 401 Unauthorized"},
		"nobody over HTTP": {
			metadata: map[string]string{"host": bare(overHTTP)}, code: codes.Unauthenticated,
			message: "queue jobs: GET http://" + r.HTTPAddr() + "/api/queues/family/jobs: 401 Unauthorized"},
		"somebody without access to the vhost": {
			auth: as("stranger", "let-me-in"), code: codes.PermissionDenied,
			message: "queue jobs: broker " + r.AMQPAddr() + ": the user may not access the vhost"},
		"a missing queue": {
			metadata: map[string]string{"queueName": "missing"}, code: codes.NotFound,
			message: "queue missing: does not exist in vhost family"},
		"a missing queue over HTTP": {
			metadata: map[string]string{"queueName": "missing", "host": overHTTP}, code: codes.NotFound,
			message: "queue missing: " + httpMissing("family", "missing")},
		"a missing vhost": {
			metadata: map[string]string{"vhostName": "missing"}, code: codes.NotFound,
			message: "queue jobs: broker " + r.AMQPAddr() + ": the vhost does not exist"},
		"a missing vhost over HTTP": {
			metadata: map[string]string{"vhostName": "missing", "host": overHTTP}, code: codes.NotFound,
			message: "queue jobs: " + httpMissing("missing", "jobs")},
	}
	family := scalertest.Serve(t, rabbitmq)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := map[string]string{"queueName": "jobs", "host": overAMQP}
			maps.Copy(metadata, tt.metadata)
			got, err := family.WithAuth(tt.auth).WithEnv(tt.env).Observe(t.Context(), "rabbitmq", metadata)
			message := status.Convert(err).Message()
			if want := "rabbitmq: " + tt.message; status.Code(err) != tt.code || err != nil && message != want {
				t.Fatalf("error = %v, want %v %q", err, tt.code, want)
			}
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}
