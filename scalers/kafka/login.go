package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// careful is a login that survives whatever a broker sends. The client runs it on
// a goroutine of its own, where nobody recovers from a panic.
type careful struct {
	sasl.Mechanism

	hashing *client.Hashing
}

// Authenticate implements sasl.Mechanism.
func (c careful) Authenticate(ctx context.Context, host string) (_ sasl.Session, first []byte, err error) {
	defer recovered(&err)
	mechanism := c.Mechanism
	if realm, ok := mechanism.(kerberosLogin); ok {
		realm.hashing = c.hashing
		mechanism = realm
	}
	session, first, err := mechanism.Authenticate(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	return carefulSession{session, func() (func(), error) { return c.hashing.Begin(ctx) }}, first, nil
}

type carefulSession struct {
	sasl.Session

	turn func() (end func(), err error)
}

// Challenge implements sasl.Session.
func (c carefulSession) Challenge(said []byte) (done bool, next []byte, err error) {
	if client.TooManyIterations(said) {
		return false, nil, errIterations("broker")
	}
	end, err := c.turn()
	if err != nil {
		return false, nil, err
	}
	defer end()
	defer recovered(&err)
	return c.Session.Challenge(said)
}

// errIterations is about what hashes a password for too long. who asked for it
// is the broker or the realm.
func errIterations(who string) error {
	return loginError{fmt.Sprintf("the %s asked for more than %d iterations of the password's hash", who, client.MostIterations)}
}

// recovered makes an error of a panic over what a broker sent.
func recovered(err *error) {
	if recover() != nil {
		*err = loginError{errMalformed.Error()}
	}
}

var errMalformed = errors.New("the broker's part of the login is malformed")
