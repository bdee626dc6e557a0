package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// TestBrokersOfATenantGetNoIdentity: the broker and the application that tokens
// are for are the user's to name, so the family has to know both.
func TestBrokersOfATenantGetNoIdentity(t *testing.T) {
	scalertest.LendTo(t, "rabbit.example=api://rabbit")
	thief := scalertest.NewThief(t)
	id := scaler.PodIdentity{Provider: "azure-workload", IdentityID: "identity", TenantID: "tenant"}
	for host, resource := range map[string]string{
		"http://" + thief.Addr():                    "api://rabbit",
		"https://rabbit.example@" + thief.Addr():    "api://rabbit",
		"https://rabbit.example":                    "https://vault.azure.net",
		"https://rabbit.example/?x=" + thief.Addr(): "api://other",
	} {
		auth := map[string]string{"workloadIdentityResource": resource}
		scalertest.Serve(t, rabbitmq).WithAuth(auth).KeepsItsIdentity(t, "rabbitmq", id, map[string]string{"queueName": "jobs", "host": host + "/v"})
	}
}
