package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// TestEndpointsOfATenantAreSignedForByTheTenant has every type asked for at an
// endpoint of an attacker, as the family and as a role of it.
func TestEndpointsOfATenantAreSignedForByTheTenant(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAOWN")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "own")
	t.Setenv("AWS_SESSION_TOKEN", "families-own")
	// more is on top of what each type has.
	more := map[string]map[string]string{
		"aws-sqs-queue":  {"queueURL": "https://sqs.eu-west-1.amazonaws.com/1/orders"},
		"aws-dynamodb":   {"indexName": "i"},
		"aws-cloudwatch": {"dimensionName": "d", "dimensionValue": "v"},
	}
	family := scalertest.Serve(t, triggers...)
	for _, s := range typesOn("orders") {
		t.Run(s.Type, func(t *testing.T) {
			thief := scalertest.NewThief(t)
			for _, endpoint := range []string{"http://" + thief.Addr(), "https://sqs.eu-west-1.amazonaws.com@" + thief.Addr()} {
				family.KeepsItsIdentity(t, s.Type, scaler.PodIdentity{}, at(endpoint, s.metadata, more[s.Type], map[string]string{"identityOwner": "operator"}))
				family.KeepsItsIdentity(t, s.Type, scaler.PodIdentity{Provider: "aws"}, at(endpoint, s.metadata, more[s.Type]))
				family.KeepsItsIdentity(t, s.Type, scaler.PodIdentity{Provider: "aws", RoleARN: "arn:aws:iam::1:role/r"}, at(endpoint, s.metadata, more[s.Type]))
			}
		})
	}
}
