package lending

import (
	"regexp"
	"slices"
	"strings"
)

// Service is what the identity of a family is lent for: one service of a cloud.
// Each has its hosts and the audience of its tokens here and nowhere else.
type Service int

// The services. Signatures of AWS have no audience.
const (
	AmazonCloudWatch Service = iota
	AmazonDynamoDB
	AmazonDynamoDBStreams
	AmazonKinesis
	AmazonManagedPrometheus
	AmazonMSK
	AmazonSecretsManager
	AmazonSQS
	AzureKeyVault
	AzureKeyVaultUSGovernment
	AzureKeyVaultChina
	AzureKeyVaultGermany
	AzureMonitor
	AzureMonitorUSGovernment
	AzureMonitorChina
	AzureMonitorMetrics
	AzureMonitorMetricsUSGovernment
	AzureMonitorMetricsChina
	AzureResourceManager
	AzureResourceManagerUSGovernment
	AzureResourceManagerChina
	AzureLogAnalytics
	AzureLogAnalyticsUSGovernment
	AzureLogAnalyticsChina
	AzureApplicationInsights
	AzureApplicationInsightsUSGovernment
	AzureApplicationInsightsChina
	AzureDataExplorer
	AzureDataExplorerUSGovernment
	AzureDataExplorerChina
	AzureDataExplorerGermany
	AzureStorage
	AzureStorageUSGovernment
	AzureStorageChina
	AzureStorageGermany
	AzureServiceBus
	AzureServiceBusUSGovernment
	AzureServiceBusChina
	AzureServiceBusGermany
	AzureEventHubs
	AzureEventHubsUSGovernment
	AzureEventHubsChina
	AzureEventHubsGermany
	AzurePostgreSQL
	AzureSQL
	GoogleMonitoring
	GoogleSecretManager
	GoogleSpanner
	GoogleStorage
	// HashiCorpVault takes tokens of the family's ServiceAccount. It is nobody's
	// service, so only those that the family was started with get one.
	HashiCorpVault
	// RabbitMQ takes tokens of Entra for an application of its own.
	RabbitMQ
	services // how many there are
)

// facts are what there is to know about a service.
type facts struct {
	name string
	// scope is what its tokens are for, in the words of its cloud.
	scope string
	// hosts are its own, "*." standing for one label or more.
	hosts []string
	// proof is set where not a token of the service is shown but what proves the
	// identity itself.
	proof bool
	// amazon are the labels that AWS puts before the region, in the same way.
	amazon []string
}

