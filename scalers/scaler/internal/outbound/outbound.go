// Package outbound decides which addresses may be event sources, and says so in
// a family's words: the trigger's address is at fault.
package outbound

import (
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
)

// Control is for net.Dialer: it refuses an address after its name was looked
// up, whatever the name was.
func Control(network, address string, conn syscall.RawConn) error {
	return noSource(outbound.Control(network, address, conn))
}

// CheckHost refuses a host, without a port, as far as its text tells.
func CheckHost(host string) error { return noSource(outbound.CheckHost(host)) }

func noSource(err error) error {
	if err == nil {
		return nil
	}
	return sourceError{err}
}

type sourceError struct{ error }

func (s sourceError) Unwrap() error { return s.error }

func (s sourceError) Error() string {
	return s.error.Error() + " and no event source (a family is started with --allow-source-address to make an exception)"
}

// GRPCStatus gives the error its code.
func (s sourceError) GRPCStatus() *status.Status {
	return status.New(codes.InvalidArgument, s.Error())
}
