// Package output writes what a command found for programs.
package output

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// Format is how it is written: json, yaml, one of a command's own, or "" for people.
type Format struct {
	Name string
	own  []string
}

// AddFlag adds --output to a command's flags. own are formats of the command's own,
// such as "github: annotations of a pull request".
func (f *Format) AddFlag(flags *pflag.FlagSet, own ...string) {
	usage := "json or yaml: all of it for programs"
	for _, o := range own {
		name, _, _ := strings.Cut(o, ":")
		f.own = append(f.own, name)
		usage += "; " + o
	}
	flags.StringVarP(&f.Name, "output", "o", "", usage)
}

// Names are all formats.
func (f *Format) Names() []string { return append([]string{"json", "yaml"}, f.own...) }

// Check refuses what is no format.
func (f *Format) Check() error {
	if f.Name == "" || slices.Contains(f.Names(), f.Name) {
		return nil
	}
	if len(f.own) == 0 {
		return fmt.Errorf("--output: %q is neither json nor yaml", f.Name)
	}
	return fmt.Errorf("--output: %q is none of %s", f.Name, strings.Join(f.Names(), ", "))
}

// ForPeople reports whether nobody asked for a format.
func (f *Format) ForPeople() bool { return f.Name == "" }

// Encode writes a report as json or yaml.
func (f *Format) Encode(to io.Writer, report any) error {
	text, err := json.MarshalIndent(report, "", "  ")
	switch {
	case err != nil:
		return err
	case f.Name == "yaml":
		if text, err = yaml.JSONToYAML(text); err != nil {
			return err
		}
	default:
		text = append(text, '\n')
	}
	_, err = to.Write(text)
	return err
}