var known = [services]facts{
	// https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html
	AmazonCloudWatch:        {name: "Amazon CloudWatch", amazon: []string{"monitoring", "monitoring-fips"}},
	AmazonDynamoDB:          {name: "Amazon DynamoDB", amazon: []string{"dynamodb", "dynamodb-fips", "*.ddb", "*.ddb-fips"}},
	AmazonDynamoDBStreams:   {name: "Amazon DynamoDB Streams", amazon: []string{"streams.dynamodb", "streams.dynamodb-fips", "streams-dynamodb", "streams-dynamodb-fips", "dynamodb-streams"}},
	AmazonKinesis:           {name: "Amazon Kinesis", amazon: []string{"kinesis", "kinesis-fips", "*.control-kinesis", "*.data-kinesis", "*.control-kinesis-fips", "*.data-kinesis-fips"}},
	AmazonManagedPrometheus: {name: "Amazon Managed Service for Prometheus", amazon: []string{"aps-workspaces", "aps-workspaces-fips"}},
	AmazonMSK:               {name: "Amazon MSK", amazon: []string{"*.kafka", "*.kafka-serverless"}},
	AmazonSecretsManager:    {name: "AWS Secrets Manager", amazon: []string{"secretsmanager", "secretsmanager-fips"}},
	AmazonSQS:               {name: "Amazon SQS", amazon: []string{"sqs", "sqs-fips"}},

	// https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
	AzureKeyVault:             {name: "Azure Key Vault", scope: "https://vault.azure.net/.default", hosts: []string{"*.vault.azure.net"}},
	AzureKeyVaultUSGovernment: {name: "Azure Key Vault (US Government)", scope: "https://vault.usgovcloudapi.net/.default", hosts: []string{"*.vault.usgovcloudapi.net"}},
	AzureKeyVaultChina:        {name: "Azure Key Vault (China)", scope: "https://vault.azure.cn/.default", hosts: []string{"*.vault.azure.cn"}},
	AzureKeyVaultGermany:      {name: "Azure Key Vault (Germany)", scope: "https://vault.microsoftazure.de/.default", hosts: []string{"*.vault.microsoftazure.de"}},
	// https://learn.microsoft.com/azure/azure-monitor/metrics/prometheus-api-promql
	AzureMonitor:             {name: "Azure Monitor", scope: "https://prometheus.monitor.azure.com/.default", hosts: []string{"*.prometheus.monitor.azure.com"}},
	AzureMonitorUSGovernment: {name: "Azure Monitor (US Government)", scope: "https://prometheus.monitor.azure.us/.default", hosts: []string{"*.prometheus.monitor.azure.us"}},
	AzureMonitorChina:        {name: "Azure Monitor (China)", scope: "https://prometheus.monitor.azure.cn/.default", hosts: []string{"*.prometheus.monitor.azure.cn"}},
	// https://learn.microsoft.com/azure/azure-monitor/metrics/migrate-to-batch-api
	AzureMonitorMetrics:             {name: "the metrics of Azure Monitor", scope: "https://metrics.monitor.azure.com/.default", hosts: []string{"*.metrics.monitor.azure.com"}},
	AzureMonitorMetricsUSGovernment: {name: "the metrics of Azure Monitor (US Government)", scope: "https://metrics.monitor.azure.us/.default", hosts: []string{"*.metrics.monitor.azure.us"}},
	AzureMonitorMetricsChina:        {name: "the metrics of Azure Monitor (China)", scope: "https://metrics.monitor.azure.cn/.default", hosts: []string{"*.metrics.monitor.azure.cn"}},
	// https://learn.microsoft.com/azure/azure-government/compare-azure-government-global-azure
	AzureResourceManager:             {name: "Azure Resource Manager", scope: "https://management.azure.com/.default", hosts: []string{"management.azure.com"}},
	AzureResourceManagerUSGovernment: {name: "Azure Resource Manager (US Government)", scope: "https://management.usgovcloudapi.net/.default", hosts: []string{"management.usgovcloudapi.net"}},
	AzureResourceManagerChina:        {name: "Azure Resource Manager (China)", scope: "https://management.chinacloudapi.cn/.default", hosts: []string{"management.chinacloudapi.cn"}},
	// https://learn.microsoft.com/azure/azure-monitor/logs/api/access-api
	AzureLogAnalytics:             {name: "Azure Log Analytics", scope: "https://api.loganalytics.io/.default", hosts: []string{"api.loganalytics.io"}},
	AzureLogAnalyticsUSGovernment: {name: "Azure Log Analytics (US Government)", scope: "https://api.loganalytics.us/.default", hosts: []string{"api.loganalytics.us"}},
	AzureLogAnalyticsChina:        {name: "Azure Log Analytics (China)", scope: "https://api.loganalytics.azure.cn/.default", hosts: []string{"api.loganalytics.azure.cn"}},
	// https://learn.microsoft.com/rest/api/application-insights/metrics
	AzureApplicationInsights:             {name: "Application Insights", scope: "https://api.applicationinsights.io/.default", hosts: []string{"api.applicationinsights.io"}},
	AzureApplicationInsightsUSGovernment: {name: "Application Insights (US Government)", scope: "https://api.applicationinsights.us/.default", hosts: []string{"api.applicationinsights.us"}},
	AzureApplicationInsightsChina:        {name: "Application Insights (China)", scope: "https://api.applicationinsights.azure.cn/.default", hosts: []string{"api.applicationinsights.azure.cn"}},
	// https://learn.microsoft.com/kusto/api/rest/authentication; pools of Synapse, and
	// Azure Monitor asked as a cluster, too
	AzureDataExplorer: {name: "Azure Data Explorer", scope: "https://kusto.kusto.windows.net/.default", hosts: []string{
		"*.kusto.windows.net", "*.kustomfa.windows.net", "*.kusto.fabric.microsoft.com", "*.kusto.data.microsoft.com", "*.kusto.azuresynapse.net",
		"adx.monitor.azure.com", "ade.loganalytics.io", "ade.applicationinsights.io",
	}},
	AzureDataExplorerUSGovernment: {name: "Azure Data Explorer (US Government)", scope: "https://kusto.kusto.usgovcloudapi.net/.default", hosts: []string{"*.kusto.usgovcloudapi.net", "*.kustomfa.usgovcloudapi.net", "adx.monitor.azure.us"}},
	AzureDataExplorerChina:        {name: "Azure Data Explorer (China)", scope: "https://kusto.kusto.chinacloudapi.cn/.default", hosts: []string{"*.kusto.chinacloudapi.cn", "*.kustomfa.chinacloudapi.cn", "*.kusto.azuresynapse.azure.cn", "adx.monitor.azure.cn"}},
	AzureDataExplorerGermany:      {name: "Azure Data Explorer (Germany)", scope: "https://kusto.kusto.cloudapi.de/.default", hosts: []string{"*.kusto.cloudapi.de"}},
	// https://learn.microsoft.com/azure/storage/blobs/authorize-access-azure-active-directory
	AzureStorage:             {name: "Azure Storage", scope: "https://storage.azure.com/.default", hosts: []string{"*.queue.core.windows.net", "*.blob.core.windows.net"}},
	AzureStorageUSGovernment: {name: "Azure Storage (US Government)", scope: "https://storage.azure.com/.default", hosts: []string{"*.queue.core.usgovcloudapi.net", "*.blob.core.usgovcloudapi.net"}},
	AzureStorageChina:        {name: "Azure Storage (China)", scope: "https://storage.azure.com/.default", hosts: []string{"*.queue.core.chinacloudapi.cn", "*.blob.core.chinacloudapi.cn"}},
	AzureStorageGermany:      {name: "Azure Storage (Germany)", scope: "https://storage.azure.com/.default", hosts: []string{"*.queue.core.cloudapi.de", "*.blob.core.cloudapi.de"}},
	// https://learn.microsoft.com/azure/service-bus-messaging/service-bus-authentication-and-authorization
	AzureServiceBus:             {name: "Azure Service Bus", scope: "https://servicebus.azure.net/.default", hosts: []string{"*.servicebus.windows.net"}},
	AzureServiceBusUSGovernment: {name: "Azure Service Bus (US Government)", scope: "https://servicebus.azure.net/.default", hosts: []string{"*.servicebus.usgovcloudapi.net"}},
	AzureServiceBusChina:        {name: "Azure Service Bus (China)", scope: "https://servicebus.azure.net/.default", hosts: []string{"*.servicebus.chinacloudapi.cn"}},
	AzureServiceBusGermany:      {name: "Azure Service Bus (Germany)", scope: "https://servicebus.azure.net/.default", hosts: []string{"*.servicebus.cloudapi.de"}},
	// https://learn.microsoft.com/azure/event-hubs/authenticate-application
	AzureEventHubs:             {name: "Azure Event Hubs", scope: "https://eventhubs.azure.net/.default", hosts: []string{"*.servicebus.windows.net"}},
	AzureEventHubsUSGovernment: {name: "Azure Event Hubs (US Government)", scope: "https://eventhubs.azure.net/.default", hosts: []string{"*.servicebus.usgovcloudapi.net"}},
	AzureEventHubsChina:        {name: "Azure Event Hubs (China)", scope: "https://eventhubs.azure.net/.default", hosts: []string{"*.servicebus.chinacloudapi.cn"}},
	AzureEventHubsGermany:      {name: "Azure Event Hubs (Germany)", scope: "https://eventhubs.azure.net/.default", hosts: []string{"*.servicebus.cloudapi.de"}},
	// https://learn.microsoft.com/azure/postgresql/flexible-server/concepts-networking-private-link
	AzurePostgreSQL: {name: "Azure Database for PostgreSQL", scope: "https://ossrdbms-aad.database.windows.net/.default", hosts: []string{
		"*.postgres.database.azure.com", "*.postgres.cosmos.azure.com",
	}},
	// https://learn.microsoft.com/azure/azure-sql/database/connectivity-architecture
	AzureSQL: {name: "Azure SQL", scope: "https://database.windows.net/.default", hosts: []string{
		"*.database.windows.net", "*.sql.azuresynapse.net", "*.datawarehouse.fabric.microsoft.com", "*.database.fabric.microsoft.com",
	}},

	// A token of Google that may do no more than read metrics.
	GoogleMonitoring:    {name: "Google Cloud Monitoring", scope: "https://www.googleapis.com/auth/monitoring.read", hosts: []string{"monitoring.googleapis.com"}},
	GoogleSecretManager: {name: "Google Secret Manager", scope: "https://www.googleapis.com/auth/cloud-platform", hosts: []string{"secretmanager.googleapis.com"}},
	// One that may read and write rows: Spanner has none that may only read.
	GoogleSpanner: {name: "Google Cloud Spanner", scope: "https://www.googleapis.com/auth/spanner.data", hosts: []string{"spanner.googleapis.com"}},
	GoogleStorage: {name: "Google Cloud Storage", scope: "https://www.googleapis.com/auth/devstorage.read_only", hosts: []string{"storage.googleapis.com"}},

	HashiCorpVault: {name: "the Vaults that this family knows", proof: true},
	RabbitMQ:       {name: "the RabbitMQ brokers that this family knows"},
}

