package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "blastradius:", err)
		os.Exit(1)
	}
}

// run reads standard input.
func run(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("blastradius", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print JSON instead of tables")
	clusterNamespace := flags.String("cluster-object-namespace", "keda", "namespace of the Secrets of ClusterTriggerAuthentications")
	if err := flags.Parse(args); err != nil {
		return err
	}
	m, err := read(in, *clusterNamespace)
	if err != nil {
		return err
	}
	report := Report{Access: m.access(), Identities: m.identities(), Uses: m.uses()}
	if !*asJSON {
		return report.table(out)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}
