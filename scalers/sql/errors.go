package main

import (
	"database/sql/driver"
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// network gives failures that are not a server's answer their code and their
// words. It is false for all others.
func network(err error) (codes.Code, string, bool) {
	if errors.Is(err, driver.ErrBadConn) {
		return codes.Unavailable, "the connection was lost", true
	}
	return client.NetworkFailure(err)
}

// refusal is what a server's error means.
type refusal struct {
	code codes.Code
	text string
}
