// Command vulncheck looks for known vulnerabilities in the packages that a
// module links. Those of dependencies fail it. Those of the standard library are
// told: they are a matter of the Go that builds, not of the module.
//
//	vulncheck <database> [directory]
//
// The database is a URL or directory as govulncheck takes it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/vuln/scan"
)

// finding is what a message of govulncheck says of one vulnerability. Trace
// starts at what is vulnerable; without a package the module is not linked.
type finding struct {
	OSV   string `json:"osv"`
	Fixed string `json:"fixed_version"`
	Trace []struct {
		Module  string `json:"module"`
		Version string `json:"version"`
		Package string `json:"package"`
	} `json:"trace"`
}

const standardLibrary = "stdlib"

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "vulncheck:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || len(args) > 2 {
		return errors.New("usage: vulncheck <database> [directory]")
	}
	directory := "."
	if len(args) == 2 {
		directory = args[1]
	}
	var messages bytes.Buffer
	command := scan.Command(ctx, "-db", args[0], "-C", directory, "-scan", "package", "-format", "json", "./...")
	command.Stdout, command.Stderr = &messages, os.Stderr
	if err := command.Start(); err != nil {
		return err
	}
	if err := command.Wait(); err != nil {
		return err
	}
	found, err := findings(&messages)
	if err != nil {
		return err
	}
	return report(found)
}

// findings reads the messages until they end.
func findings(from io.Reader) (found []finding, err error) {
	messages := json.NewDecoder(from)
	for {
		var message struct {
			Finding *finding `json:"finding"`
		}
		if err := messages.Decode(&message); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, err
		}
		if f := message.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Package != "" {
			found = append(found, *f)
		}
	}
}

func report(found []finding) error {
	var standard, others []string
	for _, f := range found {
		at := f.Trace[0]
		if at.Module == standardLibrary {
			standard = append(standard, fmt.Sprintf("%s (%s)", f.OSV, f.Fixed))
		} else {
			others = append(others, fmt.Sprintf("%s: %s %s, mended in %s", f.OSV, at.Module, at.Version, f.Fixed))
		}
	}
	if len(standard) > 0 {
		slices.Sort(standard)
		fmt.Printf("of this Go's standard library, each with the version that mends it: %s\n", strings.Join(slices.Compact(standard), ", "))
	}
	if len(others) == 0 {
		return nil
	}
	slices.Sort(others)
	return errors.New("known vulnerabilities in what is linked:\n  " + strings.Join(slices.Compact(others), "\n  "))
}
