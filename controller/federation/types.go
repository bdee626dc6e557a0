package federation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// others are trigger types of KEDA 2.x that no family served when this was
// written. One that a family has come to serve may stay.
var others = []string{
	"activemq", "arangodb", "artemis-queue", "azure-app-insights", "azure-blob",
	"azure-data-explorer", "azure-eventhub", "azure-log-analytics", "azure-monitor",
	"azure-pipelines", "azure-queue", "azure-servicebus", "beanstalkd", "cassandra", "clickhouse",
	"couchdb", "datadog", "dynatrace", "elastic-forecast", "elasticsearch", "etcd", "forgejo-runner",
	"gcp-cloudtasks", "gcp-pubsub", "gcp-spanner", "gcp-stackdriver", "gcp-storage", "github-runner",
	"graphite", "huawei-cloudeye", "ibmmq", "influxdb", "liiklus", "loki", "mongodb",
	"nats-jetstream", "new-relic", "nsq", "opensearch", "openstack-metric", "openstack-swift",
	"predictkube", "pulsar", "selenium-grid", "solace-direct-messaging", "solace-event-queue",
	"solarwinds", "solr", "splunk", "splunk-observability", "sumologic", "temporal",
}

// builtin are the trigger types that no family serves.
var builtin = []string{"cpu", "memory"}

// Absent says that a trigger type has no Service: because it is a slip of one
// that there is, because its family is not installed, or because nobody is
// known to serve it. installed are the types that have one.
func Absent(triggerType, namespace string, installed []string) error {
	missing := fmt.Sprintf("Service %s%s not found in namespace %s", servicePrefix, triggerType, namespace)
	for _, family := range slices.Sorted(maps.Keys(families)) {
		if slices.Contains(families[family], triggerType) {
			return coded(codes.NotFound, "%s: family %s, which serves the type, is not installed: add deploy/scalers/%s to your kustomization",
				missing, family, family)
		}
	}
	if slices.Contains(others, triggerType) {
		return coded(codes.NotFound, "%s: no family of this version serves the type", missing)
	}
	known := slices.Concat(installed, published())
	if near := scalerv1.Nearest(triggerType, known); near != "" {
		return unknown(codes.InvalidArgument, []string{near}, missing) // only its user can mend it
	}
	if meant := meantBy(triggerType, known); len(meant) > 0 {
		return unknown(codes.NotFound, meant, missing) // or somebody's own family is yet to come
	}
	return coded(codes.NotFound, "%s: no family is known to serve the type", missing)
}

// impossible says that a trigger type cannot have a Service.
func impossible(triggerType string) error {
	why := fmt.Sprintf("trigger type %.64q cannot be a Service name, use type: external", triggerType)
	if len(triggerType) > 2*maxTypeLength {
		return coded(codes.InvalidArgument, "%s", why) // no slip of one
	}
	meant := meantBy(triggerType, published())
	if near := scalerv1.Nearest(triggerType, published()); near != "" {
		meant = []string{near}
	}
	if len(meant) == 0 {
		return coded(codes.InvalidArgument, "%s", why)
	}
	return unknown(codes.InvalidArgument, meant, why)
}

func unknown(code codes.Code, meant []string, why string) error {
	return coded(code, "type: unknown, did you mean %s? (%s)", strings.Join(meant, " or "), why)
}

// published are all types of KEDA.
func published() []string {
	types := slices.Concat(builtin, others)
	for _, served := range families {
		types = append(types, served...)
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// mostMeant is how many types are suggested at most.
const mostMeant = 3

// meantBy are the known types that another one is a part of, or made of.
func meantBy(triggerType string, known []string) []string {
	word := strings.ToLower(triggerType)
	parts := strings.FieldsFunc(word, func(r rune) bool { return r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if len(parts) > 1 { // two in one, such as cpu/memory
		return slices.DeleteFunc(parts, func(p string) bool { return !slices.Contains(known, p) })
	}
	meant := slices.DeleteFunc(slices.Clone(known), func(t string) bool { return !hasWord(t, word) && !hasWord(word, t) })
	slices.SortStableFunc(meant, func(a, b string) int { return len(a) - len(b) })
	meant = slices.Compact(meant)
	return meant[:min(len(meant), mostMeant)]
}

// shortestWord is the length from which the beginning of a word means it.
const shortestWord = 3

// hasWord reports whether a type has a word, or one that begins so.
func hasWord(triggerType, word string) bool {
	return len(word) >= shortestWord && strings.Contains("-"+triggerType, "-"+word)
}
