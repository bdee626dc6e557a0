package credentials_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/scopetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/vault"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// provider is one service that the family's identity is lent for.
type provider struct {
	own     []string // hosts of it
	foreign []string // hosts of customers of its cloud, or nearly of it
	// steal sends the family's identity to an attacker, or tries.
	steal func(t *testing.T, service lending.Service, thief *scalertest.Thief) error
}

// anywhere are hosts that no service has.
var anywhere = []string{
	"evil.example", "127.0.0.1", "[::1]", "localhost", "", ".", "*", "com",
	"evil.s3.amazonaws.com", "sqs.s3.amazonaws.com", "kinesis.s3-website-us-east-1.amazonaws.com", "monitoring.execute-api.us-east-1.amazonaws.com",
	"evil-1.us-east-1.elb.amazonaws.com", "ec2-1-2-3-4.compute-1.amazonaws.com", "ec2-1-2-3-4.us-east-1.compute.amazonaws.com",
	"vpce-1-a.vpce-svc-2.us-east-1.vpce.amazonaws.com", "vpce-1-a.us-east-1.vpce.amazonaws.com", "x.kafka.us-east-1.awsapprunner.com",
	"evil.cloudapp.azure.com", "evil.eastus.cloudapp.azure.com", "evil.file.core.windows.net", "evil.azurewebsites.net", "evil.trafficmanager.net",
	"evil.run.app", "evil.appspot.com", "evil.storage.googleapis.com", "evil.googleapis.com",
}

