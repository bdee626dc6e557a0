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
	types := map[string]map[string]string{
		"aws-sqs-queue":        {"queueURL": "https://sqs.eu-west-1.amazonaws.com/1/orders"},
		"aws-kinesis-stream":   {"streamName": "orders"},
		"aws-dynamodb":         {"tableName": "orders", "indexName": "i", "keyConditionExpression": "#a = :a", "expressionAttributeNames": `{"#a":"a"}`, "expressionAttributeValues": `{":a":{"S":"1"}}`, "targetValue": "1"},
		"aws-dynamodb-streams": {"tableName": "orders"},
		"aws-cloudwatch":       {"namespace": "n", "dimensionName": "d", "dimensionValue": "v", "metricName": "m", "targetMetricValue": "1", "minMetricValue": "0"},
	}
	if len(types) != len(triggers) {
		t.Errorf("%d types of %d are attacked", len(types), len(triggers))
	}
	family := scalertest.Serve(t, triggers...)
	for triggerType, metadata := range types {
		t.Run(triggerType, func(t *testing.T) {
			thief := scalertest.NewThief(t)
			for _, endpoint := range []string{"http://" + thief.Addr(), "https://sqs.eu-west-1.amazonaws.com@" + thief.Addr()} {
				family.KeepsItsIdentity(t, triggerType, scaler.PodIdentity{}, at(endpoint, metadata, map[string]string{"identityOwner": "operator"}))
				family.KeepsItsIdentity(t, triggerType, scaler.PodIdentity{Provider: "aws"}, at(endpoint, metadata))
				family.KeepsItsIdentity(t, triggerType, scaler.PodIdentity{Provider: "aws", RoleARN: "arn:aws:iam::1:role/r"}, at(endpoint, metadata))
			}
		})
	}
}
