package server

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	basecmd "sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/proto/identity"
)

// options are the adapter's own flags and environment; those of its API server
// are in basecmd.AdapterBase.
type options struct {
	metricsAddress, profilingAddress string
	plaintextScalers                 bool
	// showVersion asks for the version, and for nothing else.
	showVersion bool
	// noData is what a reading without data becomes for objects that do not
	// say; "" leaves it to each trigger.
	noData string
	// namespace is the installation's, where the scaler Services are.
	namespace string
	// watchNamespaces limits ScaledObjects; empty is all.
	watchNamespaces []string
	// selector limits ScaledObjects by label.
	selector labels.Selector
	// serving is what the API server asks of TLS, where its own flags do not say.
	serving identity.Policy
}

// parse reads the command line and the environment. Problems of the environment
// start with the variable's name.
func parse(base *basecmd.AdapterBase, args []string, getenv func(string) string) (options, error) {
	o := options{selector: labels.Everything()}
	flags := base.Flags()
	flags.BoolVar(&o.showVersion, "version", false, "print the version and exit")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "address of the Prometheus endpoint")
	flags.StringVar(&o.profilingAddress, "profiling-bind-address", "", "address of pprof, \"\" for none")
	flags.BoolVar(&o.plaintextScalers, "plaintext-scalers", false, "accept scaler Services with appProtocol kubernetes.io/h2c")
	flags.Func("no-data", "hold, error or zero, as the controller's flag of that name", func(rule string) error {
		o.noData = rule
		return v1alpha1.CheckNoData(rule)
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.showVersion {
		return o, nil
	}
	outsideAPod(base, getenv("KUBECONFIG"))
	return o, o.environment(getenv)
}

// outsideAPod makes one kubeconfig say all that three flags ask for.
func outsideAPod(base *basecmd.AdapterBase, path string) {
	for _, file := range []*string{
		&base.RemoteKubeConfigFile, &base.Authentication.RemoteKubeConfigFile, &base.Authorization.RemoteKubeConfigFile,
	} {
		if *file == "" {
			*file = path
		}
	}
}

func (o *options) environment(getenv func(string) string) error {
	if o.namespace = getenv("POD_NAMESPACE"); o.namespace == "" {
		return errors.New("POD_NAMESPACE: missing, it says where the scaler Services are")
	}
	for _, namespace := range strings.Split(strings.Trim(getenv("WATCH_NAMESPACE"), `"`), ",") {
		if namespace = strings.TrimSpace(namespace); namespace != "" {
			o.watchNamespaces = append(o.watchNamespaces, namespace)
		}
	}
	if text := getenv("WATCH_LABEL_SELECTOR"); text != "" {
		selector, err := labels.Parse(text)
		if err != nil {
			return fmt.Errorf("WATCH_LABEL_SELECTOR: %w", err)
		}
		o.selector = selector
	}
	var err error
	o.serving, err = identity.ServingPolicy(getenv)
	return err
}
