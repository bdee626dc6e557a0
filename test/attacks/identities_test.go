package attacks

import (
	"fmt"
	"maps"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// identities are what families have that their enemies would like to have.
func identities() map[string][]corev1.EnvVar {
	aws := []corev1.EnvVar{
		{Name: "AWS_ACCESS_KEY_ID", Value: "AKIA" + marked}, {Name: "AWS_SECRET_ACCESS_KEY", Value: marked + "-aws"},
		{Name: "AWS_SESSION_TOKEN", Value: marked + "-session"},
	}
	return map[string][]corev1.EnvVar{
		"scaler-aws":        aws,
		"scaler-prometheus": aws,
		"scaler-http":       {{Name: "VAULT_TOKEN", Value: marked + "-vault"}, {Name: "VAULT_ADDR", Value: "https://vault.invalid"}},
	}
}

// TestIdentities has tenants send families, as themselves, to servers of theirs:
// endpoints of AWS, a Prometheus that passes for Amazon's, vaults of private
// clouds, Vaults that ask for the family's own token.
func TestIdentities(t *testing.T) {
	t.Parallel()
	others := standBy(t, "http", "prometheus")
	enemy := tenant(t)
	enemy.grant("aws", "prometheus", "http")
	thief := web(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"value": 1}`) })
	parameter := []map[string]string{{"parameter": "token", "type": "secret", "path": "kv/x", "key": "x"}}
	named := []map[string]string{{"parameter": "token", "name": "x"}}
	authentications := map[string]map[string]any{
		"aws":           {"podIdentity": map[string]any{"provider": "aws"}},
		"aws-role":      {"podIdentity": map[string]any{"provider": "aws", "roleArn": "arn:aws:iam::123456789012:role/theirs"}},
		"azure":         {"podIdentity": map[string]any{"provider": "azure-workload", "identityId": "x", "identityTenantId": "x"}},
		"google":        {"podIdentity": map[string]any{"provider": "gcp"}},
		"vault-token":   {"hashiCorpVault": map[string]any{"address": thief.url(), "authentication": "token", "secrets": parameter}},
		"vault-account": {"hashiCorpVault": map[string]any{"address": thief.url(), "authentication": "kubernetes", "role": "x", "mount": "kubernetes", "secrets": parameter}},
		"vault-file": {"hashiCorpVault": map[string]any{
			"address": thief.url(), "authentication": "kubernetes", "role": "x", "mount": "kubernetes", "secrets": parameter,
			"credential": map[string]string{"serviceAccount": "/var/run/secrets/kubernetes.io/serviceaccount/token"},
		}},
		"key-vault": {"azureKeyVault": map[string]any{
			"vaultUri": "https://" + thief.address(), "secrets": named, "podIdentity": map[string]any{"provider": "azure-workload", "identityId": "x", "identityTenantId": "x"},
			"cloud": map[string]string{"type": "Private", "keyVaultResourceURL": "https://graph.microsoft.com", "activeDirectoryEndpoint": "https://" + thief.address()},
		}},
		"bound": {"boundServiceAccountToken": []map[string]string{{"parameter": "token", "serviceAccountName": "default"}}},
	}
	for name, spec := range authentications {
		enemy.apply("TriggerAuthentication", name, map[string]any{"spec": spec})
	}
	queue := func(more map[string]string) trigger {
		metadata := map[string]string{"awsEndpoint": thief.url(), "queueURL": thief.url() + "/1/q", "awsRegion": "eu-west-1"}
		maps.Copy(metadata, more)
		return triggerOf("aws-sqs-queue", metadata)
	}
	prometheus := func(more map[string]string) trigger {
		metadata := map[string]string{"serverAddress": thief.url(), "query": "a", "threshold": "1", "awsRegion": "eu-west-1"}
		maps.Copy(metadata, more)
		return triggerOf("prometheus", metadata)
	}
	api := triggerOf("metrics-api", map[string]string{"url": thief.url(), "valueLocation": "value", "targetValue": "1", "authMode": "bearer"})
	attempts := map[string]trigger{
		"sqs-operator":      queue(map[string]string{"identityOwner": "operator"}),
		"sqs":               queue(nil).with("aws"),
		"sqs-url":           triggerOf("aws-sqs-queue", map[string]string{"queueURL": thief.url() + "/1/q", "awsRegion": "eu-west-1"}).with("aws"),
		"sqs-region":        triggerOf("aws-sqs-queue", map[string]string{"queueURL": "https://sqs.eu-west-1.amazonaws.com/1/q", "awsRegion": thief.address() + "/#"}).with("aws"),
		"cloudwatch":        triggerOf("aws-cloudwatch", map[string]string{"awsEndpoint": thief.url(), "awsRegion": "eu-west-1", "namespace": "a", "metricName": "a", "dimensionName": "a", "dimensionValue": "a", "targetMetricValue": "1", "minMetricValue": "0"}).with("aws"),
		"kinesis":           triggerOf("aws-kinesis-stream", map[string]string{"awsEndpoint": thief.url(), "awsRegion": "eu-west-1", "streamName": "a"}).with("aws"),
		"sqs-role":          queue(nil).with("aws-role"),
		"prometheus-aws":    prometheus(nil).with("aws"),
		"prometheus-host":   prometheus(map[string]string{"customHeaders": "Host=aps-workspaces.eu-west-1.amazonaws.com"}).with("aws"),
		"prometheus-azure":  prometheus(map[string]string{"cloud": "Private", "azureManagedPrometheusResourceURL": "https://graph.microsoft.com"}).with("azure"),
		"prometheus-google": prometheus(nil).with("google"),
		"vault-token":       api.copy().with("vault-token"), "vault-account": api.copy().with("vault-account"),
		"vault-file": api.copy().with("vault-file"), "key-vault": api.copy().with("key-vault"), "bound": api.copy().with("bound"),
	}
	var all []scaled
	for name, attempt := range attempts {
		all = append(all, enemy.scale(name, nil, attempt))
	}
	for _, s := range all {
		s.waitReady("False", "")
		_, message := s.condition("ScaledObject", s.name, "Ready")
		t.Logf("%s: %s", s.name, message)
	}
	if thief.wasAsked() {
		t.Errorf("the thief was sent %q", thief.text())
	}
	if world.metadata.wasAsked() {
		t.Error("the metadata service was asked")
	}
	others.goOn()
	unharmed(t)
}

// copy is a trigger that may be given something of its own.
func (t trigger) copy() trigger { return trigger{"type": t["type"], "metadata": t["metadata"]} }
