package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/sasl"
)

// mostIterations is how often a broker may have a password hashed. Kafka keeps
// to 16384 itself; the client would count to any number, deaf to its context.
const mostIterations = 100_000

// careful is a login whose broker is not trusted. The client runs it on a
// goroutine where nobody recovers.
type careful struct{ sasl.Mechanism }

// Authenticate implements sasl.Mechanism.
func (c careful) Authenticate(ctx context.Context, host string) (_ sasl.Session, first []byte, err error) {
	defer recovered(&err)
	session, first, err := c.Mechanism.Authenticate(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	return carefulSession{session}, first, nil
}

type carefulSession struct{ sasl.Session }

// Challenge implements sasl.Session.
func (c carefulSession) Challenge(said []byte) (done bool, next []byte, err error) {
	defer recovered(&err)
	if err := checkIterations(said); err != nil {
		return false, nil, err
	}
	return c.Session.Challenge(said)
}

// checkIterations looks at the attributes of SCRAM, of which no other login's
// messages have the one for iterations.
//
// Source: RFC 5802, section 5.1.
func checkIterations(said []byte) error {
	for attribute := range bytes.SplitSeq(said, []byte(",")) {
		text, found := bytes.CutPrefix(attribute, []byte("i="))
		if !found {
			continue
		}
		if n, err := strconv.Atoi(string(text)); err == nil && n > mostIterations {
			return loginError{fmt.Sprintf("the broker asked for more than %d iterations of the password's hash", mostIterations)}
		}
	}
	return nil
}

// recovered makes an error of a panic over what a broker sent.
func recovered(err *error) {
	if recover() != nil {
		*err = loginError{errMalformed.Error()}
	}
}

var errMalformed = errors.New("the broker's part of the login is malformed")
