// Command triggerdocs writes a reference page per trigger type and an index of
// them into a folder, from what families print with the flag --describe and from
// a folder with an example per type, <type>.yaml.
//
//	(bin/scaler-cron --describe; bin/scaler-kafka --describe) | triggerdocs docs/triggers docs/examples
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/triggerpage"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: <family> --describe | triggerdocs <folder> <folder of examples>")
		os.Exit(2)
	}
	if err := write(os.Stdin, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "triggerdocs:", err)
		os.Exit(1)
	}
}

func write(described io.Reader, dir, examples string) error {
	families, err := read(described)
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	pages := map[string]string{"README": triggerpage.Index(families)}
	for _, family := range families {
		for _, t := range family.GetTriggerTypes() {
			example, err := os.ReadFile(filepath.Join(examples, t.GetType()+".yaml"))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			pages[t.GetType()] = triggerpage.Render(family.GetFamily(), t, string(example))
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(dir, name+".md"), []byte(page), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// read returns the families that are described one after the other.
func read(described io.Reader) ([]*scalerv1.DescribeResponse, error) {
	var families []*scalerv1.DescribeResponse
	for texts := json.NewDecoder(described); ; {
		var text json.RawMessage
		if err := texts.Decode(&text); errors.Is(err, io.EOF) {
			return families, nil
		} else if err != nil {
			return nil, err
		}
		family := new(scalerv1.DescribeResponse)
		if err := protojson.Unmarshal(text, family); err != nil {
			return nil, err
		}
		families = append(families, family)
	}
}
