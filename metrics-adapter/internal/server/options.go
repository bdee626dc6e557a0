package server

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	basecmd "sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/identity"
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
	// limits bound what one object may ask for.
	limits v1alpha1.Limits
	// log are the flags --zap-log-level, --zap-encoder and their kin.
	log zap.Options
	// serving is what the API server asks of TLS, where its own flags do not say.
	serving identity.Policy
}

// parse reads the command line and the environment. Problems of the environment
// start with the variable's name.
func parse(base *basecmd.AdapterBase, args []string, getenv func(string) string) (options, error) {
	o := options{selector: labels.Everything(), limits: v1alpha1.DefaultLimits}
	flags := base.Flags()
	flags.BoolVar(&o.showVersion, "version", false, "print the version and exit")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "address of the Prometheus endpoint")
	flags.StringVar(&o.profilingAddress, "profiling-bind-address", "", "address of pprof, \"\" for none")
	flags.BoolVar(&o.plaintextScalers, "plaintext-scalers", false, "accept scaler Services with appProtocol kubernetes.io/h2c")
	flags.Func("no-data", "hold, error or zero, as the controller's flag of that name", func(rule string) error {
		o.noData = rule
		return v1alpha1.CheckNoData(rule)
	})
	o.limits.Flags(func(into *int, name, usage string) {
		flags.IntVar(into, name, *into, usage+", as the controller's flag of that name")
	})
	zapFlags := flag.NewFlagSet("zap", flag.ContinueOnError)
	o.log.BindFlags(zapFlags)
	flags.AddGoFlagSet(zapFlags)
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.showVersion {
		return o, nil
	}
	o.klogLevel(flags)
	outsideAPod(base, getenv("KUBECONFIG"))
	return o, errors.Join(o.limits.Check(), o.environment(getenv))
}

// klogLevel lets the library's -v choose what is logged, unless the flag of the
// other processes does.
func (o *options) klogLevel(flags *pflag.FlagSet) {
	v := flags.Lookup("v")
	if v == nil || !v.Changed || flags.Changed("zap-log-level") {
		return
	}
	if level, err := strconv.ParseInt(v.Value.String(), 10, 8); err == nil {
		o.log.Level = zapcore.Level(-level)
	}
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