// providers has a row for each service: a new one fails without.
var providers = map[lending.Service]provider{
	lending.AmazonCloudWatch:                     ofAmazon("monitoring"),
	lending.AmazonDynamoDB:                       ofAmazon("dynamodb", "123456789012.ddb.us-east-1.amazonaws.com"),
	lending.AmazonDynamoDBStreams:                ofAmazon("streams.dynamodb"),
	lending.AmazonKinesis:                        ofAmazon("kinesis", "123456789012.data-kinesis.us-east-1.amazonaws.com"),
	lending.AmazonManagedPrometheus:              ofAmazon("aps-workspaces"),
	lending.AmazonMSK:                            {own: []string{"b-1.c.abc.c2.kafka.us-east-1.amazonaws.com", "boot-x.c1.kafka-serverless.us-east-1.amazonaws.com", "b-2.scram.c.abc.c4.kafka.cn-north-1.amazonaws.com.cn"}, foreign: []string{"kafka.us-east-1.amazonaws.com", "kafka.evil.example"}, steal: signed},
	lending.AmazonSQS:                            ofAmazon("sqs", "sqs.us-gov-west-1.amazonaws.com", "SQS.eu-west-1.amazonaws.com."),
	lending.AmazonSecretsManager:                 {own: amazonHosts("secretsmanager"), foreign: []string{"sqs.us-east-1.amazonaws.com"}, steal: secretsManager},
	lending.AzureKeyVault:                        ofAzure("orders.vault.azure.net", "orders.vault.azure.cn", "vault.azure.net", "evil.example/.vault.azure.net", "evil.blob.core.windows.net"),
	lending.AzureKeyVaultUSGovernment:            ofAzure("orders.vault.usgovcloudapi.net", "orders.vault.azure.net"),
	lending.AzureKeyVaultChina:                   ofAzure("orders.vault.azure.cn", "orders.vault.azure.net"),
	lending.AzureKeyVaultGermany:                 ofAzure("orders.vault.microsoftazure.de", "orders.vault.azure.net"),
	lending.AzureMonitor:                         ofEntra("w-1.eastus.prometheus.monitor.azure.com", "w.eastus.prometheus.monitor.azure.us"),
	lending.AzureMonitorUSGovernment:             ofEntra("w.usgovvirginia.prometheus.monitor.azure.us", "w.eastus.prometheus.monitor.azure.com"),
	lending.AzureMonitorChina:                    ofEntra("w.chinanorth3.prometheus.monitor.azure.cn", "w.eastus.prometheus.monitor.azure.com"),
	lending.AzureMonitorMetrics:                  ofEntra("eastus.metrics.monitor.azure.com", "eastus.metrics.monitor.azure.us", "monitor.azure.com"),
	lending.AzureMonitorMetricsUSGovernment:      ofEntra("usgovvirginia.metrics.monitor.azure.us", "eastus.metrics.monitor.azure.com"),
	lending.AzureMonitorMetricsChina:             ofEntra("chinanorth3.metrics.monitor.azure.cn", "eastus.metrics.monitor.azure.com"),
	lending.AzureResourceManager:                 ofEntra("management.azure.com", "evil.management.azure.com", "management.usgovcloudapi.net"),
	lending.AzureResourceManagerUSGovernment:     ofEntra("management.usgovcloudapi.net", "management.azure.com"),
	lending.AzureResourceManagerChina:            ofEntra("management.chinacloudapi.cn", "management.azure.com"),
	lending.AzureLogAnalytics:                    ofEntra("api.loganalytics.io", "api.loganalytics.us", "evil.api.loganalytics.io"),
	lending.AzureLogAnalyticsUSGovernment:        ofEntra("api.loganalytics.us", "api.loganalytics.io"),
	lending.AzureLogAnalyticsChina:               ofEntra("api.loganalytics.azure.cn", "api.loganalytics.io"),
	lending.AzureApplicationInsights:             ofEntra("api.applicationinsights.io", "api.applicationinsights.us", "dc.applicationinsights.io"),
	lending.AzureApplicationInsightsUSGovernment: ofEntra("api.applicationinsights.us", "api.applicationinsights.io"),
	lending.AzureApplicationInsightsChina:        ofEntra("api.applicationinsights.azure.cn", "api.applicationinsights.io"),
	lending.AzureDataExplorer:                    ofEntra("c.westeurope.kusto.windows.net", "kusto.windows.net", "c.kusto.usgovcloudapi.net"),
	lending.AzureDataExplorerUSGovernment:        ofEntra("c.usgovvirginia.kusto.usgovcloudapi.net", "c.westeurope.kusto.windows.net"),
	lending.AzureDataExplorerChina:               ofEntra("c.chinaeast2.kusto.chinacloudapi.cn", "c.westeurope.kusto.windows.net"),
	lending.AzureDataExplorerGermany:             ofEntra("c.kusto.cloudapi.de", "c.westeurope.kusto.windows.net"),
	lending.AzureStorage:                         ofEntra("shop.queue.core.windows.net", "shop.queue.core.chinacloudapi.cn", "queue.core.windows.net", "shop.vault.azure.net", "shop.cloudapp.azure.com"),
	lending.AzureStorageUSGovernment:             ofEntra("shop.blob.core.usgovcloudapi.net", "shop.blob.core.windows.net"),
	lending.AzureStorageChina:                    ofEntra("shop.blob.core.chinacloudapi.cn", "shop.blob.core.windows.net"),
	lending.AzureStorageGermany:                  ofEntra("shop.queue.core.cloudapi.de", "shop.queue.core.windows.net"),
	lending.AzureServiceBus:                      ofEntra("shop.servicebus.windows.net", "servicebus.windows.net", "shop.servicebus.chinacloudapi.cn", "shop.servicebus.windows.net.evil.example"),
	lending.AzureServiceBusUSGovernment:          ofEntra("shop.servicebus.usgovcloudapi.net", "shop.servicebus.windows.net"),
	lending.AzureServiceBusChina:                 ofEntra("shop.servicebus.chinacloudapi.cn", "shop.servicebus.windows.net"),
	lending.AzureServiceBusGermany:               ofEntra("shop.servicebus.cloudapi.de", "shop.servicebus.windows.net"),
	lending.AzureEventHubs:                       ofEntra("shop.servicebus.windows.net", "servicebus.windows.net", "shop.servicebus.chinacloudapi.cn", "shop.servicebus.windows.net.evil.example"),
	lending.AzureEventHubsUSGovernment:           ofEntra("shop.servicebus.usgovcloudapi.net", "shop.servicebus.windows.net"),
	lending.AzureEventHubsChina:                  ofEntra("shop.servicebus.chinacloudapi.cn", "shop.servicebus.windows.net"),
	lending.AzureEventHubsGermany:                ofEntra("shop.servicebus.cloudapi.de", "shop.servicebus.windows.net"),
	lending.AzurePostgreSQL:                      ofEntra("db.postgres.database.azure.com", "db.mysql.database.azure.com", "postgres.database.azure.com.evil.example"),
	lending.AzureSQL:                             ofEntra("db.database.windows.net", "database.windows.net", "xdatabase.windows.net"),
	lending.GoogleMonitoring:                     ofEntra("monitoring.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com", "evil.monitoring.googleapis.com"),
	lending.GoogleSpanner:                        ofEntra("spanner.googleapis.com", "monitoring.googleapis.com", "evil.spanner.googleapis.com"),
	lending.GoogleStorage:                        ofEntra("storage.googleapis.com", "spanner.googleapis.com"),
	lending.GoogleSecretManager:                  {own: []string{"secretmanager.googleapis.com"}, foreign: []string{"monitoring.googleapis.com"}, steal: googleSecrets},
	lending.HashiCorpVault:                       {steal: vaultLogin},
	lending.RabbitMQ: {steal: func(_ *testing.T, service lending.Service, _ *scalertest.Thief) error {
		_, err := service.LendFor("host", "127.0.0.1", "workloadIdentityResource", "https://vault.azure.net")
		return err
	}},
}

