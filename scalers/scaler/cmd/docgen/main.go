// Command docgen writes zz_generated.docs.go into the folders of families:
// what their parameters mean, from the doc comments of their params structs.
//
//	docgen ./scalers/kafka ./scalers/cron
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/docgen"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: docgen <folder>...")
		os.Exit(2)
	}
	for _, dir := range os.Args[1:] {
		if err := write(dir); err != nil {
			fmt.Fprintf(os.Stderr, "docgen: %s: %v\n", dir, err)
			os.Exit(1)
		}
	}
}

func write(dir string) error {
	text, err := docgen.Generate(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, docgen.File), text, 0o644)
}