// Services are all there are.
func Services() []Service {
	all := make([]Service, services)
	for i := range all {
		all[i] = Service(i)
	}
	return all
}

// String is what its vendor calls it.
func (s Service) String() string { return known[s].name }

// Scope is what tokens of the service are for.
func (s Service) Scope() string { return known[s].scope }

// Owns reports whether a host is the service's own. Names of clouds have to be
// known to the end and in full: under most of them customers have hosts, too,
// such as buckets, load balancers and machines.
func (s Service) Owns(host string) bool {
	return slices.ContainsFunc(known[s].hosts, func(pattern string) bool { return matches(pattern, host) }) ||
		len(known[s].amazon) > 0 && amazon(known[s].amazon, canonical(host))
}

// amazonSuffixes are those of the partitions of AWS, with IPv4 and dual stack.
//
// Source: https://github.com/aws/aws-sdk-go-v2, internal/endpoints/awsrulesfn
var amazonSuffixes = []string{
	".amazonaws.com", ".api.aws", ".amazonaws.com.cn", ".api.amazonwebservices.com.cn", ".amazonaws.eu", ".api.amazonwebservices.eu",
	".c2s.ic.gov", ".api.aws.ic.gov", ".sc2s.sgov.gov", ".api.aws.scloud",
	".cloud.adc-e.uk", ".api.cloud-aws.adc-e.uk", ".csp.hci.ic.gov", ".api.aws.hci.ic.gov",
}

// region is what AWS calls its regions. Labels such as s3, elb or execute-api,
// below which customers have names, are none.
var region = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]{1,2}$`)

// IsRegion reports whether a text is the name of a region of AWS.
func IsRegion(text string) bool { return region.MatchString(text) }

// amazon reports whether a host is <service>.<region>.<suffix>, or that of an
// interface endpoint: vpce-<id>.<service>.<region>.vpce.<suffix>.
func amazon(services []string, host string) bool {
	for _, suffix := range amazonSuffixes {
		name, found := strings.CutSuffix(host, suffix)
		if !found || !isHost(name) {
			continue
		}
		labels := strings.Split(name, ".")
		if last := len(labels) - 1; labels[last] == "vpce" && strings.HasPrefix(labels[0], "vpce-") && last > 1 {
			labels = labels[1:last]
		}
		last := len(labels) - 1
		service := strings.Join(labels[:last], ".")
		if region.MatchString(labels[last]) && slices.ContainsFunc(services, func(pattern string) bool { return matches(pattern, service) }) {
			return true
		}
	}
	return false
}
