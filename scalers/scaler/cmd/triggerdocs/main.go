// Command triggerdocs writes a reference page per trigger type into a folder,
// from what a family prints with the flag --describe.
//
//	bin/scaler-kafka --describe | triggerdocs docs/triggers
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/triggerpage"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: <family> --describe | triggerdocs <folder>")
		os.Exit(2)
	}
	if err := write(os.Stdin, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "triggerdocs:", err)
		os.Exit(1)
	}
}

func write(described io.Reader, dir string) error {
	text, err := io.ReadAll(described)
	if err != nil {
		return err
	}
	var family scalerv1.DescribeResponse
	if err := protojson.Unmarshal(text, &family); err != nil {
		return fmt.Errorf("input: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, t := range family.GetTriggerTypes() {
		page := []byte(triggerpage.Render(family.GetFamily(), t))
		if err := os.WriteFile(filepath.Join(dir, t.GetType()+".md"), page, 0o644); err != nil {
			return err
		}
	}
	return nil
}
