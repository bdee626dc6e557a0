// Command generate writes the manifests of all families, the lists that name
// them and what the Helm chart has of both, from what the families print with
// the flag --describe and from deploy/scalers/<family>/own.yaml. A family that
// is not described is gone, and its manifests with it, so it takes all of them.
// make generate runs it.
//
//	(bin/scaler-cron --describe; bin/scaler-kafka --describe) | generate <repository>
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sluice-autoscaler/sluice/deploy/alerts"
	"github.com/sluice-autoscaler/sluice/deploy/chart"
	"github.com/sluice-autoscaler/sluice/deploy/dashboards"
	"github.com/sluice-autoscaler/sluice/deploy/families"
	"github.com/sluice-autoscaler/sluice/deploy/manifests"
)

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(args []string, described io.Reader) error {
	if len(args) != 1 {
		return errors.New("usage: <family> --describe | generate <repository>")
	}
	list, err := families.Read(described, filepath.Join(args[0], "deploy", "scalers"))
	if err != nil {
		return err
	}
	if err := manifests.Write(args[0], list); err != nil {
		return err
	}
	if err := errors.Join(alerts.Write(args[0]), dashboards.Write(args[0])); err != nil {
		return err
	}
	return chart.Write(args[0], list)
}
