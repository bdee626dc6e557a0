package manager

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/admission"
	"github.com/sluice-autoscaler/sluice/controller/internal/certificates"
	"github.com/sluice-autoscaler/sluice/identity"
)

// Options of the controller: its flags and environment, with KEDA's
// names where KEDA has them.
type Options struct {
	MetricsAddress, HealthAddress, ProfilingAddress string
	// PrometheusMetrics serves /metrics, OpenTelemetryMetrics sends the same to
	// a collector.
	PrometheusMetrics, OpenTelemetryMetrics bool
	LeaderElect                             bool
	LeaderElectionID                        string
	LeaseDuration, RenewDeadline            time.Duration
	RetryPeriod                             time.Duration
	// Restore puts the APIService and the webhook's configuration back.
	Restore bool
	// Shadow keeps the controller from ever leading: it decides, and writes
	// nothing.
	Shadow bool
	// PlaintextScalers accepts families whose Service says kubernetes.io/h2c.
	PlaintextScalers bool
	// NoData is what a reading without data becomes for objects that do not
	// say; "" leaves it to each trigger.
	NoData string
	// Sign makes the controller the authority of the installation; otherwise
	// somebody else, cert-manager for example, writes the keys.
	Sign  bool
	Terms certificates.Terms
	Trust certificates.Trust
	// Clients are callers of families beside the core, who get a key each.
	Clients []string
	// WebhookAddress is where the admission webhook listens, "0" for nowhere.
	WebhookAddress string
	// WebhookClients says who may ask the webhook.
	WebhookClients admission.Clients
	// StrictAdmission refuses metadata that a trigger's family would not
	// understand, instead of warning of it.
	StrictAdmission bool
	// Serving is what the webhook asks of TLS.
	Serving identity.Policy
	// ClusterName is how CloudEvents call this cluster.
	ClusterName string
	// ClusterObjectNamespace has the Secrets of cluster-wide objects; here it
	// only names the source of CloudEvents.
	ClusterObjectNamespace string
	// Namespace is the installation's: the lease and the families are there.
	Namespace string
	// WatchNamespaces limits ScaledObjects and ScaledJobs; empty is all.
	WatchNamespaces []string
	// Selector limits ScaledObjects, ScaledJobs and HPAs by label.
	Selector labels.Selector
	// AuthenticationSelector limits TriggerAuthentications and
	// ClusterTriggerAuthentications by label.
	AuthenticationSelector labels.Selector
	// Limits bound what one object may ask for.
	Limits v1alpha1.Limits
	// NamespaceTriggers is how many triggers of one family a namespace may have.
	NamespaceTriggers int
	// Workers reconcile ScaledObjects at once.
	Workers int
	// JobWorkers look after ScaledJobs at once.
	JobWorkers int
	Log        zap.Options
	// ShowVersion asks for the version, and for nothing else.
	ShowVersion bool
}

// Parse reads the command line and the environment. All problems of the
// environment are reported with the variable's name.
func Parse(args []string, getenv func(string) string) (Options, error) {
	o := Options{Namespace: "keda", Selector: labels.Everything(), AuthenticationSelector: labels.Everything(), Workers: 5, JobWorkers: 16, Limits: v1alpha1.DefaultLimits}
	flags := flag.NewFlagSet("controller", flag.ContinueOnError)
	flags.BoolVar(&o.ShowVersion, "version", false, "print the version and exit")
	flags.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8080", "address of the Prometheus endpoint")
	flags.StringVar(&o.ClusterName, "k8s-cluster-name", "kubernetes-default", "name of the cluster in CloudEvents")
	flags.BoolVar(&o.PrometheusMetrics, "enable-prometheus-metrics", true, "serve the Prometheus endpoint")
	flags.BoolVar(&o.OpenTelemetryMetrics, "enable-opentelemetry-metrics", false, "send metrics to an OpenTelemetry collector, as OTEL_* says")
	flags.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz")
	flags.StringVar(&o.ProfilingAddress, "profiling-bind-address", "", "address of pprof, \"\" for none")
	flags.BoolVar(&o.LeaderElect, "leader-elect", false, "scale only while holding the lease")
	flags.BoolVar(&o.Restore, "restore-registration", false, "put the APIService of external metrics and the webhook's configuration back when they are gone or lead elsewhere")
	flags.BoolVar(&o.Shadow, "shadow", false, "never scale: decide, and compare with what somebody else does")
	flags.StringVar(&o.LeaderElectionID, "leader-election-id", kedaLease, "name of the lease")
	flags.BoolVar(&o.PlaintextScalers, "plaintext-scalers", false, "accept scaler Services with appProtocol kubernetes.io/h2c")
	flags.Func("no-data", "what a source that answers but has nothing to say means, for objects without annotation "+v1alpha1.AnnotationNoData+
		": hold, error or zero; by default each trigger's own rule. Give the metrics adapter the same", o.noData)
	o.certificateFlags(flags)
	flags.StringVar(&o.WebhookAddress, "webhook-bind-address", ":9443", "address of the admission webhook, 0 for none")
	flags.StringVar(&o.WebhookClients.Authority, "webhook-client-ca", "", "file with the certificates that sign the API server's client certificate for webhooks; by default anybody may ask the webhook")
	flags.Func("webhook-client-names", "common names of client certificates that may ask the webhook, with commas between; by default all that --webhook-client-ca signed", o.webhookClientNames)
	flags.Func("admission", "what becomes of triggers that their family would not understand: warn, the default, or strict, which refuses them", o.admission)
	o.Limits.Flags(func(into *int, name, usage string) { flags.IntVar(into, name, *into, usage) })
	flags.IntVar(&o.NamespaceTriggers, "max-namespace-triggers", 10_000, "triggers of one family that a namespace may have, and half of what it may have of all; 0 for any number")
	ctrlconfig.RegisterFlags(flags)
	o.Log.BindFlags(flags)
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.ShowVersion {
		return o, nil
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q: not a flag", flags.Arg(0))
	}
	if !o.PrometheusMetrics {
		o.MetricsAddress = "0"
	}
	return o, errors.Join(o.checkTerms(), o.checkWebhook(), o.Limits.Check(), o.environment(getenv))
}