func amazonHosts(label string) []string {
	return []string{
		label + ".eu-west-1.amazonaws.com", label + "-fips.us-east-1.amazonaws.com", label + ".us-east-1.api.aws",
		label + ".cn-north-1.amazonaws.com.cn", label + ".us-iso-east-1.c2s.ic.gov", label + ".eusc-de-east-1.amazonaws.eu",
		"vpce-0a1-b2." + label + ".us-east-1.vpce.amazonaws.com", "vpce-0a1-b2-us-east-1a." + label + ".us-east-1.vpce.amazonaws.com",
	}
}

func ofAmazon(label string, more ...string) provider {
	return provider{own: append(amazonHosts(label), more...), steal: signed, foreign: []string{
		"s3.us-east-1.amazonaws.com", "evil." + label + ".us-east-1.amazonaws.com", label + ".us-east-1.amazonaws.com.evil.example",
		label + ".us-east-1.evil.example", "evil.example#." + label + ".us-east-1.amazonaws.com", label + ".us-east-1x.amazonaws.com",
		"vpce-1." + label + ".vpce-svc-1.us-east-1.vpce.amazonaws.com",
	}}
}

func ofEntra(own string, foreign ...string) provider {
	return provider{own: []string{own}, foreign: foreign, steal: connected}
}

func ofAzure(own string, foreign ...string) provider {
	return provider{own: []string{own}, foreign: foreign, steal: keyVault}
}

// process is a family with an identity of each cloud.
func process(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("families-own"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "own", "AWS_SESSION_TOKEN": "families-own", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AZURE_FEDERATED_TOKEN_FILE": token, "AZURE_CLIENT_ID": "own", "AZURE_TENANT_ID": "own", "AZURE_AUTHORITY_HOST": "",
		"VAULT_TOKEN": "families-own", "VAULT_ADDR": "https://vault.home.example",
	} {
		t.Setenv(name, value)
	}
}

// TestNoTokenReachesAnAttacker: whoever chooses a host, a region or an audience
// gets nothing of the family's own identity.
func TestNoTokenReachesAnAttacker(t *testing.T) {
	for _, service := range lending.Services() {
		row, there := providers[service]
		if !there || row.steal == nil {
			t.Errorf("%s has no attack here", service)
			continue
		}
		t.Run(service.String(), func(t *testing.T) {
			process(t)
			err := row.steal(t, service, scalertest.NewThief(t))
			if code := status.Code(err); code != codes.InvalidArgument || !strings.Contains(err.Error(), lending.HostsFlag) {
				t.Errorf("error = %v, want InvalidArgument that names %s", err, lending.HostsFlag)
			}
		})
	}
}

// TestProofsGoToNamedHosts: what proves the identity itself is shown to hosts that
// were named, and not to those that get a token, or are of a domain that does.
func TestProofsGoToNamedHosts(t *testing.T) {
	for hosts, want := range map[string]bool{
		"": false, "*.shop.svc": false, "vault.shop.svc=api://rabbit": false, "other.shop.svc": false, "vault.shop.svc": true, "*.shop.svc,vault.shop.svc": true,
	} {
		scalertest.LendTo(t, hosts)
		if got := lending.ListedForProof("Vault.shop.svc."); got != want {
			t.Errorf("--identity-hosts=%s: shown to Entra %v, want %v", hosts, got, want)
		}
		if err := lending.HashiCorpVault.Check("address", "vault.shop.svc", true); (err == nil) != want {
			t.Errorf("--identity-hosts=%s: shown to Vault: %v, want %v", hosts, err, want)
		}
	}
}

