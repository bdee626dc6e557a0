// Command metrics-adapter serves external.metrics.k8s.io. It is stateless: any
// number of replicas may run, and each asks the scaler families directly.
package main

import (
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sluice-autoscaler/sluice/metrics-adapter/internal/server"
)

// version is set by the linker.
var version = "unknown"

func main() {
	if err := server.Run(ctrl.SetupSignalHandler(), os.Args[1:], version); err != nil {
		fmt.Fprintln(os.Stderr, "metrics-adapter:", err)
		os.Exit(1)
	}
}
