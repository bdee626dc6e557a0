// Command controller keeps the HPAs of ScaledObjects, scales their targets
// between zero and work, and starts the Jobs of ScaledJobs. It finds scaler families by Service name and holds no
// credentials of any event source.
package main

import (
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sluice-autoscaler/sluice/controller/internal/manager"
)

// version is set by the linker.
var version = "unknown"

func main() {
	options, err := manager.Parse(os.Args[1:], os.Getenv)
	switch {
	case err != nil:
	case options.ShowVersion:
		fmt.Println(manager.Version(version))
	default:
		err = manager.Run(ctrl.SetupSignalHandler(), options, version)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "controller:", err)
		os.Exit(1)
	}
}