// TestHostsOfServices: names count to their end and in full.
func TestHostsOfServices(t *testing.T) {
	for _, service := range lending.Services() {
		row := providers[service]
		if service.String() == "" {
			t.Errorf("service %d has no facts", service)
		}
		for _, host := range row.own {
			if err := service.Check("host", host, true); err != nil {
				t.Errorf("%s: %v", service, err)
			}
			if err := service.Check("host", host, false); err == nil {
				t.Errorf("%s: %s is sent tokens that anybody can read", service, host)
			}
		}
		for _, host := range row.own {
			row.foreign = append(row.foreign, "2001:db8::1%."+host, "2001:db8::1%x."+host)
		}
		for _, host := range slices.Concat(row.foreign, anywhere) {
			if err := service.Check("host", host, true); err == nil {
				t.Errorf("%s: %q is taken for its own", service, host)
			}
		}
	}
}

func TestKnownHosts(t *testing.T) {
	scalertest.LendTo(t, "Proxy.shop.svc., *.vault.example, 10.0.0.1, rabbit.shop.svc=api://rabbit, vault.example")
	for host, known := range map[string]bool{
		"proxy.shop.svc": true, "PROXY.shop.svc.": true, "a.vault.example": true, "a.b.vault.example": true, "10.0.0.1": true, "rabbit.shop.svc": true,
		"xproxy.shop.svc": false, "a.proxy.shop.svc": false, "xvault.example": false, ".vault.example": false, "10.0.0.2": false, "vault.example.evil": false,
	} {
		if err := lending.AzureSQL.Check("host", host, false); (err == nil) != known {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, tt := range []struct {
		host, audience string
		good           bool
	}{
		{"rabbit.shop.svc", "api://rabbit", true},
		{"rabbit.shop.svc", "api://other", false},
		{"rabbit.shop.svc", "https://vault.azure.net", false},
		{"proxy.shop.svc", "api://rabbit", false},
		{"orders.vault.example", "https://vault.example/", true},
		{"orders.vault.example", "http://vault.example", false},
		{"orders.vault.example", "https://vault.example@vault.azure.net", false},
		{"evil.example", "https://vault.example", false},
	} {
		if _, err := lending.RabbitMQ.LendFor("host", tt.host, "resource", tt.audience); (err == nil) != tt.good {
			t.Errorf("%s for %s: %v", tt.host, tt.audience, err)
		}
	}
	for _, text := range []string{"*", "*.", "https://a.example", "a.example:443", "a b", "a*.example"} {
		if _, err := lending.ParseHosts(text); err == nil {
			t.Errorf("%q is an entry", text)
		}
	}
}

func TestNamespaces(t *testing.T) {
	if err := lending.CheckNamespace("anywhere"); err != nil {
		t.Errorf("without the flag: %v", err)
	}
	scalertest.LendOnlyTo(t, "shop")
	if err := lending.CheckNamespace("shop"); err != nil {
		t.Error(err)
	}
	err := lending.CheckNamespace("shop-2")
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), lending.NamespacesFlag) {
		t.Errorf("another namespace: %v", err)
	}
	none, err := lending.ParseNamespaces("")
	if err != nil || none == nil {
		t.Errorf("an empty list is %v, %v", none, err)
	}
	if _, err := lending.ParseNamespaces("shop,team-*"); err == nil {
		t.Error("a pattern is a namespace")
	}
}

