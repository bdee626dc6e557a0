package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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

// understood is what a driver makes of a connection string, which a parameter
// gives. One that its parser panics at is not understood either.
func understood[C any](parameter, text string, parse func() (C, error)) (config C, err error) {
	if len(text) > longestConnection {
		return config, connectionLengthError(parameter)
	}
	defer func() {
		if recover() != nil {
			err = scaler.Errorf(codes.InvalidArgument, "the client's parser gives up on it")
		}
	}()
	return parse()
}

// connectionLengthError is the error about a connection string in a parameter.
type connectionLengthError string

func (c connectionLengthError) Error() string {
	return fmt.Sprintf("%s: has more than %d bytes", string(c), longestConnection)
}

// GRPCStatus gives the error its code.
func (c connectionLengthError) GRPCStatus() *status.Status {
	return status.New(codes.InvalidArgument, c.Error())
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
