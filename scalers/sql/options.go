package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// forgetEnvironment drops what drivers would add to every connection by
// themselves: variables such as PGPASSWORD, PGSERVICEFILE or PGSSLROOTCERT, and
// files below HOME such as .pgpass. They are the family's and no trigger's.
func forgetEnvironment() {
	os.Unsetenv("HOME")
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "MSSQL_") {
			os.Unsetenv(name)
		}
	}
}

// longestConnection is that of a connection string, in bytes. What a driver makes
// of it takes several hundred times as much.
const longestConnection = 16 << 10

// tooLong refuses a connection string that a parameter gives.
func tooLong(parameter, text string) error {
	if len(text) <= longestConnection {
		return nil
	}
	return scaler.Errorf(codes.InvalidArgument, "%s: has more than %d bytes", parameter, longestConnection)
}

// understood is what a driver makes of a connection string. One that its parser
// panics at is not understood either.
func understood[C any](parse func() (C, error)) (config C, err error) {
	defer func() {
		if recover() != nil {
			err = scaler.Errorf(codes.InvalidArgument, "the client's parser gives up on it")
		}
	}()
	return parse()
}

// refusedOption is the error about an option that a connection string may not
// have. It has a name only where that is one of a driver's own: what looks like
// an option may be a part of a password that lacks its quotes.
func refusedOption(parameter, option string, known []string) error {
	if slices.Contains(known, option) {
		return scaler.Errorf(codes.InvalidArgument, "%s: option %s may not be set by a trigger", parameter, option)
	}
	return scaler.Errorf(codes.InvalidArgument, "%s: has an option that is not among those of docs/families.md", parameter)
}

// checkOptionFile refuses the file of an option that the installation does not
// list.
func checkOptionFile(parameter, option, path string) error {
	if err := scaler.CheckFile(path); err != nil {
		return fmt.Errorf("%s: %s: %w", parameter, option, err)
	}
	return nil
}