func (o *Options) checkWebhook() error {
	if len(o.WebhookClients.Names) > 0 && o.WebhookClients.Authority == "" {
		return errors.New("--webhook-client-names: needs --webhook-client-ca")
	}
	if o.WebhookAddress == webhookOff {
		return nil
	}
	_, port, err := net.SplitHostPort(o.WebhookAddress)
	if n, notPort := strconv.Atoi(port); err != nil || notPort != nil || n < 1 || n > 65535 {
		return fmt.Errorf("--webhook-bind-address: %q is not an address such as :9443, nor 0 for none", o.WebhookAddress)
	}
	return nil
}

func (o *Options) admission(mode string) error {
	if mode != "warn" && mode != "strict" {
		return errors.New("not warn or strict")
	}
	o.StrictAdmission = mode == "strict"
	return nil
}

func (o *Options) webhookClientNames(list string) error {
	for _, name := range strings.Split(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			o.WebhookClients.Names = append(o.WebhookClients.Names, name)
		}
	}
	return nil
}

func (o *Options) noData(rule string) error {
	o.NoData = rule
	return v1alpha1.CheckNoData(rule)
}

func (o *Options) environment(getenv func(string) string) error {
	if namespace := getenv("POD_NAMESPACE"); namespace != "" {
		o.Namespace = namespace
	}
	if o.ClusterObjectNamespace = getenv("KEDA_CLUSTER_OBJECT_NAMESPACE"); o.ClusterObjectNamespace == "" {
		o.ClusterObjectNamespace = "keda"
	}
	for _, namespace := range strings.Split(strings.Trim(getenv("WATCH_NAMESPACE"), `"`), ",") {
		if namespace = strings.TrimSpace(namespace); namespace != "" {
			o.WatchNamespaces = append(o.WatchNamespaces, namespace)
		}
	}
	for name, into := range map[string]*labels.Selector{
		"WATCH_LABEL_SELECTOR":                 &o.Selector,
		"WATCH_LABEL_SELECTOR_FOR_TRIGGERAUTH": &o.AuthenticationSelector,
	} {
		if text := getenv(name); text != "" {
			selector, err := labels.Parse(text)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			*into = selector
		}
	}
	for name, into := range map[string]*int{
		"KEDA_SCALEDOBJECT_CTRL_MAX_RECONCILES": &o.Workers,
		"KEDA_SCALEDJOB_CTRL_MAX_RECONCILES":    &o.JobWorkers,
	} {
		text := getenv(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("%s: %q is not a number greater than 0", name, text)
		}
		*into = n
	}
	var err error
	if o.Serving, err = identity.ServingPolicy(getenv); err != nil {
		return err
	}
	const election = "KEDA_OPERATOR_LEADER_ELECTION_"
	for name, period := range map[string]struct {
		into    *time.Duration
		without time.Duration
	}{
		"LEASE_DURATION": {&o.LeaseDuration, 15 * time.Second},
		"RENEW_DEADLINE": {&o.RenewDeadline, 10 * time.Second},
		"RETRY_PERIOD":   {&o.RetryPeriod, 500 * time.Millisecond},
	} {
		*period.into = period.without
		if text := getenv(election + name); text != "" {
			given, err := time.ParseDuration(text)
			if err != nil || given <= 0 {
				return fmt.Errorf("%s%s: %q is not a duration, such as 15s", election, name, text)
			}
			*period.into = given
		}
	}
	return nil
}
