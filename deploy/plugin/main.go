// Command plugin writes what kubectl-sluice knows of families without a cluster:
// their trigger types, what parameters those have, and what a family needs to be
// granted. make generate runs it with what the families print with --describe.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-autoscaler/sluice/deploy/families"
)

// file is what is written, in the repository.
const file = "kubectl-sluice/internal/families/zz_generated.families.json"

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "plugin:", err)
		os.Exit(1)
	}
}

func run(args []string, described io.Reader) error {
	if len(args) != 1 {
		return errors.New("usage: <family> --describe | plugin <repository>")
	}
	text, err := io.ReadAll(described)
	if err != nil {
		return err
	}
	list, err := families.Read(bytes.NewReader(text), filepath.Join(args[0], "deploy", "scalers"))
	if err != nil {
		return err
	}
	written, err := render(list, bytes.NewReader(text))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(args[0], file), written, 0o644) //nolint:gosec // it is no secret
}

// family is what the plugin embeds of one.
type family struct {
	Name string `json:"name"`
	// Credentials is whether it may be granted Secrets.
	Credentials bool `json:"credentials,omitempty"`
	// NamespaceRole is the ClusterRole that each namespace with its triggers has
	// to grant it.
	NamespaceRole string        `json:"namespaceRole,omitempty"`
	TriggerTypes  []triggerType `json:"triggerTypes"`
}

// triggerType and parameter are sluice.scaler.v1.TriggerType and Parameter in
// their JSON form, without what nobody is shown here.
type triggerType struct {
	Type                   string      `json:"type"`
	Parameters             []parameter `json:"parameters,omitempty"`
	AcceptsOtherParameters bool        `json:"acceptsOtherParameters,omitempty"`
}

type parameter struct {
	Name          string   `json:"name"`
	Aliases       []string `json:"aliases,omitempty"`
	Type          string   `json:"type,omitempty"`
	Required      bool     `json:"required,omitempty"`
	AllowedValues []string `json:"allowedValues,omitempty"`
	Sources       []string `json:"sources,omitempty"`
	Deprecated    string   `json:"deprecated,omitempty"`
	// Role is what the parameter is to the autoscaler. The default is told of
	// those alone that have one.
	Role         string `json:"role,omitempty"`
	DefaultValue string `json:"defaultValue,omitempty"`
}

// withoutDefaults leaves out the defaults of parameters by which nothing scales.
func withoutDefaults(types []triggerType) {
	for _, t := range types {
		for i := range t.Parameters {
			if t.Parameters[i].Role == "" {
				t.Parameters[i].DefaultValue = ""
			}
		}
	}
}

// render has a line for each parameter, so that a change of one is a change of
// a line.
func render(list []families.Family, described io.Reader) ([]byte, error) {
	types := map[string][]triggerType{}
	for documents := json.NewDecoder(described); ; {
		var d struct {
			Family       string        `json:"family"`
			TriggerTypes []triggerType `json:"triggerTypes"`
		}
		if err := documents.Decode(&d); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		withoutDefaults(d.TriggerTypes)
		types[d.Family] = d.TriggerTypes
	}
	all := make([]string, len(list))
	for i, f := range list {
		out := family{Name: f.Name, Credentials: f.Credentials, TriggerTypes: types[f.Name]}
		if f.ByNamespace() {
			out.NamespaceRole = "sluice-scaler-" + f.Name
		}
		slices.SortFunc(out.TriggerTypes, func(a, b triggerType) int { return strings.Compare(a.Type, b.Type) })
		text, err := json.Marshal(out)
		if err != nil {
			return nil, err
		}
		all[i] = strings.NewReplacer(`{"name":`, "\n"+`{"name":`, `{"type":`, "\n"+`{"type":`).Replace(string(text))
	}
	text := "[" + strings.Join(all, ",") + "\n]\n"
	if !json.Valid([]byte(text)) {
		return nil, errors.New("what families say of themselves cannot be written in lines")
	}
	return []byte(text), nil
}
