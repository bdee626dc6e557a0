package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// onTop are the pairs of more, over those of base.
func onTop(base map[string]string, more ...map[string]string) map[string]string {
	all := maps.Clone(base)
	for _, m := range more {
		maps.Copy(all, m)
	}
	return all
}

// TestFamily goes from metadata to observations, over real gRPC and a real
// broker.
func TestFamily(t *testing.T) {
	k := servers.SharedKafka(t)
	o := operate(t, k.Bootstrap())
	jobs, slow, crew, done := fresh("jobs"), fresh("jobs.slow"), fresh("crew"), fresh("done")
	o.create(5, jobs)
	o.create(2, slow)
	for number := range int32(5) {
		o.produce(jobs, number, 10)
	}
	o.produce(slow, 1, 7)
	o.commit(crew, jobs, 0, 0, 0, 0, 0)
	o.commit(crew, slow, 0, 0)
	o.commit(done, jobs, 10, 10, 10, 10, 10)

	valid := map[string]string{
		"bootstrapServers": k.Bootstrap(), "consumerGroup": crew, "topic": jobs, "lagThreshold": "5",
	}
	tests := map[string]struct {
		kind     string            // kafka when empty
		metadata map[string]string // on top of a valid trigger
		env      map[string]string
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"capped at one replica per partition": {
			want: scalertest.Observation{Value: 25, Active: true}},
		"idle consumers lift the cap": {
			metadata: map[string]string{"allowIdleConsumers": "true"},
			want:     scalertest.Observation{Value: 50, Active: true}},
		"at the activation threshold is not active": {
			metadata: map[string]string{"activationLagThreshold": "50"},
			want:     scalertest.Observation{Value: 25}},
		"what the cap cuts still activates": {
			metadata: map[string]string{"activationLagThreshold": "49"},
			want:     scalertest.Observation{Value: 25, Active: true}},
		"nothing behind": {metadata: map[string]string{"consumerGroup": done}},
		"all topics of the group": {
			metadata: map[string]string{"topic": "", "allowIdleConsumers": "true"},
			want:     scalertest.Observation{Value: 57, Active: true}},
		"some partitions": {
			metadata: map[string]string{"partitionLimitation": "0,2-3", "allowIdleConsumers": "true"},
			want:     scalertest.Observation{Value: 30, Active: true}},
		"everything from the environment": {
			metadata: map[string]string{
				"bootstrapServers": "", "bootstrapServersFromEnv": "BROKERS", "consumerGroup": "",
				"consumerGroupFromEnv": "GROUP", "topic": "", "topicFromEnv": "TOPIC",
			},
			env:  map[string]string{"BROKERS": k.Bootstrap(), "GROUP": crew, "TOPIC": jobs},
			want: scalertest.Observation{Value: 25, Active: true}},
		"sasl none is no SASL": {
			metadata: map[string]string{"sasl": "none", "tls": "disable", "fullMetadata": "false"},
			want:     scalertest.Observation{Value: 25, Active: true}},
		"a missing topic": {
			metadata: map[string]string{"topic": "missing"}, code: codes.NotFound,
			message: "kafka: topic missing: UNKNOWN_TOPIC_OR_PARTITION: This server does not host this topic-partition."},
		"a topic that cannot exist": {
			metadata: map[string]string{"topic": "no topic"}, code: codes.InvalidArgument,
			message: "kafka: topic no topic: INVALID_TOPIC_EXCEPTION: The request attempted to perform an operation on an invalid topic."},
		"a version that this broker still speaks": {
			metadata: map[string]string{"version": "2.8.0"},
			want:     scalertest.Observation{Value: 25, Active: true}},
		"apache-kafka: several topics": {
			kind:     "apache-kafka",
			metadata: map[string]string{"topic": jobs + ", " + slow, "allowIdleConsumers": "true"},
			want:     scalertest.Observation{Value: 57, Active: true}},
		"apache-kafka: topics of the group": {
			kind:     "apache-kafka",
			metadata: map[string]string{"topic": "", "allowIdleConsumers": "true"},
			want:     scalertest.Observation{Value: 57, Active: true}},
		"apache-kafka: a missing topic is no zero": {
			kind:     "apache-kafka",
			metadata: map[string]string{"topic": jobs + ",missing"}, code: codes.NotFound,
			message: "apache-kafka: topic missing: UNKNOWN_TOPIC_OR_PARTITION: This server does not host this topic-partition."},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			kind := tt.kind
			if kind == "" {
				kind = "kafka"
			}
			served := family
			if tt.env != nil {
				served = family.WithReserved(map[string]string{scalerv1.KeyEnv: literals(t, tt.env)})
			}
			got, err := served.Observe(t.Context(), kind, onTop(valid, tt.metadata))
			if status.Code(err) != tt.code || message(err) != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// literals is the environment of a target as the core sends it.
func literals(t *testing.T, env map[string]string) string {
	t.Helper()
	vars := make(map[string]scalerv1.EnvVar)
	for name, text := range env {
		vars[name] = scalerv1.EnvVar{Value: &text}
	}
	text, err := scalerv1.EncodeEnv(vars)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestMetrics(t *testing.T) {
	valid := map[string]string{"bootstrapServers": "kafka:9092", "consumerGroup": "billing.eu"}
	tests := map[string]struct {
		kind     string
		metadata map[string]string
		name     string
		target   float64
	}{
		"topic":                 {kind: "kafka", metadata: map[string]string{"topic": "a.b/c:d%e(f)_G"}, name: "kafka-a-b-c-d-e-f-_G", target: 10},
		"group":                 {kind: "kafka", name: "kafka-billing-eu-topics", target: 10},
		"target":                {kind: "kafka", metadata: map[string]string{"lagThreshold": "250"}, name: "kafka-billing-eu-topics", target: 250},
		"apache-kafka topics":   {kind: "apache-kafka", metadata: map[string]string{"topic": "a.b, c"}, name: "kafka-a-b,c", target: 10},
		"apache-kafka no topic": {kind: "apache-kafka", name: "kafka-billing-eu-topics", target: 10},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			specs, err := family.Specs(t.Context(), tt.kind, onTop(valid, tt.metadata))
			if err != nil {
				t.Fatal(err)
			}
			if len(specs) != 1 || specs[0].GetMetricName() != tt.name || specs[0].GetTargetSizeFloat() != tt.target {
				t.Errorf("specs = %v, want %s with target %v", specs, tt.name, tt.target)
			}
		})
	}
}

func aThousandServers() string {
	var all []string
	for i := range 1000 {
		all = append(all, fmt.Sprintf("h%d:1", i))
	}
	return strings.Join(all, ",")
}

// TestParameters names the parameter that is wrong. No broker is asked.
func TestParameters(t *testing.T) {
	valid := map[string]string{"bootstrapServers": "127.0.0.1:1", "consumerGroup": "crew", "topic": "jobs"}
	user := map[string]string{"username": "alice", "password": "wonderland"}
	tests := map[string]struct {
		kind     string
		metadata map[string]string
		auth     map[string]string
		message  string
	}{
		"no servers": {
			metadata: map[string]string{"bootstrapServers": ""},
			message:  "bootstrapServers: is required (looked in metadata, bootstrapServersFromEnv)"},
		"blank servers": {
			metadata: map[string]string{"bootstrapServers": ","},
			message:  "bootstrapServers: names no server"},
		"servers without end": {
			metadata: map[string]string{"bootstrapServers": aThousandServers()},
			message:  "bootstrapServers: names 1000 servers, of 100 that there may be"},
		"no group": {
			metadata: map[string]string{"consumerGroup": " "},
			message:  "consumerGroup: is required (looked in metadata, consumerGroupFromEnv)"},
		"target not positive": {
			metadata: map[string]string{"lagThreshold": "0"},
			message:  "lagThreshold: target 0 is not greater than 0"},
		"target not an integer": {
			metadata: map[string]string{"lagThreshold": "2.5"},
			message:  `lagThreshold: "2.5" is not an integer`},
		"activation negative": {
			metadata: map[string]string{"activationLagThreshold": "-1"},
			message:  "activationLagThreshold: must not be negative"},
		"partition": {
			metadata: map[string]string{"partitionLimitation": "1,x"},
			message:  `partitionLimitation: "x" is not an integer`},
		"idle consumers against partitions with lag": {
			metadata: map[string]string{"allowIdleConsumers": "true", "limitToPartitionsWithLag": "true"},
			message:  "allowIdleConsumers: cannot be combined with limitToPartitionsWithLag"},
		"partitions with lag against even distribution": {
			metadata: map[string]string{"limitToPartitionsWithLag": "true", "ensureEvenDistributionOfPartitions": "true"},
			message:  "limitToPartitionsWithLag: cannot be combined with ensureEvenDistributionOfPartitions"},
		"partitions with lag without topic": {
			metadata: map[string]string{"topic": "", "limitToPartitionsWithLag": "true"},
			message:  "limitToPartitionsWithLag: needs topic"},
		"even distribution without topic": {
			metadata: map[string]string{"topic": "", "ensureEvenDistributionOfPartitions": "true"},
			message:  "ensureEvenDistributionOfPartitions: needs topic"},
		"one topic's metadata without topic": {
			metadata: map[string]string{"topic": "", "fullMetadata": "false"},
			message:  "fullMetadata: needs topic"},
		"policy": {
			metadata: map[string]string{"offsetResetPolicy": "Latest"},
			message:  `offsetResetPolicy: "Latest" is not one of latest, earliest`},
		"version": {
			metadata: map[string]string{"version": "two"},
			message:  `version: "two" is not a Kafka version`},
		"sasl": {
			metadata: map[string]string{"sasl": "PLAIN"},
			message:  `sasl: "PLAIN" is not one of none, plaintext, scram_sha256, scram_sha512, oauthbearer, gssapi`},
		"tls": {
			metadata: map[string]string{"tls": "true"},
			message:  `tls: "true" is not one of enable, disable`},
		"no name and password": {
			metadata: map[string]string{"sasl": "plaintext"},
			message:  "username: is required with sasl plaintext; password: is required with sasl plaintext"},
		"no token endpoint": {
			metadata: map[string]string{"sasl": "oauthbearer"}, auth: user,
			message: "oauthTokenEndpointUri: is required with sasl oauthbearer"},
		"token endpoint that is no URL": {
			metadata: map[string]string{"sasl": "oauthbearer"}, auth: onTop(user, map[string]string{"oauthTokenEndpointUri": "idp"}),
			message: "oauthTokenEndpointUri: is not an absolute URL"},
		"extension": {
			metadata: map[string]string{"sasl": "oauthbearer"},
			auth:     onTop(user, map[string]string{"oauthTokenEndpointUri": "http://idp/token", "oauthExtensions": "a=b=c"}),
			message:  "oauthExtensions: the value from authentication is not one \"key=value\""},
		"MSK without TLS, region and keys": {
			metadata: map[string]string{"sasl": "oauthbearer", "saslTokenProvider": "aws_msk_iam"},
			message: "tls: must be enable with aws_msk_iam; awsRegion: is required with aws_msk_iam; " +
				"awsAccessKeyID: is required without a role or pod identity; awsSecretAccessKey: is required without a role or pod identity"},
		"key without certificate": {
			metadata: map[string]string{"tls": "enable"}, auth: map[string]string{"key": "secret"},
			message: "cert: is required with key"},
		"certificate without key": {
			metadata: map[string]string{"tls": "enable"}, auth: map[string]string{"cert": "public"},
			message: "key: is required with cert"},
		"Kerberos without anything": {
			metadata: map[string]string{"sasl": "gssapi"},
			message: "username: is required with sasl gssapi; realm: is required with sasl gssapi; " +
				"kerberosConfig: is required with sasl gssapi; password: exactly one of password and keytab is required with sasl gssapi"},
		"Kerberos with password and keytab": {
			metadata: map[string]string{"sasl": "gssapi"},
			auth:     onTop(user, map[string]string{"realm": "R", "kerberosConfig": "[libdefaults]", "keytab": "k"}),
			message:  "password: exactly one of password and keytab is required with sasl gssapi"},
		"apache-kafka knows no oauthbearer": {
			kind: "apache-kafka", metadata: map[string]string{"sasl": "oauthbearer"},
			message: `sasl: "oauthbearer" is not one of none, plaintext, scram_sha256, scram_sha512, gssapi, aws_msk_iam`},
		"apache-kafka does not support gssapi": {
			kind: "apache-kafka", metadata: map[string]string{"sasl": "gssapi"},
			message: "sasl: gssapi is not supported by apache-kafka, use trigger type kafka"},
		"apache-kafka MSK without TLS": {
			kind: "apache-kafka", metadata: map[string]string{"sasl": "aws_msk_iam", "awsRegion": "eu-west-1", "identityOwner": "operator"},
			message: "tls: must be enable with aws_msk_iam"},
		"apache-kafka partitions with lag without topic": {
			kind: "apache-kafka", metadata: map[string]string{"topic": "", "limitToPartitionsWithLag": "true"},
			message: "limitToPartitionsWithLag: needs topic"},
		"apache-kafka sasl in two places": {
			kind: "apache-kafka", metadata: map[string]string{"sasl": "plaintext"}, auth: onTop(user, map[string]string{"sasl": "plaintext"}),
			message: "sasl: is given in metadata and authentication, give it once"},
		"apache-kafka tls in two places": {
			kind: "apache-kafka", metadata: map[string]string{"tls": "disable"}, auth: map[string]string{"tls": "enable"},
			message: "tls: is given in metadata and authentication, give it once"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			kind := tt.kind
			if kind == "" {
				kind = "kafka"
			}
			_, err := family.WithAuth(tt.auth).Observe(t.Context(), kind, onTop(valid, tt.metadata))
			if want := kind + ": " + tt.message; status.Code(err) != codes.InvalidArgument || message(err) != want {
				t.Errorf("error = %v, want InvalidArgument %q", err, want)
			}
			if strings.Contains(message(err), "wonderland") {
				t.Error("the error holds the password")
			}
		})
	}
}
