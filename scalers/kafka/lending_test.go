package main

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// TestBrokersOfATenantGetNoIdentity has an attacker for a broker, among others
// that are none.
func TestBrokersOfATenantGetNoIdentity(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAOWN")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "own")
	thief := scalertest.NewThief(t)
	family := scalertest.Serve(t, triggers...)
	for name, metadata := range map[string]map[string]string{
		"kafka":        {"sasl": "oauthbearer", "saslTokenProvider": "aws_msk_iam"},
		"apache-kafka": {"sasl": "aws_msk_iam"},
	} {
		for _, servers := range []string{thief.Addr(), "b-1.c.abc.c2.kafka.eu-west-1.amazonaws.com:9098," + thief.Addr()} {
			all := map[string]string{"bootstrapServers": servers, "topic": "orders", "consumerGroup": "crew", "tls": "enable", "awsRegion": "eu-west-1", "identityOwner": "operator"}
			for key, value := range metadata {
				all[key] = value
			}
			family.KeepsItsIdentity(t, name, scaler.PodIdentity{}, all)
			delete(all, "identityOwner")
			family.KeepsItsIdentity(t, name, scaler.PodIdentity{Provider: "aws"}, all)
		}
	}
}

// TestAnnouncedBrokersGetNoIdentity: a broker that the family knows may name
// others, which it may not know.
func TestAnnouncedBrokersGetNoIdentity(t *testing.T) {
	scalertest.LendTo(t, "b-1.c.example")
	thief := scalertest.NewThief(t)
	ctx, release := scaler.Opening(t.Context())
	defer release()
	for name, own := range map[string]security{"verified": {tls: &tls.Config{MinVersion: tls.VersionTLS12}, lent: true}, "plain": {lent: true}} {
		dial := endpoint{security: own}.dialler(own.dialer(client.DialerOf(ctx)))
		conn, err := dial(ctx, "tcp", net.JoinHostPort("127.0.0.1", thief.Port()))
		if err == nil || !strings.Contains(err.Error(), "bootstrapServers: host") {
			t.Errorf("%s: %v, %v", name, conn, err)
		}
	}
	unsafe := security{tls: &tls.Config{InsecureSkipVerify: true}, lent: true} //nolint:gosec // what is refused
	if err := unsafe.dialer(client.DialerOf(context.Background())).Check("b-1.c.abc.c2.kafka.eu-west-1.amazonaws.com"); err == nil {
		t.Error("anybody may pose as a broker")
	}
}