// TestStoresAskWhoMay: a namespace that may not use the identity gets nothing by
// a secret store either.
func TestStoresAskWhoMay(t *testing.T) {
	process(t)
	t.Setenv("VAULT_ADDR", "https://127.0.0.1:1")
	for name, tt := range map[string]struct {
		store store.Store
		block string
	}{
		"AWS":              {amazon.Secrets{HTTP: plainClient}, `{"region": "eu-west-1", "podIdentity": {"provider": "aws"}, "secrets": [{"parameter": "p", "name": "s"}]}`},
		"Azure":            {azure.KeyVault{HTTP: plainClient}, `{"vaultUri": "https://orders.vault.azure.net", "podIdentity": {"provider": "azure-workload"}, "secrets": [{"parameter": "p", "name": "s"}]}`},
		"Google":           {google.SecretManager{HTTP: plainClient}, `{"podIdentity": {"provider": "gcp"}, "secrets": [{"parameter": "p", "id": "s"}]}`},
		"Vault by a file":  {vault.Store{HTTP: plainClient}, vaultBlock("https://127.0.0.1:1", "kubernetes")},
		"Vault by a token": {vault.Store{HTTP: plainClient}, vaultBlock("https://127.0.0.1:1", "token")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.store.Read(t.Context(), json.RawMessage(tt.block), scopetest.Scope{Stranger: true})
			if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "not for strangers") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func plainClient() (*http.Client, error) { return &http.Client{Transport: &http.Transport{}}, nil }

// signed sends a request with the family's signature.
func signed(t *testing.T, service lending.Service, thief *scalertest.Thief) error {
	ctx, release := scaler.Opening(t.Context())
	defer release()
	config, err := amazon.Params{IdentityOwner: "operator"}.Config(ctx, "eu-west-1", service)
	if err != nil {
		return err
	}
	return send(t, config, "http://"+thief.Addr(), config.HTTPClient)
}

func send(t *testing.T, config aws.Config, address string, over aws.HTTPClient) error {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := config.Credentials.Retrieve(t.Context())
	if err != nil {
		return err
	}
	request.Header.Set("X-Amz-Security-Token", keys.SessionToken)
	answer, err := over.Do(request)
	if err == nil {
		answer.Body.Close()
	}
	var refused *url.Error
	if errors.As(err, &refused) {
		return refused.Err
	}
	return err
}

// connected opens a connection and asks for leave to send a token over it.
func connected(t *testing.T, service lending.Service, thief *scalertest.Thief) error {
	ctx, release := scaler.Opening(t.Context())
	defer release()
	conn, err := client.DialerOf(ctx).Lending(service, "host", true).DialContext(ctx, "tcp", thief.Addr())
	if err == nil {
		_, _ = conn.Write([]byte("families-own"))
		conn.Close()
	}
	if _, err := service.Lend("host", true, "127.0.0.1"); err == nil {
		t.Error("the host has leave")
	}
	return err
}

func secretsManager(t *testing.T, _ lending.Service, thief *scalertest.Thief) error {
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://"+thief.Addr())
	const block = `{"region": "eu-west-1", "podIdentity": {"provider": "aws"}, "secrets": [{"parameter": "p", "name": "s"}]}`
	_, err := amazon.Secrets{HTTP: plainClient}.Read(t.Context(), json.RawMessage(block), scopetest.Scope{})
	return err
}

func keyVault(t *testing.T, _ lending.Service, thief *scalertest.Thief) error {
	read := func(cloud string) error {
		block := `{"vaultUri": "https://` + thief.Addr() + `", "podIdentity": {"provider": "azure-workload"}, "secrets": [{"parameter": "p", "name": "s"}]` + cloud + `}`
		_, err := azure.KeyVault{HTTP: plainClient}.Read(t.Context(), json.RawMessage(block), scopetest.Scope{})
		return err
	}
	private := `, "cloud": {"type": "Private", "keyVaultResourceURL": "https://management.azure.com", "activeDirectoryEndpoint": "https://` + thief.Addr() + `"}`
	for _, cloud := range []string{private, `, "cloud": {"type": "AzureChinaCloud"}`} {
		if err := read(cloud); status.Code(err) != codes.InvalidArgument {
			t.Errorf("in%s: %v", cloud, err)
		}
	}
	return read("")
}

func googleSecrets(t *testing.T, _ lending.Service, thief *scalertest.Thief) error {
	const block = `{"podIdentity": {"provider": "gcp"}, "secrets": [{"parameter": "p", "id": "s"}]}`
	_, err := google.SecretManager{HTTP: plainClient, Endpoint: "http://" + thief.Addr()}.Read(t.Context(), json.RawMessage(block), scopetest.Scope{})
	return err
}

func vaultBlock(address, method string) string {
	return `{"address": "` + address + `", "authentication": "` + method + `", "role": "r", "mount": "m", "secrets": [{"parameter": "p", "path": "a", "key": "k"}]}`
}

func vaultLogin(t *testing.T, _ lending.Service, thief *scalertest.Thief) error {
	scope := scopetest.Scope{Files: map[string]string{"/var/run/secrets/kubernetes.io/serviceaccount/token": "e30.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6czpmIn0.e30"}}
	if _, err := (vault.Store{HTTP: plainClient}).Read(t.Context(), json.RawMessage(vaultBlock("http://"+thief.Addr(), "token")), scope); err == nil {
		t.Error("VAULT_TOKEN goes anywhere")
	}
	_, err := vault.Store{HTTP: plainClient}.Read(t.Context(), json.RawMessage(vaultBlock("http://"+thief.Addr(), "kubernetes")), scope)
	return err
}

// TestRedirectsTakeNoIdentityAlong: a host that is known may lead to one that is
// not.
func TestRedirectsTakeNoIdentityAlong(t *testing.T) {
	process(t)
	scalertest.LendTo(t, "127.0.0.1")
	thief := scalertest.NewThief(t)
	known := httptest.NewServer(http.RedirectHandler("http://localhost:"+thief.Port(), http.StatusTemporaryRedirect))
	defer known.Close()
	ctx, release := scaler.Opening(t.Context())
	defer release()
	config, err := amazon.Params{IdentityOwner: "operator"}.Config(ctx, "eu-west-1", lending.AmazonSQS)
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t, config, known.URL, config.HTTPClient); status.Code(err) != codes.InvalidArgument {
		t.Errorf("error = %v", err)
	}
}

// TestKeysOfTenantsAskGoogle: the JSON of a key names where it is shown, and may
// name programs, files and addresses in other forms.
func TestKeysOfTenantsAskGoogle(t *testing.T) {
	process(t)
	thief := scalertest.NewThief(t)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	key := func(address string) map[string]any {
		return map[string]any{"type": "service_account", "client_email": "a@b.iam", "project_id": "b", "private_key": text, "token_uri": address}
	}
	external := map[string]any{
		"type": "external_account", "audience": "a", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "http://" + thief.Addr(),
		"credential_source": map[string]any{"file": "/etc/passwd", "executable": map[string]any{"command": "/bin/true"}},
	}
	for name, credentials := range map[string]map[string]any{
		"an attacker":          key("http://" + thief.Addr()),
		"an attacker with TLS": key("https://oauth2.googleapis.com@" + thief.Addr() + "/token"),
		"a metadata service":   key("http://169.254.169.254/token"),
		"nearly Google":        key("https://oauth2.googleapis.com.evil.example/token"),
		"Google without TLS":   key("http://oauth2.googleapis.com/token"),
		"another identity":     external,
		"impersonation":        {"type": "impersonated_service_account", "service_account_impersonation_url": "http://" + thief.Addr(), "source_credentials": key("http://" + thief.Addr())},
		"a user":               {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"},
	} {
		t.Run(name, func(t *testing.T) {
			json, err := json.Marshal(credentials)
			if err != nil {
				t.Fatal(err)
			}
			ctx, release := scaler.Opening(t.Context())
			defer release()
			account, err := google.AccountOf(ctx, string(json), google.Scope)
			if err == nil {
				_, _ = account.Token()
			}
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("error = %v", err)
			}
		})
	}
}

// TestRegionsAreNoHosts: a region is part of an address, so its text decides
// whose that is.
func TestRegionsAreNoHosts(t *testing.T) {
	process(t)
	ctx, release := scaler.Opening(t.Context())
	defer release()
	for _, region := range []string{"evil.example/#", "evil.example", "x.evil.example:443/", "s3", "elb", "us-east-1.evil", "a@evil", "us_east_1", "-", "us-east-1\r\n"} {
		for name, identity := range map[string]amazon.Params{
			"the family's": {IdentityOwner: "operator"}, "a role's": {AWSRoleARN: "arn:aws:iam::1:role/r"},
			"a tenant's keys": {AWSAccessKeyID: "AKIA", AWSSecretAccessKey: "s"},
		} {
			_, err := identity.Config(ctx, region, lending.AmazonSQS)
			label := !strings.ContainsAny(region, "./@:#_\r") && region != "-"
			if stranger := label && name == "a tenant's keys"; (err == nil) != stranger {
				t.Errorf("region %q with %s: %v", region, name, err)
			}
			if err != nil && !strings.HasPrefix(status.Convert(err).Message(), "awsRegion: ") {
				t.Errorf("error = %v", err)
			}
		}
	}
}

// TestTenantsKeysGoAnywhere: they are not the family's.
func TestTenantsKeysGoAnywhere(t *testing.T) {
	p := amazon.Params{AWSAccessKeyID: "AKIA", AWSSecretAccessKey: "s"}
	ctx, release := scaler.Opening(t.Context())
	defer release()
	config, err := p.Config(ctx, "elasticmq", lending.AmazonSQS)
	if err != nil {
		t.Fatal(err)
	}
	reached := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached <- struct{}{} }))
	defer server.Close()
	if err := send(t, config, server.URL, config.HTTPClient); err != nil {
		t.Fatal(err)
	}
	<-reached
}
